"""Small networks of diffusers: what denoises, and the codecs around it."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from architectures.architecture import BATCH, Architecture, Chosen, made

LIBRARY = "diffusers"
NOISY = {"sample": "float32[batch, 4, height, width] in -2..2", "timestep": "int64[1] in 0..999"}
CONDITIONED = {**NOISY, "encoder_hidden_states": "float32[batch, tokens, 16] in -2..2"}
LATENT = {"batch": "1..2", "height": "8..16 step 4", "width": "8..16 step 4"}
PICTURE = {"sample": "float32[batch, 3, height, width] in -1..1"}
FREE = {"batch": "1..2", "height": "16..32 step 8", "width": "16..32 step 8"}


class Built:
    """Makes a network of the library that returns a tuple, and keeps its first tensor."""

    def __init__(self, kind: str, names: tuple[str, ...], options: Mapping[str, Any]) -> None:
        self.kind, self.names, self.options = kind, names, options

    def __call__(self) -> nn.Module:
        network = made(f"diffusers:{self.kind}", **self.options)
        return Chosen(network, self.names, 0, return_dict=False)


def of(
    name: str, kind: str, inputs: Mapping[str, str], dims: Mapping[str, str], **options: Any
) -> Architecture:
    """A network of the library."""
    return Architecture(name, LIBRARY, Built(kind, tuple(inputs), options), inputs, dims)


SMALL: dict[str, Any] = {
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
}

ARCHITECTURES: tuple[Architecture, ...] = (
    of(
        "unet2d",
        "UNet2DModel",
        NOISY,
        LATENT,
        **SMALL,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4,
    ),
    of(
        "unet2d-conditioned",
        "UNet2DConditionModel",
        CONDITIONED,
        {**LATENT, "tokens": "3..7"},
        **SMALL,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
    ),
    of(
        "autoencoder-kl",
        "AutoencoderKL",
        PICTURE,
        FREE,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    ),
    of(
        "autoencoder-tiny",
        "AutoencoderTiny",
        PICTURE,
        FREE,
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    ),
    of(
        "dit",
        "DiTTransformer2DModel",
        {
            "hidden_states": "float32[batch, 4, 8, 8] in -2..2",
            "timestep": "int64[batch] in 0..999",
            "class_labels": "int64[batch] in 0..9",
        },
        BATCH,
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        sample_size=8,
        num_embeds_ada_norm=10,
    ),
    of(
        "sd3",
        "SD3Transformer2DModel",
        {
            "hidden_states": "float32[batch, 4, 8, 8] in -2..2",
            "encoder_hidden_states": "float32[batch, tokens, 16] in -2..2",
            "pooled_projections": "float32[batch, 12] in -2..2",
            "timestep": "int64[batch] in 0..999",
        },
        {"batch": "1..3", "tokens": "3..7"},
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        caption_projection_dim=16,
        pooled_projection_dim=12,
        out_channels=4,
        pos_embed_max_size=8,
    ),
)
