"""The float64 evaluator against the tests that ONNX ships for each of its operators."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from onnxproof.validate.exact.arrays import widen
from onnxproof.validate.exact.graph import ExactError, ExactGraph

Array = NDArray[Any]

RANDOM = "draws random numbers"
TRAINING = "trains"
LEFT_OUT = {
    "adagrad": TRAINING,
    "adam": TRAINING,
    "momentum": TRAINING,
    "nesterov_momentum": TRAINING,
    "training_dropout_default": RANDOM,
    "training_dropout_mask": RANDOM,
    "training_dropout": RANDOM,
    "bernoulli": RANDOM,
    "bitcast_float32": "float32's bits are not held",
    "bitcast_float64": "float64 stands for float32, too",
    "bitcast_2d_float32": "float32's bits are not held",
    "bitcast_scalar_float32": "float32's bits are not held",
    "bitcast_int32_to_float32": "float32's bits are not held",
    "bitcast_int64_to_float64": "float64 stands for float32, too",
    "dynamicquantizelinear": "a tie that float32's rounding of the scale decides",
    "flexattention": "a preview operator with bodies",
    "resize_downsample_scales_linear_align_corners": "ONNX Runtime and PyTorch count whole cells",
    "resize_downsample_scales_cubic_align_corners": "ONNX Runtime and PyTorch count whole cells",
    "tfidfvectorizer": "counts of n-grams, no exporter of PyTorch writes it",
}
"""Beginnings of names of tests that are not run, and why."""

ZERO_TRAINING = ("training_dropout_zero_ratio", "training_dropout_zero_ratio_mask")
"""Nothing is dropped, so nothing is random."""

HALF = {"float16": 2.0**-9, "bfloat16": 2.0**-6}
"""What a node that computes in 16 bits loses."""


def cases() -> Iterator[Any]:
    with warnings.catch_warnings():
        # The generators of some cases overflow on purpose.
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        yield from collect_testcases(None)


def left_out(name: str) -> bool:
    plain = name.removeprefix("test_")
    return plain not in ZERO_TRAINING and any(plain.startswith(start) for start in LEFT_OUT)


def as_value(value: Any) -> Any:
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def differences(got: Any, expected: Any, rtol: float, atol: float) -> Iterator[str]:
    if expected is None or isinstance(expected, list | tuple):
        if expected is None or not isinstance(got, list) or len(got) != len(expected):
            yield from [] if got is None and expected is None else [f"{got} is not {expected}"]
            return
        for one, other in zip(got, expected, strict=True):
            yield from differences(one, other, rtol, atol)
        return
    wanted = widen(np.asarray(expected))
    if got.shape != wanted.shape:
        yield f"shape {got.shape}, expected {wanted.shape}"
    elif got.dtype != wanted.dtype and "O" not in (got.dtype.kind, wanted.dtype.kind):
        yield f"dtype {got.dtype}, expected {wanted.dtype}"
    elif wanted.dtype.kind in "OU":
        yield from [] if got.tolist() == wanted.tolist() else ["texts differ"]
    else:
        rtol = HALF.get(np.asarray(expected).dtype.name, rtol)
        pair = (got.astype(np.float64), wanted.astype(np.float64))
        if not np.allclose(*pair, rtol=rtol, atol=atol, equal_nan=True):
            yield f"off by {np.nanmax(np.abs(pair[0] - pair[1]))}"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_operator_agrees_with_the_tests_that_onnx_ships() -> None:
    wrong: dict[str, str] = {}
    ran = 0
    for case in cases():
        if left_out(case.name):
            continue
        graph = ExactGraph(case.model)
        names = [value.name for value in case.model.graph.input]
        for inputs, outputs in case.data_sets:
            ran += 1
            feeds = {name: as_value(value) for name, value in (dict(zip(names, inputs, strict=True))).items()}
            try:
                got = graph.run(feeds)
            except ExactError as error:
                wrong[case.name] = f"{type(error).__name__}: {error}"
                continue
            for port, expected in zip(case.model.graph.output, outputs, strict=True):
                if port.name not in got:
                    wrong[case.name] = str(graph.unsupported)
                    continue
                for said in differences(got[port.name], as_value(expected), case.rtol, max(case.atol, 1e-6)):
                    wrong[case.name] = said
    assert wrong == {}
    assert ran > 1700


def test_the_comparison_itself_finds_what_differs() -> None:
    x = np.array([1.0, np.nan])
    assert list(differences(x, x.astype(np.float32), 1e-3, 1e-6)) == []
    for other in (np.array([1.1, np.nan]), np.array([1.0, 2.0]), np.array([1.0]), np.array([1, 2])):
        assert list(differences(x, other, 1e-3, 1e-6)) != []
    assert list(differences([x], [x, x], 1e-3, 1e-6)) != []
    assert list(differences(x, None, 1e-3, 1e-6)) != []


STEPS = frozenset(
    """
    ArgMax ArgMin BitCast Cast CastLike Ceil DequantizeLinear Equal Floor GridSample Hardmax IsInf IsNaN Less
    QuantizeLinear Round Sign ThresholdedRelu TreeEnsemble Binarizer Unique Upsample Resize Greater NonZero
    """.split()
)
"""Operators that are constant, or jump, somewhere; or take a number of cells as a float."""


KNOWN_STEPS = {
    "test_acosh_example": "its slope is infinite at 1",
    "test_logsoftmax_large_number": "large numbers cancel",
    "test_logsoftmax_large_number_expanded": "large numbers cancel",
    "test_logsoftmax_large_number_expanded_ver18": "large numbers cancel",
    "test_loop13_seq": "it returns constants of the body",
    "test_loop16_seq_none": "it returns constants of the body",
    "test_melweightmatrix": "its triangles are steep",
    "test_range_float_type_positive_delta": "a number more is in the range",
    "test_reduce_prod_empty_set": "the product of nothing is 1",
}


def moved(value: Any, seed: int) -> Any:
    """Floats moved by less than float32 resolves."""
    if isinstance(value, list | tuple):
        return [moved(item, seed) for item in value]
    array = None if value is None else np.asarray(value)
    if array is None or array.dtype not in (np.float16, np.float32, np.float64):
        return value
    steps = np.random.default_rng(seed).uniform(0.5, 1, array.shape)
    return array.astype(np.float64) * (1 + 2.0**-34 * steps)


def leaves(value: Any) -> Iterator[Array]:
    if isinstance(value, list):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, np.ndarray) and value.dtype == np.float64 and value.size:
        yield value


def single_steps(before: Array, after: Array) -> str | None:
    """Why something between input and output was rounded to float32; None if nothing was.

    A rounding swallows a change that is below its step, or makes a whole step of it.
    """
    if before.shape != after.shape:
        return "another shape"
    finite = np.isfinite(before) & np.isfinite(after)
    if not finite.any() or not np.any(after[finite]):
        return None
    if np.all(after.astype(np.float32) == after):
        return "float32 holds every number"
    if np.array_equal(before, after, equal_nan=True):
        return "no change"
    step = np.abs(after - before)[finite].max() / np.abs(before[finite]).max()
    return f"a step of {step}" if step > 2.0**-26 else None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_no_operator_rounds_to_float32_inside() -> None:
    wrong: dict[str, str] = {}
    ran = 0
    for case in cases():
        operators = {node.op_type for node in case.model.graph.node}
        halves = {value.type.tensor_type.elem_type for value in case.model.graph.input} & {10, 16}
        if left_out(case.name) or operators & STEPS or halves or case.name in KNOWN_STEPS:
            continue
        inputs = case.data_sets[0][0]
        names = [value.name for value in case.model.graph.input]
        feeds = {name: as_value(value) for name, value in zip(names, inputs, strict=True)}
        near = {name: moved(value, seed) for seed, (name, value) in enumerate(feeds.items())}
        if not any(
            isinstance(value, list) or np.asarray(value).dtype == np.float64 for value in near.values()
        ):
            continue
        graph = ExactGraph(case.model)
        before, after = graph.run(feeds), graph.run(near)
        for name in before:
            for one, other in zip(leaves(before[name]), leaves(after[name]), strict=True):
                ran += 1
                said = single_steps(one, other)
                if said is not None:
                    wrong[f"{case.name} {name}"] = said
    assert wrong == {}
    assert ran > 800


def test_a_rounding_to_float32_is_found() -> None:
    x = np.linspace(0.1, 1, 50)
    near = moved(x, 0)
    assert single_steps(np.exp(x), np.exp(near)) is None
    assert single_steps(x.astype(np.float32).astype(np.float64), near.astype(np.float32).astype(np.float64))
    inside = [np.exp(one.astype(np.float32).astype(np.float64)) for one in (x, near)]
    assert single_steps(inside[0], inside[1]) == "no change"
