"""Small networks of PyTorch's own layers: recurrences, attention, spectra, and what people write of them."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from architectures.architecture import BATCH, FREE, Architecture

LIBRARY = "torch"
FEATURES = 12

SERIES = {"series": f"float32[batch, time, {FEATURES}] in -2..2"}
STEPS = {"batch": "1..3", "time": "4..12"}
WAVE = {"wave": "float32[batch, samples] in -1..1"}
SAMPLES = {"batch": "1..3", "samples": "256..512 step 64"}


class Recurrent(nn.Module):
    """A recurrence of PyTorch's and a linear layer on its last step; its last state, too."""

    def __init__(self, kind: Callable[..., nn.Module], *, layers: int = 2, both: bool = True) -> None:
        super().__init__()
        self.layers = kind(FEATURES, 16, layers, batch_first=True, bidirectional=both)
        self.head = nn.Linear(32 if both else 16, 5)

    def forward(self, series: Tensor) -> tuple[Tensor, Tensor]:
        """Series [b, t, f] to scores [b, 5] and states [layers, b, 16]."""
        steps, state = self.layers(series)
        return self.head(steps[:, -1]), state[0] if isinstance(state, tuple) else state


class Stepwise(nn.Module):
    """An LSTM's cell in a loop over a declared number of steps."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(FEATURES, 16)

    def forward(self, series: Tensor) -> Tensor:
        """Series [b, t, f] to the last state [b, 16]."""
        state = series.new_zeros(series.shape[0], 16)
        cell = state
        for step in series.unbind(1):
            state, cell = self.cell(step, (state, cell))
        return state


class Tagger(nn.Module):
    """Tokens of any length under a mask: embedding, a convolution, attention pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.EmbeddingBag(50, 16, mode="mean")
        self.tokens = nn.Embedding(50, 16, padding_idx=0)
        self.mix = nn.Conv1d(16, 16, 3, padding=1)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.head = nn.Linear(32, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [b, t] to scores [b, 4]."""
        hidden = self.mix(self.tokens(tokens).transpose(1, 2)).transpose(1, 2)
        mixed, _ = self.attention(hidden, hidden, hidden, need_weights=False)
        scores: Tensor = self.head(torch.cat((mixed.amax(1), self.embed(tokens)), dim=1))
        return scores


class Translator(nn.Module):
    """``nn.Transformer`` with a causal mask."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Transformer(16, 2, 1, 1, 32, batch_first=True)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Two series [b, t, 16] and [b, s, 16] to one [b, s, 16]."""
        mask = torch.triu(torch.full((target.shape[1],) * 2, float("-inf")), diagonal=1)
        answered: Tensor = self.network(source, target, tgt_mask=mask)
        return answered


class Causal(nn.Module):
    """A temporal convolutional network: dilated, causal, with residuals and weight norm."""

    def __init__(self) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.weight_norm
        widths = (FEATURES, 16, 16)
        pairs = pairwise(widths)
        self.layers = nn.ModuleList(norm(nn.Conv1d(a, b, 3, dilation=2**n)) for n, (a, b) in enumerate(pairs))

    def forward(self, series: Tensor) -> Tensor:
        """Series [b, t, f] to series [b, t, 16]."""
        hidden = series.transpose(1, 2)
        for number, layer in enumerate(self.layers):
            hidden = nn.functional.gelu(layer(nn.functional.pad(hidden, (2 * 2**number, 0))))
        return hidden.transpose(1, 2)


class Spectrogram(nn.Module):
    """Waves to a log spectrogram, as audio models begin; a convolution over it."""

    def __init__(self) -> None:
        super().__init__()
        self.window: Tensor
        self.register_buffer("window", torch.hann_window(64))
        self.mix = nn.Conv1d(33, 8, 3, padding=1)

    def forward(self, wave: Tensor) -> Tensor:
        """Waves [b, n] to features [b, 8, frames]."""
        spectrum = torch.stft(wave, 64, 16, window=self.window, center=False, return_complex=True)
        features: Tensor = self.mix(torch.log(spectrum.abs() + 1e-3))
        return features


class Filtered(nn.Module):
    """A filter in the frequency domain: rfft, a complex product, irfft."""

    def __init__(self) -> None:
        super().__init__()
        self.response = nn.Parameter(torch.randn(33, 2))

    def forward(self, wave: Tensor) -> Tensor:
        """Waves [b, 64] to waves [b, 64]."""
        filtered: Tensor = torch.fft.irfft(torch.fft.rfft(wave) * torch.view_as_complex(self.response), n=64)
        return filtered


class Warped(nn.Module):
    """A spatial transformer: an affine grid from a small network, and bilinear sampling."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Sequential(nn.Conv2d(3, 4, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.place = nn.Linear(16, 6)

    def forward(self, image: Tensor) -> Tensor:
        """Pictures [b, 3, h, w], warped."""
        turned = torch.eye(2, 3) + 0.1 * torch.tanh(self.place(self.look(image))).view(-1, 2, 3)
        grid = nn.functional.affine_grid(turned, list(image.shape), align_corners=False)
        return nn.functional.grid_sample(image, grid, padding_mode="border", align_corners=False)


class Experts(nn.Module):
    """A mixture of experts: each token goes to the two best of four."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(FEATURES, 4)
        self.experts = nn.Parameter(torch.randn(4, FEATURES, FEATURES) * 0.3)

    def forward(self, series: Tensor) -> tuple[Tensor, Tensor]:
        """Series [b, t, f] to series [b, t, f] and the chosen experts [b, t, 2]."""
        weights, chosen = self.gate(series).softmax(-1).topk(2, dim=-1)
        all_of_them = torch.einsum("bti,eio->bteo", series, self.experts)
        index = chosen.unsqueeze(-1).expand(*chosen.shape, series.shape[-1])
        mixed = (all_of_them.gather(2, index) * weights.unsqueeze(-1)).sum(2)
        return mixed, chosen


_of = partial(Architecture, library=LIBRARY)

ARCHITECTURES: tuple[Architecture, ...] = (
    _of("rnn", build=partial(Recurrent, nn.RNN), inputs=SERIES, dims=STEPS),
    _of("lstm", build=partial(Recurrent, nn.LSTM), inputs=SERIES, dims=STEPS),
    _of("gru", build=partial(Recurrent, nn.GRU), inputs=SERIES, dims=STEPS),
    _of(
        "lstm-cell",
        build=Stepwise,
        inputs={"series": f"float32[batch, 6, {FEATURES}] in -2..2"},
        dims=BATCH,
    ),
    _of("tagger", build=Tagger, inputs={"tokens": "int64[batch, time] in 1..49"}, dims=STEPS),
    _of(
        "transformer",
        build=Translator,
        inputs={
            "source": "float32[batch, time, 16] in -2..2",
            "target": "float32[batch, answered, 16] in -2..2",
        },
        dims={**STEPS, "answered": "3..8"},
    ),
    _of("tcn", build=Causal, inputs=SERIES, dims=STEPS),
    _of("spectrogram", build=Spectrogram, inputs=WAVE, dims=SAMPLES),
    _of("fourier-filter", build=Filtered, inputs={"wave": "float32[batch, 64] in -1..1"}, dims=BATCH),
    _of("spatial-transformer", build=Warped, dims=FREE),
    _of("mixture-of-experts", build=Experts, inputs=SERIES, dims=STEPS),
)
