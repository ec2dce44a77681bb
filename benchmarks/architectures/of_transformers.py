"""Small networks of transformers' architectures: of text, sound, series and pictures."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import transformers
from torch import Tensor, nn

from architectures.architecture import BATCH, STEPS, TOKENS, Architecture, Chosen, picture

LIBRARY = "transformers"
EAGER: dict[str, Any] = {"attn_implementation": "eager"}
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
VOCABULARY = 100

IDS = {"input_ids": "int64[batch, time] in 3..99"}
SOUND = {"input_values": "float32[batch, 2000] in -1..1"}


def configured(kind: str, names: tuple[str, ...], answer: str | int, options: Mapping[str, Any]) -> nn.Module:
    """The model ``kind``Model, or ``kind`` itself, of a configuration of its own with some options.

    It is called with the names, and one of its answers is kept.
    """
    model = getattr(transformers, f"{kind}Model", None) or getattr(transformers, kind)
    network = model(model.config_class(**options)).eval()
    return Chosen(network, names, answer)


def of(
    name: str,
    kind: str,
    inputs: Mapping[str, str],
    dims: Mapping[str, str],
    answer: str | int = "last_hidden_state",
    **options: Any,
) -> Architecture:
    """An architecture of transformers."""
    build: Callable[[], nn.Module] = partial(configured, kind, tuple(inputs), answer, options)
    return Architecture(name, LIBRARY, build, inputs, dims)


def text(name: str, kind: str, inputs: Mapping[str, str] = TOKENS, **options: Any) -> Architecture:
    """An encoder of tokens."""
    return of(name, kind, inputs, STEPS, vocab_size=VOCABULARY, **{**SIZES, **options})


def decoder(name: str, kind: str, dims: Mapping[str, str] = STEPS, **options: Any) -> Architecture:
    """A decoder of tokens that keeps no state."""
    return of(name, kind, IDS, dims, vocab_size=VOCABULARY, use_cache=False, **{**SIZES, **options})


def sound(name: str, kind: str, **options: Any) -> Architecture:
    """An encoder of sound waves."""
    layers = {
        "conv_dim": (16, 16),
        "conv_kernel": (10, 3),
        "conv_stride": (5, 2),
        "num_feat_extract_layers": 2,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
    }
    return of(name, kind, SOUND, BATCH, **{**SIZES, **layers, **options})


def seen(
    name: str, kind: str, size: int, answer: str | int = "last_hidden_state", **options: Any
) -> Architecture:
    """A network that takes pictures of one size."""
    shape = picture(size)["image"]
    return of(name, kind, {"pixel_values": shape}, BATCH, answer, **options)


MEL = {"input_features": "float32[batch, 8, 40] in -1..1"}
WAVE = {"input_values": "float32[batch, 1, 640] in -1..1"}

ENCODER_DECODER = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
}
PAIR = {
    "input_ids": "int64[batch, time] in 3..99",
    "decoder_input_ids": "int64[batch, answered] in 3..99",
}
PAIR_STEPS = {**STEPS, "answered": "3..6"}


def whisper_encoder() -> nn.Module:
    """The encoder of Whisper: convolutions over a spectrogram, then attention."""
    options = {"num_mel_bins": 8, "max_source_positions": 20, "pad_token_id": 0, "decoder_start_token_id": 1}
    config = transformers.WhisperConfig.from_dict({**ENCODER_DECODER, **options})
    return Chosen(transformers.WhisperModel(config).get_encoder(), tuple(MEL), 0)


class Codec(nn.Module):
    """EnCodec without its codebook, which chooses: convolutions, a recurrence, transposed convolutions."""

    def __init__(self) -> None:
        super().__init__()
        config = transformers.EncodecConfig(
            num_filters=4, upsampling_ratios=[4, 2], hidden_size=16, codebook_size=16, codebook_dim=16
        )
        network = transformers.EncodecModel(config)
        self.encoder, self.decoder = network.encoder, network.decoder

    def forward(self, input_values: Tensor) -> Tensor:
        """Waves [b, 1, t] to waves of the same length."""
        wave: Tensor = self.decoder(self.encoder(input_values))
        return wave


def sound_codec() -> nn.Module:
    return Codec()


ARCHITECTURES: tuple[Architecture, ...] = (
    text("bert", "Bert"),
    text("albert", "Albert", embedding_size=16),
    text("mpnet", "MPNet"),
    text("deberta-v2", "DebertaV2", relative_attention=True, pos_att_type=["c2p", "p2c"]),
    text(
        "modernbert", "ModernBert", global_attn_every_n_layers=2, local_attention=8, pad_token_id=0, **EAGER
    ),
    text("roformer", "RoFormer", embedding_size=32),
    text(
        "squeezebert",
        "SqueezeBert",
        embedding_size=32,
        q_groups=2,
        k_groups=2,
        v_groups=2,
        intermediate_groups=2,
        output_groups=2,
        post_attention_groups=1,
    ),
    text("fnet", "FNet", IDS),
    of(
        "t5-encoder",
        "T5Encoder",
        TOKENS,
        STEPS,
        vocab_size=VOCABULARY,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
    ),
    of("bart", "Bart", PAIR, PAIR_STEPS, **ENCODER_DECODER, use_cache=False),
    decoder("gpt2", "GPT2", n_embd=32, n_layer=2, n_head=4, n_positions=32),
    decoder("gpt-neox", "GPTNeoX", max_position_embeddings=32),
    decoder("bloom", "Bloom", n_layer=2, n_head=4),
    decoder("llama", "Llama", num_key_value_heads=2),
    decoder("gemma2", "Gemma2", num_key_value_heads=2, head_dim=8, sliding_window=6),
    decoder("qwen3", "Qwen3", num_key_value_heads=2, head_dim=8),
    # modeling_mamba.py, mamba_selective_scan: a Python loop over the steps.
    decoder("mamba", "Mamba", {**STEPS, "time": "8"}, state_size=4),
    Architecture("whisper-encoder", LIBRARY, whisper_encoder, MEL, BATCH),
    sound("wav2vec2", "Wav2Vec2"),
    sound("wavlm", "WavLM", num_buckets=16),
    of(
        "ast",
        "AST",
        {"input_values": "float32[batch, 64, 16] in -1..1"},
        BATCH,
        **SIZES,
        max_length=64,
        num_mel_bins=16,
        patch_size=8,
        frequency_stride=4,
        time_stride=4,
    ),
    Architecture("encodec", LIBRARY, sound_codec, WAVE, BATCH),
    of(
        "patchtst",
        "PatchTST",
        {"past_values": "float32[batch, 32, 3] in -1..1"},
        BATCH,
        num_input_channels=3,
        context_length=32,
        patch_length=8,
        patch_stride=8,
        d_model=16,
        num_attention_heads=2,
        ffn_dim=32,
        num_hidden_layers=2,
    ),
    seen("dinov2", "Dinov2", 32, **SIZES, image_size=32, patch_size=8, mlp_ratio=2),
    seen(
        "segformer",
        "SegformerForSemanticSegmentation",
        64,
        "logits",
        hidden_sizes=[8, 16, 16, 32],
        depths=[1, 1, 1, 1],
        decoder_hidden_size=16,
    ),
    seen(
        "rt-detr-resnet",
        "RTDetrResNetBackbone",
        64,
        "feature_maps",
        embedding_size=16,
        hidden_sizes=[16, 32],
        depths=[1, 1],
        layer_type="basic",
        out_features=["stage1", "stage2"],
    ),
)
