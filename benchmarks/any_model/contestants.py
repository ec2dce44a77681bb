"""The peers: what else exports these networks, asked as their users ask it."""

import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
from architectures.architecture import Architecture
from architectures.plain import by_dynamo, by_torchscript
from torch import nn

from any_model.row import Outcome, Row
from any_model.words import plain
from onnxproof.validate.verdict import Verdict
from onnxproof.wrappers.family import WrappedModel

OVERRIDES = ("validate.effort=quick", "validate.threads=1", "export.capture_timeout=100")

PICTURE_SIZE = 96
"""The size at which ultralytics captures: one of the declared sizes."""

Export = Callable[[Architecture, nn.Module, WrappedModel, Path], None]


OUTCOME: Mapping[str, Outcome] = {"pass": "right", "fail": "wrong", "error": "undecided"}


class SkippedError(Exception):
    """A contestant cannot be tried here. The text says why."""


def told(row: Row, verdict: Verdict) -> Row:
    """The row with what a verdict says."""
    bad = [linked for linked in verdict.links if linked.status in ("fail", "error")]
    first = next((check for check in verdict.checks if check.status in ("fail", "error")), None)
    return replace(
        row,
        outcome=OUTCOME[verdict.status],
        link=bad[0].link if bad else "",
        reason="" if first is None else plain(f"{first.name} {first.field or ''}: {first.reason}"),
        cases=len(verdict.cases),
    )


def dynamo(_: Architecture, __: nn.Module, model: WrappedModel, file: Path) -> None:
    """``torch.onnx.export(dynamo=True)``."""
    onnx.save(by_dynamo(model), file)


def torchscript(_: Architecture, __: nn.Module, model: WrappedModel, file: Path) -> None:
    """``torch.onnx.export(dynamo=False)``."""
    onnx.save(by_torchscript(model), file)


def ultralytics(architecture: Architecture, network: nn.Module, model: WrappedModel, file: Path) -> None:
    """The library's own export of the same weights."""
    os.environ["YOLO_AUTOINSTALL"] = "false"
    library: Any = importlib.import_module("ultralytics")

    os.chdir(file.parent)
    whole: Any = library.YOLO(f"{architecture.name}.yaml", verbose=False)
    whole.model.load_state_dict(network.get_submodule("network").state_dict())
    written = whole.export(format="onnx", dynamic=True, imgsz=PICTURE_SIZE, verbose=False)
    onnx.save(renamed(onnx.load(written), model), file)


def optimum(_: Architecture, network: nn.Module, model: WrappedModel, file: Path) -> None:
    """optimum-onnx, where it can be imported beside these versions."""
    try:
        from optimum.exporters.onnx import onnx_export_from_model  # noqa: PLC0415
    except ImportError as error:
        raise SkippedError(f"optimum-onnx cannot be imported: {error}") from error
    onnx_export_from_model(
        network.network, output=file.parent, task="feature-extraction", do_validation=False
    )
    onnx.save(renamed(onnx.load(file), model), file)


def renamed(proto: onnx.ModelProto, model: WrappedModel) -> onnx.ModelProto:
    """The file with the contract's names, by position. Raises ValueError if it has another number."""
    graph, contract = proto.graph, model.contract
    names: dict[str, str] = {}
    for found, specs in ((graph.input, contract.inputs), (graph.output, contract.outputs)):
        if len(found) != len(specs):
            raise ValueError(
                f"the file has {[one.name for one in found]}, expected {[s.name for s in specs]}"
            )
        names |= {value.name: spec.name for value, spec in zip(found, specs, strict=True)}
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*graph.input, *graph.output):
        value.name = names[value.name]
    return proto


CONTESTANTS: Mapping[str, Export] = {
    "dynamo": dynamo,
    "torchscript": torchscript,
    "ultralytics": ultralytics,
    "optimum-onnx": optimum,
}
