"""Small networks of spandrel: super-resolution and restoration of pictures."""

from collections.abc import Mapping
from typing import Any

from architectures.architecture import Architecture, by

LIBRARY = "spandrel"
PICTURE = {"image": "float32[batch, 3, height, width] in 0..1"}
FREE = {"batch": "1..2", "height": "32..64 step 16", "width": "32..64 step 16"}
FIXED = {"image": "float32[batch, 3, 32, 48] in 0..1"}


ONE = {"batch": "1"}


def of(name: str, target: str, dims: Mapping[str, str] = FREE, **options: Any) -> Architecture:
    """A network of the library, for pictures of any size if it has them in ``dims``, or of one."""
    build = by(f"spandrel.architectures.{target}", **options)
    return Architecture(name, LIBRARY, build, PICTURE if "height" in dims else FIXED, dims)


WINDOWS: dict[str, Any] = {
    "img_size": 32,
    "embed_dim": 12,
    "depths": (2, 2),
    "num_heads": (2, 2),
    "window_size": 8,
    "upscale": 2,
    "upsampler": "pixelshuffle",
}

ARCHITECTURES: tuple[Architecture, ...] = (
    # Both compute the batch in floats: int(windows.shape[0] / (H * W / window_size / window_size)) in
    # window_reverse (SwinIR/__arch/SwinIR.py:73, HAT/__arch/HAT.py:144). So it is a constant in any graph.
    of("swinir", "SwinIR:SwinIR", {**FREE, **ONE}, **WINDOWS),
    of("swinir-fixed", "SwinIR:SwinIR", ONE, **WINDOWS),
    of("hat", "HAT:HAT", ONE, **{**WINDOWS, "depths": (1, 1), "num_feat": 16, "squeeze_factor": 4}),
    of("esrgan", "ESRGAN:ESRGAN", num_filters=8, num_blocks=1, scale=2),
    of("srvgg", "Compact:Compact", num_feat=8, num_conv=2, upscale=2),
    of("nafnet", "NAFNet:NAFNet", width=8, enc_blk_nums=[1, 1], dec_blk_nums=[1, 1]),
    of("omnisr", "OmniSR:OmniSR", num_feat=16, up_scale=2),
    of("span", "SPAN:SPAN", num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=2),
    of("rcan", "RCAN:RCAN", scale=2, n_resgroups=1, n_resblocks=1, n_feats=16, reduction=4),
    of("plksr", "PLKSR:PLKSR", dim=16, n_blocks=2, upscaling_factor=2, kernel_size=9),
    of("real-cugan", "RealCUGAN:UpCunet2x"),
)
