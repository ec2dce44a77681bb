"""Faults that are planted in a file in int8, and what a kit says of a host that has one."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

import onnxproof
from onnxproof.runtime.session import CPU, VERSION
from onnxproof.validate.legs.lowered_file import QUANTIZE
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.validate.verdict import Verdict

SEED, LAYERS = 0, 8
"""Which layers are damaged: so many, drawn with this seed."""

Array = NDArray[Any]
Change = Callable[[onnx.ModelProto, int], None]
"""Damages a layer of a graph, by its number among those that are damaged."""


@dataclass(frozen=True)
class Fault:
    """What is wrong with a host: its model, if ``change`` changes that, the inputs, or the outputs' order."""

    what: str
    change: Change | None = None
    given: Callable[[Array], Array] = lambda array: array
    exchanged: bool = False


def weights_of(proto: onnx.ModelProto) -> list[tuple[TensorProto, TensorProto]]:
    """The weights of the quantised layers that are damaged, and their scales."""
    stored = {tensor.name: tensor for tensor in proto.graph.initializer}
    held = {name for name, one in stored.items() if one.data_type == TensorProto.INT8 and len(one.dims) > 1}
    nodes = [
        node for node in proto.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in held
    ]
    return [(stored[nodes[at].input[0]], stored[nodes[at].input[1]]) for at in drawn(len(nodes))]


def scales_of(proto: onnx.ModelProto) -> list[TensorProto]:
    """The scales of the activations that are damaged."""
    stored = {tensor.name: tensor for tensor in proto.graph.initializer}
    names = dict.fromkeys(node.input[1] for node in proto.graph.node if node.op_type == QUANTIZE)
    return [stored[[*names][at]] for at in drawn(len(names))]


def drawn(count: int) -> list[int]:
    """The places of LAYERS of so many."""
    return sorted(np.random.default_rng(SEED).choice(count, LAYERS, replace=False).tolist())


def rewrite(tensor: TensorProto, change: Callable[[Array], Array]) -> None:
    values = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(change(values).astype(values.dtype), tensor.name))


def reordered(proto: onnx.ModelProto, place: int) -> None:
    """Put the output channels of a layer's weights into another order."""
    rewrite(weights_of(proto)[place][0], np.random.default_rng(SEED).permutation)


def weights_times(factor: float) -> Change:
    return lambda proto, place: rewrite(weights_of(proto)[place][1], lambda scale: scale * factor)


def activation_times(factor: float) -> Change:
    return lambda proto, place: rewrite(scales_of(proto)[place], lambda scale: scale * factor)


FAULTS = (
    Fault("none"),
    Fault("weights of a layer in another order", reordered),
    Fault("an activation's scale divided by 4, so that it clips", activation_times(0.25)),
    Fault("an activation's scale times 4, where it is read and written", activation_times(4)),
    Fault("a layer's weights times 1.1", weights_times(1.1)),
    Fault("a layer's weights times 2", weights_times(2)),
    Fault("red and blue exchanged", given=lambda array: array[:, ::-1].copy()),
    Fault("pixels times 0.9", given=lambda array: array * np.float32(0.9)),
    Fault("outputs of two cases exchanged", exchanged=True),
)


def damaged(file: Path, change: Change, folder: Path) -> Iterator[Path]:
    """Copies of the file, each with one damaged layer. Each replaces the one before."""
    for place in range(LAYERS):
        proto = onnx.load(file)
        change(proto, place)
        onnx.save(proto, folder / "damaged.onnx")
        yield folder / "damaged.onnx"


def judged(kit: Path, file: Path, fault: Fault, folder: Path, threads: int) -> Verdict:
    """What the kit says of a host that runs the file, and does not say which one that was."""
    index = json.loads((kit / "kit.json").read_text(encoding="utf-8"))
    leg, name, cases = OrtLeg(file, (CPU,), threads), index["outputs"][0]["name"], []
    for case in index["cases"]:
        (told,) = case["inputs"]
        array = np.fromfile(kit / told["file"], told["dtype"]).reshape(told["shape"])
        found = leg.run({told["name"]: fault.given(array)}).outputs[name]
        found.tofile(folder / f"{case['case']}.bin")
        about = {"name": name, "dtype": "float32", "shape": found.shape, "file": f"{case['case']}.bin"}
        cases.append({"case": case["case"], "outputs": [about]})
    if fault.exchanged:
        shapes = [case["outputs"][0]["shape"] for case in cases]
        other = shapes.index(shapes[0], 1)
        cases[0]["outputs"], cases[other]["outputs"] = cases[other]["outputs"], cases[0]["outputs"]
    host = {"name": "onnxruntime", "version": VERSION, "provider": "cpu"}
    document = {"format": 1, "kit": index["kit"], "runtime": host, "cases": cases}
    (folder / "outputs.json").write_text(json.dumps(document), encoding="utf-8")
    return onnxproof.judge(kit, folder)
