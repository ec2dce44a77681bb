"""Compare what the file's metadata tells a host with the model, and with the graph itself."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from onnxproof.contract import Contract
from onnxproof.errors import ModelFileError
from onnxproof.graph import OnnxGraph, Port, ports_of
from onnxproof.runtime.manifest import read_manifest_text
from onnxproof.tensors import TensorSpec
from onnxproof.validate.hazards._hazard import Hazard, Subject, advised, failed, passed, skipped
from onnxproof.validate.verdict import Check

NAME = "metadata"


def look_for_other_metadata(subject: Subject) -> Check:
    """Whether a host that follows the metadata uses the file as the model is used here.

    Compares task, inputs, outputs, dims, preprocessing, the classes' names in their order, and the
    postprocessing. Compares the inputs and outputs with the graph's too, which needs no model. Another value
    of a setting that was chosen for this verdict alone, such as a threshold, is advice. "skipped" if the file
    has no metadata of onnxproof.
    """
    if subject.told is None:
        return skipped(NAME, "the file carries no metadata of onnxproof")
    try:
        told = read_manifest_text(subject.told, "the file's metadata").contract
    except ModelFileError as error:
        return failed(NAME, f"the file's metadata is no manifest: {error}")
    wrong, others = list(against_graph(told, subject.graph)), {}
    if subject.contract is not None:
        wrong += _against_model(told, subject.contract)
        others = _other_settings(told, subject.contract)
    if wrong:
        reason = f"the file's metadata is another model's: {'; '.join(wrong)}: export it again"
        return failed(NAME, reason, len(wrong))
    said = "; ".join(others.values())
    stated = others.keys() - subject.chosen
    if stated:
        return failed(NAME, f"{said}: export it again, or judge it by its own values with --set", len(others))
    return advised(NAME, said, len(others)) if others else passed(NAME)


def _against_model(told: Contract, model: Contract) -> Iterator[str]:
    if told.task != model.task:
        yield f"task is {told.task}, the model's is {model.task}"
    for key in ("inputs", "outputs", "dims"):
        said, meant = getattr(told, key), getattr(model, key)
        if tuple(said) != tuple(meant):
            yield f"{key} are {_named(said)}, the model's are {_named(meant)}"
    yield from _preprocess_differences(told, model)
    said, meant = ([entry.name for entry in each.classes] for each in (told, model))
    if said != meant:
        yield _class_difference(said, meant)
    kept = told.reading.to_json(), model.reading.to_json()
    replaceable = told.reading.settings().keys() | model.reading.settings().keys()
    keys = sorted((kept[0].keys() | kept[1].keys()) - replaceable)
    yield from (
        f"postprocess has another {key} than the model"
        for key in keys
        if kept[0].get(key) != kept[1].get(key)
    )


def _other_settings(told: Contract, model: Contract) -> dict[str, str]:
    """The settings of which the file states another value than the model, each in words."""
    own, judged = told.reading.settings(), model.reading.settings()
    said = "the file decides by {0} {1} unless told another, and is judged by {2}"
    return {
        key: said.format(key, own.get(key), judged.get(key))
        for key in sorted(own.keys() | judged.keys())
        if own.get(key) != judged.get(key)
    }


def _preprocess_differences(told: Contract, model: Contract) -> Iterator[str]:
    if told.preprocess is None or model.preprocess is None:
        if told.preprocess is not model.preprocess:
            yield f"preprocess is {'missing' if told.preprocess is None else 'there'}, the model's is not"
        return
    said, meant = asdict(told.preprocess), asdict(model.preprocess)
    for key in said:
        if said[key] != meant[key]:
            one, other = getattr(told.preprocess, key), getattr(model.preprocess, key)
            yield f"preprocess has {key} {one}, the model {other}"


def _class_difference(said: list[str], meant: list[str]) -> str:
    if len(said) != len(meant):
        return f"{len(said)} classes, the model has {len(meant)}"
    first = next(at for at, pair in enumerate(zip(said, meant, strict=True)) if pair[0] != pair[1])
    order = ", in another order" if sorted(said) == sorted(meant) else ""
    return f'class {first} is "{said[first]}", the model\'s is "{meant[first]}"{order}'


def _named(values: Any) -> str:
    return ", ".join(f"{value.name} {value}" for value in values) or "none"


def against_graph(told: Contract, graph: OnnxGraph) -> Iterator[str]:
    """How the inputs and outputs that a manifest declares differ from the graph's, in words."""
    for key, specs, ports in (
        ("inputs", told.inputs, ports_of(graph.inputs)),
        ("outputs", told.outputs, ports_of(graph.outputs)),
    ):
        said = [spec.name for spec in specs]
        names = [port.name for port in ports]
        if said != names:
            yield f"{key} are {', '.join(said)}, the graph's are {', '.join(names)}"
            continue
        for spec, port in zip(specs, ports, strict=True):
            if port.dtype != spec.dtype or not _fits(spec, port):
                shape = ", ".join(str(axis or "?") for axis in port.axes or ())
                yield f"{spec.name} is {spec}, in the graph {port.dtype}[{shape}]"


def _fits(spec: TensorSpec, port: Port) -> bool:
    """Whether a port has as many axes as the spec, and the same size wherever both have a number."""
    if port.axes is None:
        return True
    return len(port.axes) == len(spec.shape) and all(
        axis == meant
        for axis, meant in zip(port.axes, spec.shape, strict=True)
        if isinstance(axis, int) and isinstance(meant, int)
    )


METADATA = Hazard(
    NAME,
    "a host feeds the file, reads its classes and cuts its scores by the metadata: if it is another model's, "
    "right numbers become wrong decisions",
    "export the model again; do not edit metadata by hand or copy it from one file to another",
    look_for_other_metadata,
)
