"""All architectures, and what must be installed for each."""

import importlib
import importlib.util
from collections.abc import Mapping

from architectures.architecture import Architecture

MODULES = (
    "of_torchvision",
    "of_torchvision_tasks",
    "of_timm",
    "of_transformers",
    "of_transformers_tasks",
    "of_ultralytics",
    "of_segmentation",
    "of_monai",
    "of_torch",
    "of_speech",
    "of_geometric",
    "of_operators",
    "of_spandrel",
    "of_kornia",
    "of_diffusers",
    "of_attention",
)
"""The files beside this one that define architectures."""

PACKAGES: Mapping[str, str] = {
    "neuraloperator": "neuralop",
    "open-clip-torch": "open_clip",
    "segmentation-models-pytorch": "segmentation_models_pytorch",
    "torch-geometric": "torch_geometric",
    "vit-pytorch": "vit_pytorch",
    "x-transformers": "x_transformers",
}
"""The package to import of each library whose name is another."""


def installed(library: str) -> bool:
    """Whether a library can be imported here."""
    return importlib.util.find_spec(PACKAGES.get(library, library)) is not None


def architectures_of(module: str) -> Mapping[str, Architecture]:
    """The architectures of one of ``MODULES``, by name."""
    found: tuple[Architecture, ...] = importlib.import_module(f"architectures.{module}").ARCHITECTURES
    return {one.name: one for one in found}


def everything() -> dict[str, str]:
    """The names of all architectures, each with its module. Raises ValueError if two have one name."""
    found: dict[str, str] = {}
    for module in MODULES:
        for name in architectures_of(module):
            if name in found:
                raise ValueError(f"two architectures are called {name}: in {found[name]} and in {module}")
            found[name] = module
    return found
