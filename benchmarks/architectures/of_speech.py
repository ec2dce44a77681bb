"""Small networks of torchaudio, speechbrain and vocos: recognition, separation, speakers, vocoders."""

from functools import partial

from torch import Tensor, nn

from architectures.architecture import BATCH, Architecture, by, made

MEL = {"mel": "float32[batch, time, 20] in -2..2"}
STEPS = {"batch": "1..3", "time": "12..32 step 4"}
WAVE = {"wave": "float32[batch, 1, samples] in -1..1"}
SAMPLES = {"batch": "1..3", "samples": "256..512 step 64"}


class Lengths(nn.Module):
    """A network that wants the lengths of its series, which are all whole."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, mel: Tensor, lengths: Tensor) -> Tensor:
        """Series [b, t, 20] to series."""
        series: Tensor = self.network(mel, lengths)[0]
        return series


class Recognizer(nn.Module):
    """A network that takes series and gives tensors."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, mel: Tensor) -> Tensor:
        """Series [b, t, 20] to what the network makes of them."""
        answered: Tensor = self.network(mel)
        return answered


class Vocoder(nn.Module):
    """Vocos: a ConvNeXt over mel bands, then waves by an inverse short-time Fourier transform."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = made("vocos.models:VocosBackbone", 20, 16, 32, 2)
        self.head = made("vocos.heads:ISTFTHead", 16, n_fft=32, hop_length=8)

    def forward(self, mel: Tensor) -> Tensor:
        """Mel bands [b, 20, t] to waves [b, n]."""
        wave: Tensor = self.head(self.backbone(mel))
        return wave


def conformer() -> nn.Module:
    return Lengths(made("torchaudio.models:Conformer", 20, 2, 32, 1, 7))


def crdnn() -> nn.Module:
    options = {"cnn_channels": [4, 4], "rnn_layers": 1, "rnn_neurons": 8, "dnn_blocks": 1, "dnn_neurons": 8}
    return Recognizer(made("speechbrain.lobes.models.CRDNN:CRDNN", input_size=20, **options))


def speaker() -> nn.Module:
    return Recognizer(
        made(
            "speechbrain.lobes.models.ECAPA_TDNN:ECAPA_TDNN",
            20,
            lin_neurons=12,
            channels=[16, 16, 16, 16, 48],
            attention_channels=8,
            res2net_scale=4,
            se_channels=8,
        )
    )


_audio = partial(Architecture, library="torchaudio")
_brain = partial(Architecture, library="speechbrain")

ARCHITECTURES: tuple[Architecture, ...] = (
    _audio(
        "torchaudio-conformer",
        build=conformer,
        inputs={"mel": "float32[batch, 16, 20] in -2..2", "lengths": "int64[batch] in 16..16"},
        dims=BATCH,
    ),
    _audio(
        "conv-tasnet",
        build=by(
            "torchaudio.models:ConvTasNet",
            enc_num_feats=16,
            msk_num_feats=8,
            msk_num_hidden_feats=16,
            msk_num_layers=2,
            msk_num_stacks=1,
        ),
        inputs=WAVE,
        dims=SAMPLES,
    ),
    _audio("deepspeech", build=by("torchaudio.models:DeepSpeech", 20, 16, 10), inputs=MEL, dims=STEPS),
    _audio(
        "wavernn",
        build=by(
            "torchaudio.models:WaveRNN",
            [2, 4],
            8,
            8,
            n_res_block=1,
            n_rnn=8,
            n_fc=8,
            n_freq=20,
            n_hidden=8,
            n_output=8,
        ),
        inputs={
            "waveform": "float32[batch, 1, 64] in -1..1",
            "specgram": "float32[batch, 1, 20, 12] in -2..2",
        },
        dims=BATCH,
    ),
    _audio(
        "wav2letter",
        build=by("torchaudio.models:Wav2Letter", 10, "mfcc", 20),
        inputs={"mel": "float32[batch, 20, time] in -2..2"},
        dims={"batch": "1..3", "time": "32..64 step 8"},
    ),
    _brain("ecapa-tdnn", build=speaker, inputs=MEL, dims=STEPS),
    # The recurrence is a loop in Python over the steps (speechbrain/nnet/RNN.py:1361 in _ligru_cell:
    # ``for k in range(w.shape[1])``). So any graph has as many.
    _brain("crdnn", build=crdnn, inputs=MEL, dims={**STEPS, "time": "24"}),
    Architecture("vocos", "vocos", Vocoder, {"mel": "float32[batch, 20, time] in -2..2"}, STEPS),
)
