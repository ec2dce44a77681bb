"""The benchmark's faults: one that plants nothing is an error; what is planted does what it says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from soundness.fault import Edit, Editor, NothingPlantedError, edited, moved, scaled, set_attribute
from soundness.faults import FAULTS
from soundness.faults.interface import dropped, exchanged, renamed
from soundness.faults.norms import batch_statistics
from soundness.faults.picture import brighter, on_input, shifted
from soundness.faults.shapes import first_for_all, from_third_on, input_cut, on_output
from soundness.faults.weights import DATA, another_run, bfloat16, external, float16, to_levels

Array = NDArray[Any]
NAMED_BY_THE_ISSUE = 40


def graph(nodes: list[onnx.NodeProto], **weights: Array) -> onnx.ModelProto:
    """From x float32 [n, 3, 4, 4] to y of the same axes."""
    axes: list[str | int | None] = ["n", 3, 4, 4]
    body = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, axes)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, axes)],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in weights.items()],
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


DOUBLED = graph([helper.make_node("Mul", ["x", "two"], ["y"])], two=np.full(1, 2.0))
NORMED = graph(
    [helper.make_node("BatchNormalization", ["x", "g", "b", "m", "v"], ["y"], epsilon=1e-5)],
    g=np.ones(3),
    b=np.zeros(3),
    m=np.zeros(3),
    v=np.ones(3),
)


def run(file: Path, x: Array) -> Array:
    (answer,) = ort.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    return np.asarray(answer)


def planted(proto: onnx.ModelProto, edit: Edit, folder: Path, x: Array) -> Array:
    return run(edited(edit)(proto, folder), x)


@pytest.fixture
def x() -> Array:
    return np.random.default_rng(0).uniform(0, 255, (3, 3, 4, 4)).round().astype(np.float32)


def test_faults_have_names_of_their_own_and_are_as_many_as_promised() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    severities: dict[str, set[tuple[str, str]]] = {}
    for fault in FAULTS:
        severities.setdefault(fault.kind, set()).add((fault.severity, fault.subject))
    assert sum(len(found) > 1 for found in severities.values()) >= NAMED_BY_THE_ISSUE


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda editor: None, id="an-edit-that-forgets-to-edit"),
        pytest.param(lambda editor: editor.rewrite("two", lambda values: values), id="the-same-values"),
        pytest.param(lambda editor: editor.rewrite("two", scaled(1 + 1e-9)), id="lost-in-rounding"),
        pytest.param(lambda editor: editor.rewrite("three", scaled(2)), id="no-such-value"),
        pytest.param(lambda editor: editor.node("Sigmoid"), id="no-such-operator"),
        pytest.param(lambda editor: editor.node("Mul", 1), id="no-second-one"),
        pytest.param(lambda editor: editor.scalar_constant(3), id="no-such-number"),
        pytest.param(lambda editor: editor.metadata("onnxproof"), id="no-metadata"),
        pytest.param(lambda editor: editor.splice("x", lambda emit, value: value), id="nothing-spliced-in"),
    ],
)
def test_a_fault_that_plants_nothing_is_an_error(edit: Edit, tmp_path: Path) -> None:
    with pytest.raises(NothingPlantedError):
        edited(edit)(DOUBLED, tmp_path)


def test_an_attribute_that_stays_as_it_was_is_an_error() -> None:
    node = Editor(NORMED).node("BatchNormalization")
    with pytest.raises(NothingPlantedError, match="already"):
        set_attribute(node, "epsilon", 1e-5)


def test_the_healthy_graph_stays_as_it_was(tmp_path: Path) -> None:
    before = DOUBLED.SerializeToString()
    edited(lambda editor: editor.rewrite("two", moved(1)))(DOUBLED, tmp_path)
    assert DOUBLED.SerializeToString() == before


def shifted_down(x: Array) -> Array:
    return np.concatenate((x[:, :, 1:], x[:, :, -1:]), axis=2)


def wrapped(x: Array) -> Array:
    return np.asarray((x + 16) % 256 - 16)


@pytest.mark.parametrize(
    ("edit", "wanted"),
    [
        pytest.param(lambda editor: editor.rewrite("two", scaled(1.5)), lambda x: 3 * x, id="weight"),
        pytest.param(on_output(lambda emit, y: emit("Neg", y)), lambda x: -2 * x, id="behind-an-output"),
        pytest.param(lambda editor: editor.skip(editor.node("Mul")), lambda x: x, id="left-out"),
        pytest.param(on_output(first_for_all), lambda x: 2 * x[[0, 0, 0]], id="first-for-all"),
        pytest.param(on_output(from_third_on), lambda x: 2 * x[[0, 1, 1]], id="third-as-second"),
        pytest.param(input_cut(0, 2), lambda x: 2 * x[:2], id="batch-cut"),
        pytest.param(on_input(shifted(2)), lambda x: 2 * shifted_down(x), id="crop-one-down"),
    ],
)
def test_what_is_planted_does_what_it_says(
    edit: Edit, wanted: Callable[[Array], Array], x: Array, tmp_path: Path
) -> None:
    np.testing.assert_array_equal(planted(DOUBLED, edit, tmp_path, x), wanted(x))


def test_bytes_wrap(x: Array, tmp_path: Path) -> None:
    def edit(editor: Editor) -> None:
        editor.splice("x", lambda emit, value: emit("Cast", brighter(16)(emit, value), to=TensorProto.FLOAT))

    assert (x >= 240).any()
    np.testing.assert_array_equal(planted(DOUBLED, edit, tmp_path, x), 2 * wrapped(x))


def test_a_norm_in_training_form_takes_the_batch_s_own_statistics(x: Array, tmp_path: Path) -> None:
    exact = x.astype(np.float64)
    axes = (0, 2, 3)
    wanted = (exact - exact.mean(axes, keepdims=True)) / np.sqrt(exact.var(axes, keepdims=True) + 1e-5)
    np.testing.assert_allclose(planted(NORMED, batch_statistics(0), tmp_path, x), wanted, atol=1e-5)


def two_outputs() -> onnx.ModelProto:
    proto = graph([helper.make_node("Neg", ["x"], ["y"]), helper.make_node("Abs", ["x"], ["z"])])
    proto.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 3, 4, 4]))
    return proto


@pytest.mark.parametrize(
    ("edit", "names", "first"),
    [
        pytest.param(exchanged, ["y", "z"], np.abs, id="exchanged"),
        pytest.param(dropped, ["y"], np.negative, id="dropped"),
        pytest.param(renamed, ["y", "z_1"], np.negative, id="renamed"),
    ],
)
def test_outputs_are_exchanged_dropped_and_renamed(
    edit: Edit, names: list[str], first: Callable[[Array], Array], x: Array, tmp_path: Path
) -> None:
    session = ort.InferenceSession(edited(edit)(two_outputs(), tmp_path), providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == names
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], first(x))


def test_stale_external_data_change_the_file_beside_the_model_alone(x: Array, tmp_path: Path) -> None:
    large = graph([helper.make_node("Mul", ["x", "w"], ["y"])], w=np.ones((40, 3, 4, 4)))
    batch = np.ones((40, 3, 4, 4), np.float32)
    answers = []
    for name, change in (("healthy", lambda values: values * 1.5), ("stale", another_run)):
        folder = tmp_path / name
        folder.mkdir()
        answers.append(run(external(change)(large, folder), batch))
        assert (folder / DATA).stat().st_size == 40 * 48 * 4
    np.testing.assert_array_equal(answers[0], 1.5)
    assert 0.01 < np.std(answers[1]) < 0.03
    assert (tmp_path / "healthy" / "model.onnx").read_bytes() == (
        tmp_path / "stale" / "model.onnx"
    ).read_bytes()


@pytest.mark.parametrize(
    ("change", "relative"),
    [
        pytest.param(float16, 2.0**-11, id="float16-11-bits"),
        pytest.param(bfloat16, 2.0**-8, id="bfloat16-8-bits"),
        pytest.param(to_levels(8), 0.5 / 127, id="127-levels-of-the-largest"),
    ],
)
def test_rounding_errs_by_half_a_step_at_most_and_by_nearly_that(
    change: Callable[[Array], Array], relative: float
) -> None:
    values = np.random.default_rng(1).uniform(1, 2, (1, 4096)).astype(np.float32)
    values[0, 0] = 2.0
    step = 2.0 if relative == 0.5 / 127 else 1.0
    worst = float(np.abs(change(values).astype(np.float64) - values).max())
    assert 0.9 * relative * step < worst <= relative * step * (1 + 1e-6)
