"""The extras of the package: what each brings, what needs it, and how a user is told to install it."""

import importlib.util
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from onnxproof.errors import MissingPackageError, RequestError
from onnxproof.system.disk import GONE, working_folder_is_gone

_EXPORT = ("torch", "onnx", "onnx_ir", "onnxscript", "onnxsim", "pydantic", "rich", "safetensors")
_TORCHVISION = (*_EXPORT, "torchvision")

EXTRAS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "export": _EXPORT,
        "torchvision": _TORCHVISION,
        "cjm_yolox_pytorch": (*_TORCHVISION, "cjm_yolox_pytorch"),
        "timm": (*_TORCHVISION, "timm"),
        "transformers": (*_TORCHVISION, "transformers"),
        "smp": (*_TORCHVISION, "segmentation_models_pytorch"),
        "ultralytics": (*_TORCHVISION, "ultralytics"),
        "openvino": ("openvino",),
        "onnxslim": (*_EXPORT, "onnxslim"),
        "polygons": ("shapely",),
        "coco": ("pycocotools", "faster_coco_eval"),
        "dask": ("distributed", "fsspec"),
        "fsspec": ("fsspec",),
        "report": ("jinja2",),
        "signing": ("model_signing", "OpenSSL"),
        "bom": ("cyclonedx",),
        "video": ("av",),
        "plot": ("matplotlib",),
    }
)
"""The modules that each extra brings and that this package imports. pyproject.toml has the distributions."""

INDIRECT: Mapping[str, str] = MappingProxyType(
    {
        "pydantic_core": "export",
        "markupsafe": "report",
        "cjm_psl_utils": "cjm_yolox_pytorch",
        "dask": "dask",
    }
)
"""Modules that others of an extra import, and that may be missing alone."""

_GRAPHS = ("onnx", "onnx_ir")
_JOBS = ("pydantic",)
NEEDED_BY: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **dict.fromkeys(("export", "export_module", "validate", "bisect", "check", "check_module"), _EXPORT),
        **dict.fromkeys(("init", "Draft", "Bundle"), _EXPORT),
        "compare": (*_GRAPHS, "rich"),
        "explain": _GRAPHS,
        **dict.fromkeys(("export_many", "validate_many", "Outcome"), _EXPORT),
        "load_job": _JOBS,
        "load_jobs": _JOBS,
        "Job": _JOBS,
    }
)
"""The modules that commands, and functions and classes of the package, cannot do without. Others need none of
an extra's."""

NEEDED_IN_JSON: Mapping[str, str] = MappingProxyType({"instance_segmentation": "polygons"})
"""The extra that the decisions of a task need when they are written as JSON."""


def require(modules: Sequence[str], who: str) -> None:
    """Raise MissingPackageError if one of the modules is not installed. Imports none of them.

    ``who`` needs them: "the family yolox". Raises RequestError if torch is needed and the working folder was
    removed: a library that torch loads (Intel's oneMKL) ends the process there.
    """
    if "torch" in modules and working_folder_is_gone():
        raise RequestError(GONE)
    for name in modules:
        if not is_there(name):
            raise missing(name, who)


def require_extra(extra: str, who: str) -> None:
    """Raise MissingPackageError if a module that the extra brings is not installed. Imports none of them."""
    for name in EXTRAS[extra]:
        if not is_there(name):
            raise MissingPackageError(_told(name, who, extra))


def require_for_json(task: str) -> None:
    """Raise MissingPackageError if what writes the decisions of a task as JSON is not installed."""
    if task in NEEDED_IN_JSON:
        require_extra(NEEDED_IN_JSON[task], f"{task} as JSON")


def missing(module: str, who: str = "this") -> MissingPackageError:
    """The error that says which extra brings a module. Raises KeyError if none does."""
    return MissingPackageError(_told(module, who, extra_with(module)))


def extra_with(module: str) -> str:
    """The smallest extra that brings a module, by its dotted name. Raises KeyError if none does."""
    name = module.partition(".")[0]
    if name in INDIRECT:
        return INDIRECT[name]
    bringing = [extra for extra, modules in EXTRAS.items() if name in modules]
    if not bringing:
        raise KeyError(f"no extra brings {module}")
    return min(bringing, key=lambda extra: len(EXTRAS[extra]))


def brings(module: str | None) -> bool:
    """Whether an extra brings a module, by its dotted name."""
    name = (module or "").partition(".")[0]
    return name in INDIRECT or any(name in modules for modules in EXTRAS.values())


def hint(extra: str) -> str:
    """The command that installs an extra. It asks no index for onnxproof where that is installed."""
    note = " (the package is licensed under the AGPL-3.0)" if extra == "ultralytics" else ""
    return f"pip install 'onnxproof[{extra}]'{note}"


def _told(module: str, who: str, extra: str) -> str:
    return f"{who} needs the package {module.partition('.')[0]}: {hint(extra)}"


def is_there(module: str) -> bool:
    """Whether a module can be imported, by its top-level name. Imports nothing."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
    except ValueError:  # a module that someone made, and that says nothing of where it comes from
        return True
