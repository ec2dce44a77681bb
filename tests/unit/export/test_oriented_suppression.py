"""How much oriented boxes overlap, as a graph computes it in float32, against NumPy in float64."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from onnxproof.export.oriented_suppression import overlaps
from onnxproof.runtime.oriented import pairwise_probiou
from onnxproof.validate.compare.turned import OVERLAP_ROUNDINGS

Array = NDArray[Any]


class Operators:
    """Writes nodes into a list."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []

    def __getattr__(self, name: str) -> Any:
        def write(*inputs: str, **attributes: Any) -> str:
            output = f"v{len(self.nodes)}"
            if name == "Constant":
                (value,) = attributes.values()
                floats = np.asarray(value).dtype.kind == "f"
                held = np.asarray(value, np.float32 if floats else np.int64)
                attributes = {"value": numpy_helper.from_array(held)}
            self.nodes.append(helper.make_node(name, list(inputs), [output], **attributes))
            return output

        return write


def in_a_graph(boxes: Array) -> Array:
    op = Operators()
    output = overlaps(op, "boxes")
    value, out = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("boxes", [1, len(boxes), 5]), (output, None))
    )
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(helper.make_graph(op.nodes, "g", [value], [out]), opset_imports=opset)
    model.ir_version = 8
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: Array = session.run(None, {"boxes": boxes[None]})[0][0]
    return found


def crowd(side: float, aspect: float, size: float = 640, count: int = 60) -> Array:
    """Boxes that nearly coincide, somewhere in a picture: float32 [count, 5]."""
    random = np.random.default_rng(0)
    place, angle = random.uniform(0.2, 0.8, 2) * size, random.uniform(-0.8, 2.4)
    angles = angle + random.normal(0, 0.1, count) / aspect
    high, wide = side * np.exp(random.normal(0, 0.1, (2, count)))
    along, across = random.normal(0, 0.15, (2, count)) * side
    along *= aspect
    x = place[0] + along * np.cos(angle) - across * np.sin(angle)
    y = place[1] + along * np.sin(angle) + across * np.cos(angle)
    return np.stack((x, y, aspect * wide, high, angles), axis=-1).astype(np.float32)


@pytest.mark.parametrize("aspect", [1, 3, 10, 30])
@pytest.mark.parametrize("side", [5, 20, 60])
def test_float32_is_enough(side: float, aspect: float) -> None:
    boxes = crowd(side, aspect)
    wanted = pairwise_probiou(boxes.astype(np.float64), boxes.astype(np.float64))
    apart = np.abs(in_a_graph(boxes) - wanted)
    tested = ~np.eye(len(boxes), dtype=bool) & (wanted > 0.1) & (wanted < 0.98)
    assert np.count_nonzero(tested) > 1000
    limit = OVERLAP_ROUNDINGS * float(np.finfo(np.float32).eps) / 2 / (2 * (1 - wanted))
    assert (apart <= limit)[tested].all()


def test_boxes_that_are_equal_or_far_apart_or_no_numbers() -> None:
    boxes = np.array([[9, 9, 20, 5, 1], [9, 9, 20, 5, 1], [900, 9, 20, 5, 1], [9, np.nan, 20, 5, 1]])
    found = in_a_graph(boxes.astype(np.float32))
    assert found[0, 1] > 0.999
    assert abs(found[0, 2]) < 1e-6
    assert (found[3] == -1).all()
    assert (found[:, 3] == -1).all()


@pytest.mark.parametrize(("wide", "most"), [pytest.param(30, 0.01, id="30"), pytest.param(10, 0.1, id="10")])
def test_units_of_an_eighth_of_the_picture_enlarge_the_overlap_of_small_boxes(wide: int, most: float) -> None:
    """The figures of the note on Ultralytics' own export (finding/unlike.py)."""
    boxes = crowd(10, wide / 10).astype(np.float64)
    scaled = boxes * np.array([8 / 640] * 4 + [1])
    moved = pairwise_probiou(scaled, scaled) - pairwise_probiou(boxes, boxes)
    assert most / 2 < moved.max() < 2 * most
