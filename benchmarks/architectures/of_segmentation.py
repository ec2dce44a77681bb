"""Small networks of segmentation-models-pytorch: its decoders on a small encoder."""

from typing import Any

from architectures.architecture import BATCH, FREE, FREE_PICTURE, Architecture, by, picture

LIBRARY = "segmentation-models-pytorch"
SMALL: dict[str, Any] = {"encoder_name": "resnet18", "encoder_weights": None, "classes": 4}
WIDTHS = (64, 48, 32, 16, 16)


def of(name: str, kind: str, **options: Any) -> Architecture:
    """A decoder of the library, for pictures of any size."""
    build = by(f"segmentation_models_pytorch:{kind}", **{**SMALL, **options})
    return Architecture(f"smp-{name}", LIBRARY, build, FREE_PICTURE, FREE)


ARCHITECTURES: tuple[Architecture, ...] = (
    of("unet", "Unet", decoder_channels=WIDTHS, decoder_attention_type="scse"),
    of("unetplusplus", "UnetPlusPlus", decoder_channels=WIDTHS, encoder_name="timm-mobilenetv3_small_075"),
    of("manet", "MAnet", decoder_channels=WIDTHS, decoder_pab_channels=16),
    of("linknet", "Linknet"),
    of("fpn", "FPN", decoder_pyramid_channels=32, decoder_segmentation_channels=32),
    of("pspnet", "PSPNet", psp_out_channels=32),
    of("deeplabv3plus", "DeepLabV3Plus", decoder_channels=32),
    of("upernet", "UPerNet", decoder_channels=32),
    Architecture(
        "smp-segformer",
        LIBRARY,
        by("segmentation_models_pytorch:Segformer", **{**SMALL, "encoder_name": "mit_b0"}),
        picture(64),
        BATCH,
    ),
)
