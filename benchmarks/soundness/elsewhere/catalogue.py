"""All architectures of other libraries."""

from collections.abc import Mapping

from soundness.elsewhere import of_timm, of_torchvision, of_transformers, of_ultralytics
from soundness.elsewhere.architecture import Architecture

ARCHITECTURES: tuple[Architecture, ...] = (
    *of_torchvision.ARCHITECTURES,
    *of_timm.ARCHITECTURES,
    *of_transformers.ARCHITECTURES,
    *of_ultralytics.ARCHITECTURES,
)
"""All of them; their names are unique."""

BY_NAME: Mapping[str, Architecture] = {one.name: one for one in ARCHITECTURES}
