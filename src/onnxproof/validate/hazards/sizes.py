"""Find what goes wrong at some declared sizes alone: the pixels that a Resize picks.

With mode nearest, a Resize picks a pixel for each output pixel; in any mode, its length may follow from a
scale. Whether ONNX Runtime does the same as PyTorch depends on the sizes alone, so every declared size is
looked at without running the network: onnx infers the sizes before and behind each Resize, and ONNX Runtime
runs that Resize alone on one row (``_resize.py``).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnx_ir as ir
from numpy.typing import NDArray

from onnxproof.errors import ModelFileError
from onnxproof.graph import STANDARD, OnnxGraph, attribute_of, label
from onnxproof.runtime.session import first_line
from onnxproof.tensors import Dim
from onnxproof.validate.hazards._hazard import Hazard, Subject, failed, listed, passed, skipped
from onnxproof.validate.hazards._resize import TORCH_WAYS, Step, Way, alike
from onnxproof.validate.hazards._sums import value_of
from onnxproof.validate.inference import SMALL, Inference, Shape, ShapesError, without_weights
from onnxproof.validate.verdict import Check

NAME = "sizes"

FIRST_OPSET = 11
"""Before this operator set a Resize has no sizes, and no ways of its own."""

MOST_SIZES = 1024
"""How many sizes of a dimension are looked at; of more, as many, spread evenly."""


def look_for_sizes(subject: Subject) -> Check:
    """Whether each Resize picks the pixels that PyTorch picks, and as many, at every declared size."""
    try:
        return _look(subject)
    except (ShapesError, ModelFileError) as error:
        return skipped(NAME, f"shapes cannot be inferred: {first_line(error)}")


def _look(subject: Subject) -> Check:
    proto = subject.graph.proto
    graph = OnnxGraph(onnx.inliner.inline_local_functions(proto)) if proto.functions else subject.graph
    nodes = [node for node in graph.top if _rounds(node, graph.opset)]
    if not nodes:
        return passed(NAME, "no Resize rounds")
    contract = subject.declared
    if contract is None:
        return skipped(NAME, "the file does not say which sizes it takes")
    axes = {spec.name: spec.shape for spec in contract.inputs}
    shapes = _Shapes(graph, subject, nodes, axes)
    smallest = {dim.name: dim.min for dim in contract.dims}
    wrong: dict[str, list[str]] = {}
    unknown = {label(node) for node in nodes if shapes.steps(node, smallest) is None}
    count = 0
    for dim in contract.dims:
        tried = _sizes_of(dim)
        bad: dict[str, list[int]] = {}
        for size in tried if len(unknown) < len(nodes) else ():
            for node in nodes:
                steps = shapes.steps(node, {**smallest, dim.name: size})
                if steps is None:
                    unknown.add(label(node))
                elif any(not alike(step) for step in steps):
                    bad.setdefault(label(node), []).append(size)
        for name, sizes in bad.items():
            count += len(sizes)
            shown = listed([str(size) for size in sizes])
            told = f"{len(sizes)} of {len(tried)} sizes of {dim.name} ({shown})"
            wrong.setdefault(name, []).append(told)
    if wrong:
        reasons = [f"{name} at {', '.join(told)}" for name, told in wrong.items()]
        what = "ONNX Runtime picks other pixels than PyTorch, or another number, in"
        return failed(NAME, f"{what} {listed(reasons, '; ')}", count)
    if unknown:
        return skipped(NAME, f"the sizes of {listed(sorted(unknown))} depend on more than onnx follows")
    return passed(NAME, f"{len(nodes)} Resize pick PyTorch's pixels at every declared size")


SIZES = Hazard(
    NAME,
    "at these sizes the file answers from other pixels than the model does, because the runtime rounds a "
    "coordinate otherwise",
    "declare sizes without these (a step in [dims]); in the model, resize by a scale_factor that is a power "
    'of two, or with mode="bilinear"',
    look_for_sizes,
)


def asks_for_shapes(subject: Subject) -> bool:
    """Whether ``look_for_sizes`` will infer shapes, as far as can be said at once."""
    graph = subject.graph
    return subject.declared is not None and any(_rounds(node, graph.opset) for node in graph.top)


class _Shapes:
    """The shapes before and behind Resize nodes, at any sizes of the inputs."""

    def __init__(
        self,
        graph: OnnxGraph,
        subject: Subject,
        nodes: Sequence[ir.Node],
        axes: Mapping[str, tuple[int | str, ...]],
    ) -> None:
        self._axes = axes
        self._inference = Inference(_up_to(graph, nodes), str(subject.file))
        self._opset = graph.opset
        self._stored = {name: stored.shape for name, stored in graph.constants.items()}
        self._values: dict[str, NDArray[Any]] = {
            name: stored.array(subject.file)
            for name, stored in graph.constants.items()
            if stored.place is None and 0 < stored.bytes <= 8 * SMALL
        }
        self._last: tuple[dict[str, int], dict[str, Shape]] | None = None

    def steps(self, node: ir.Node, sizes: Mapping[str, int]) -> list[Step] | None:
        """What a Resize does along each axis that matters. None if its sizes are not known."""
        shapes = self._at(dict(sizes))
        source = shapes.get(str(node.inputs[0].name)) if node.inputs[0] is not None else None
        if source is None:
            return None
        scales, targets = (self._parameter(node, place, shapes) for place in (2, 3))
        axes = attribute_of(node, "axes", None) or range(len(source))
        way = _way(node)
        if targets is not None and targets.size == len(axes):
            steps = [Step(way, source[a], int(size), None) for a, size in zip(axes, targets, strict=True)]
        elif scales is not None and scales.size == len(axes):
            steps = [
                Step(way, source[a], int(source[a] * np.float32(scale)), float(np.float32(scale)))
                for a, scale in zip(axes, scales, strict=True)
            ]
        else:
            return None
        return [step for step in steps if not step.trivial]

    def _parameter(self, node: ir.Node, place: int, shapes: Mapping[str, Shape]) -> NDArray[Any] | None:
        value = node.inputs[place] if place < len(node.inputs) else None
        return None if value is None else value_of(value, self._values, shapes)

    def _at(self, sizes: dict[str, int]) -> dict[str, Shape]:
        if self._last is None or self._last[0] != sizes:
            self._last = (sizes, self._inferred(sizes))
        return self._last[1]

    def _inferred(self, sizes: Mapping[str, int]) -> dict[str, Shape]:
        asked = {
            name: [sizes[axis] if isinstance(axis, str) else axis for axis in axes]
            for name, axes in self._axes.items()
        }
        return self._stored | self._inference.at(asked).shapes


def _rounds(node: ir.Node, opset: int) -> bool:
    """Whether a node is a Resize that may round otherwise than PyTorch.

    It picks nearest pixels in one of PyTorch's ways, or its length follows from a scale.
    """
    if node.op_type != "Resize" or node.domain != STANDARD or opset < FIRST_OPSET:
        return False
    if attribute_of(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        return False
    scales = node.inputs[2] if len(node.inputs) > 2 else None
    by_scales = scales is not None and bool(scales.name)
    return _way(node) in TORCH_WAYS or (attribute_of(node, "mode", "nearest") != "nearest" and by_scales)


def _way(node: ir.Node) -> Way | None:
    """How a Resize picks pixels. None if it mixes several."""
    if attribute_of(node, "mode", "nearest") != "nearest":
        return None
    return (
        attribute_of(node, "coordinate_transformation_mode", "half_pixel"),
        attribute_of(node, "nearest_mode", "round_prefer_floor"),
    )


def _sizes_of(dim: Dim) -> tuple[int, ...]:
    sizes = range(dim.min, dim.max + 1, dim.multiple)
    if len(sizes) <= MOST_SIZES:
        return tuple(sizes)
    return tuple(sizes[int(place)] for place in np.linspace(0, len(sizes) - 1, MOST_SIZES))


def _up_to(graph: OnnxGraph, nodes: Sequence[ir.Node]) -> onnx.ModelProto:
    """The part of a graph that these nodes are computed from, without weights and outputs."""
    wanted: set[ir.Node] = set()
    pending: list[ir.Node] = list(nodes)
    while pending:
        node = pending.pop()
        if node not in wanted:
            wanted.add(node)
            makers = (value.producer() for value in node.inputs if value is not None)
            pending += [maker for maker in makers if maker is not None]
    light = without_weights(graph.proto)
    kept = [proto for proto, node in zip(light.graph.node, graph.top, strict=True) if node in wanted]
    del light.graph.node[:], light.graph.output[:]
    light.graph.node.extend(kept)
    return light
