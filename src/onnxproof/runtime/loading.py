"""Load a bundle, or a lone file that onnxproof wrote: a session, and a predictor on it."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any

from onnxproof.errors import ModelFileError, RequestError
from onnxproof.runtime.folder import model_file, require_checksums
from onnxproof.runtime.manifest import METADATA_KEY, Manifest, read_manifest_text
from onnxproof.runtime.predictor import Predictor
from onnxproof.runtime.session import (
    CPU,
    Optimization,
    SessionSettings,
    open_session,
    provider_names,
    provider_notes,
)
from onnxproof.system.signatures import checks_arguments
from onnxproof.text import meant


@checks_arguments
def load(
    path: str | PathLike[str],
    *,
    providers: str | Sequence[str] = (CPU,),
    threads: int = 0,
    settings: Mapping[str, float] = MappingProxyType({}),
    checksums: bool = True,
    optimization: Optimization = "all",
    arena: bool = True,
    provider_options: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    fallback: bool = False,
) -> Predictor:
    """Load a bundle (a folder, or one file that ``package`` wrote) or a lone ``.onnx`` file of onnxproof's.

    ``threads`` is ONNX Runtime's number of intra-op threads (0: as many as it chooses). ``settings``
    replace settings of the file's reading, such as "score_threshold", "iou_threshold" and "top_k".
    ``optimization`` is ONNX Runtime's level of graph optimization. Without ``arena`` each run gives its
    memory back. ``provider_options`` are ONNX Runtime's own, by the provider's name. With ``fallback`` the
    next of ``providers``, in the end the CPU, takes the place of one that is not there or does not start, and
    a RuntimeWarning says so; it also says if nodes run on another provider than the first.

    Raises ModelFileError if the file is missing, broken or without onnxproof's metadata, or, with
    ``checksums``, if a bundle's files are not those of its ``manifest.json``. Raises RequestError for what is
    no path, too many threads, another level of optimization, a provider that is not there, a setting that the
    task does not have, or a value outside its range.
    """
    file = model_file(path)
    asked = SessionSettings(
        provider_names(providers),
        threads,
        optimization,
        arena=arena,
        provider_options=provider_options,
        fallback=fallback,
    )
    predictor = predictor_of(open_session(file, asked), file, settings)
    for note in provider_notes(predictor.session, asked):
        warnings.warn(note, RuntimeWarning, stacklevel=3)  # past checks_arguments
    if checksums:  # After what is broken was named: that says more than another SHA-256 does.
        require_checksums(path)
    return predictor


def predictor_of(session: Any, file: Path, settings: Mapping[str, float] = MappingProxyType({})) -> Predictor:
    """A predictor on a session that is already open. ``file`` is for messages. Raises as ``load``."""
    manifest = read_metadata(session.get_modelmeta().custom_metadata_map, file)
    _require_interface(session, manifest, file)
    known = manifest.contract.reading.settings()
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise RequestError(
            f"{unknown[0]} is not a setting of task {manifest.contract.task}; "
            f"there are: {', '.join(known) or 'none'}{meant(unknown[0], known)}"
        )
    reading = manifest.contract.reading.with_settings(**settings)
    return Predictor(session, manifest, replace(manifest.contract, reading=reading))


def _require_interface(session: Any, manifest: Manifest, file: Path) -> None:
    """Raise ModelFileError if the graph does not have the inputs and outputs that its metadata declares."""
    for kind, specs, values in (
        ("inputs", manifest.contract.inputs, session.get_inputs()),
        ("outputs", manifest.contract.outputs, session.get_outputs()),
    ):
        declared, found = [spec.name for spec in specs], [value.name for value in values]
        if declared != found:
            raise ModelFileError(
                f"{file}'s metadata declares the {kind} {', '.join(declared)}, its graph has "
                f"{', '.join(found)}: export the model again"
            )
        for spec, value in zip(specs, values, strict=True):
            axes = value.shape
            if len(axes) != len(spec.shape) or any(
                isinstance(size, int) and isinstance(axis, int) and size != axis
                for axis, size in zip(spec.shape, axes, strict=True)
            ):
                raise ModelFileError(
                    f"{file}'s metadata declares {spec.name} as {spec}, its graph has the axes {axes}: "
                    "export the model again"
                )


def read_metadata(metadata: Mapping[str, str], file: Path) -> Manifest:
    """The manifest in an ONNX file's metadata. Raises ModelFileError if there is none."""
    text = metadata.get(METADATA_KEY)
    if text is None:
        raise ModelFileError(
            f"{file} carries no onnxproof metadata, so what its outputs mean is not known: "
            "give a file that onnxproof exported, or run this one with arrays: onnxproof predict "
            "MODEL.onnx --input NAME=FILE (in Python, onnxproof.runtime.load_plain)"
        )
    return read_manifest_text(text, f"{file}'s metadata")
