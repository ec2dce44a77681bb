"""Small networks of MONAI: volumes in, volumes out."""

from typing import Any

from architectures.architecture import BATCH, Architecture, by

LIBRARY = "monai"
VOLUME = {"volume": "float32[batch, 1, depth, height, width] in -2..2"}
FREE_VOLUME = {
    "batch": "1..2",
    "depth": "16..32 step 16",
    "height": "16..32 step 16",
    "width": "16..32 step 16",
}


def volume(size: int) -> dict[str, str]:
    """The input of a network that takes volumes of one size."""
    return {"volume": f"float32[batch, 1, {size}, {size}, {size}] in -2..2"}


def of(name: str, kind: str, size: int | None = None, **options: Any) -> Architecture:
    """A network of the library, for volumes of any size or of one."""
    build = by(f"monai.networks.nets:{kind}", **options)
    if size is None:
        return Architecture(f"monai-{name}", LIBRARY, build, VOLUME, FREE_VOLUME)
    return Architecture(f"monai-{name}", LIBRARY, build, volume(size), BATCH)


PLAIN: dict[str, Any] = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2}

ARCHITECTURES: tuple[Architecture, ...] = (
    of("unet", "UNet", **PLAIN, channels=(8, 16, 32), strides=(2, 2), num_res_units=1),
    of("segresnet", "SegResNet", init_filters=8, blocks_down=(1, 1, 1), blocks_up=(1, 1)),
    of(
        "dynunet",
        "DynUNet",
        **PLAIN,
        kernel_size=(3, 3, 3),
        strides=(1, 2, 2),
        upsample_kernel_size=(2, 2),
        filters=(8, 16, 24),
    ),
    of("attention-unet", "AttentionUnet", **PLAIN, channels=(8, 16, 32), strides=(2, 2)),
    of("vnet", "VNet"),
    of(
        "unetr",
        "UNETR",
        32,
        in_channels=1,
        out_channels=2,
        img_size=32,
        feature_size=8,
        hidden_size=24,
        mlp_dim=48,
        num_heads=2,
    ),
    of(
        "swin-unetr",
        "SwinUNETR",
        64,
        in_channels=1,
        out_channels=2,
        depths=(1, 1, 1, 1),
        num_heads=(2, 2, 2, 2),
        feature_size=12,
        window_size=4,
    ),
)
