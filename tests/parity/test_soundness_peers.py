"""The other tools' rules of the soundness benchmark: where each one's limits lie, and what it overlooks."""

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from soundness.peers import PEERS, TIMM_DECIMALS, VERIFY_ABSOLUTE, VERIFY_RELATIVE, Outputs
from torch.onnx.verification import VerificationInfo

VERIFY, OPTIMUM, POLYGRAPHY, TIMM, ONNXSIM, ASSERT_CLOSE = (
    "torch.onnx verify",
    "Optimum",
    "Polygraphy",
    "timm",
    "onnxsim",
    "torch.testing.assert_close",
)
ACCEPTS: Mapping[str, Callable[[Outputs, Outputs], bool]] = {peer.name: peer.accepts for peer in PEERS}


def values(*numbers: float, dtype: Any = np.float32) -> NDArray[Any]:
    return np.array(numbers, dtype)


def test_the_columns_are_these_and_only_onnxsim_looks_at_the_file_before() -> None:
    assert tuple(ACCEPTS) == (VERIFY, OPTIMUM, POLYGRAPHY, TIMM, ONNXSIM, ASSERT_CLOSE)
    assert [peer.name for peer in PEERS if peer.against == "base"] == [ONNXSIM]
    assert all(peer.rule and peer.source for peer in PEERS)


LIMITS = [
    (VERIFY, 1.0, 4.9e-3, 5.1e-3, "absolute"),
    (VERIFY, 1e-2, 0.9e-3, 1.1e-3, "relative, which must hold as well"),
    (OPTIMUM, 0.0, 0.99e-5, 1.01e-5, "absolute"),
    (OPTIMUM, 1000.0, 1.00e-2, 1.02e-2, "absolute plus relative"),
    (POLYGRAPHY, 0.0, 0.99e-5, 1.01e-5, "absolute"),
    (POLYGRAPHY, 100.0, 0.97e-3, 1.03e-3, "relative will do"),
    (POLYGRAPHY, 1.0, 0.97e-5, 1.06e-5, "not the sum of both"),
    (TIMM, 0.0, 1.49e-3, 1.51e-3, "absolute"),
    (TIMM, 1000.0, 1.46e-3, 1.54e-3, "nothing relative"),
    (ONNXSIM, 0.0, 0.99e-5, 1.01e-5, "absolute"),
    (ONNXSIM, 1.0, 1.09e-4, 1.11e-4, "absolute plus relative"),
    (ASSERT_CLOSE, 0.0, 0.99e-5, 1.01e-5, "absolute"),
    (ASSERT_CLOSE, 100.0, 1.37e-4, 1.45e-4, "absolute plus relative"),
]


@pytest.mark.parametrize(
    ("name", "value", "inside", "outside"),
    [row[:4] for row in LIMITS],
    ids=[f"{row[0]}: {row[4]}" for row in LIMITS],
)
def test_a_rule_accepts_just_inside_of_its_limit_and_not_just_outside(
    name: str, value: float, inside: float, outside: float
) -> None:
    reference = {"y": values(3.0, value, -7.0)}
    for error, accepted in (
        (0.0, True),
        (inside, True),
        (-inside, True),
        (outside, False),
        (-outside, False),
    ):
        assert ACCEPTS[name](reference, {"y": values(3.0, value + error, -7.0)}) is accepted, error


REFERENCE: Outputs = {"scores": values(0.5, -2.0, 7.0), "labels": values(1, 4, 2, dtype=np.int64)}
NAN = values(0.5, np.nan, 7.0)

OVERSIGHTS: list[tuple[str, Outputs, Outputs, set[str]]] = [
    ("the same", REFERENCE, REFERENCE, set(ACCEPTS)),
    ("NaN in the file alone", REFERENCE, {**REFERENCE, "scores": NAN}, {VERIFY}),
    ("a number where PyTorch has NaN", {"y": NAN}, {"y": values(0.5, 1.0, 7.0)}, {VERIFY}),
    ("NaN on both sides", {"y": NAN}, {"y": NAN}, {VERIFY, TIMM, ONNXSIM}),
    (
        "infinity on both sides",
        {"y": values(np.inf, 1)},
        {"y": values(np.inf, 1)},
        {OPTIMUM, TIMM, ONNXSIM, ASSERT_CLOSE, VERIFY},
    ),
    (
        "the last output dropped",
        REFERENCE,
        {"scores": REFERENCE["scores"]},
        {VERIFY, POLYGRAPHY, TIMM, ONNXSIM},
    ),
    (
        "an output too many",
        {"scores": REFERENCE["scores"]},
        {**REFERENCE},
        {VERIFY, POLYGRAPHY, TIMM},
    ),
    (
        "an output renamed",
        REFERENCE,
        {"probabilities": REFERENCE["scores"], "labels": REFERENCE["labels"]},
        {VERIFY, POLYGRAPHY, TIMM, ASSERT_CLOSE},
    ),
    (
        "outputs in another order",
        REFERENCE,
        {name: REFERENCE[name] for name in ("labels", "scores")},
        {OPTIMUM, POLYGRAPHY, ONNXSIM},
    ),
    (
        "names exchanged",
        {"a": values(1, 2), "b": values(3, 4)},
        {"b": values(1, 2), "a": values(3, 4)},
        {VERIFY, TIMM, ASSERT_CLOSE},
    ),
    (
        "float64 for float32",
        REFERENCE,
        {**REFERENCE, "scores": REFERENCE["scores"].astype(np.float64)},
        set(ACCEPTS) - {ASSERT_CLOSE},
    ),
    (
        "int32 for int64",
        REFERENCE,
        {**REFERENCE, "labels": REFERENCE["labels"].astype(np.int32)},
        set(ACCEPTS) - {ASSERT_CLOSE},
    ),
    ("another label", REFERENCE, {**REFERENCE, "labels": values(1, 4, 3, dtype=np.int64)}, {TIMM}),
    ("a shape that broadcasts", {"y": values(2, 2, 2)}, {"y": values(2)}, {VERIFY, ONNXSIM}),
    ("a shape that does not", {"y": values(2, 2, 2)}, {"y": values(2, 2)}, set()),
    (
        "nothing found on either side",
        {"y": np.zeros((0, 4), np.float32)},
        {"y": np.zeros((0, 4), np.float32)},
        set(ACCEPTS) - {VERIFY},
    ),
    (
        "a detection too many",
        {"y": np.zeros((0, 4), np.float32)},
        {"y": np.zeros((1, 4), np.float32)},
        {ONNXSIM},
    ),
    ("a flag", {"y": values(1, 0, dtype=bool)}, {"y": values(1, 1, dtype=bool)}, {OPTIMUM}),
    ("a number of no axes", {"y": np.array(1.5, np.float32)}, {"y": np.array(1.5, np.float32)}, set(ACCEPTS)),
    ("no output at all", REFERENCE, {}, {VERIFY}),
]


@pytest.mark.parametrize(
    ("reference", "candidate", "satisfied"),
    [row[1:] for row in OVERSIGHTS],
    ids=[row[0] for row in OVERSIGHTS],
)
def test_what_each_tool_looks_at(reference: Outputs, candidate: Outputs, satisfied: set[str]) -> None:
    assert {name for name, accepts in ACCEPTS.items() if accepts(reference, candidate)} == satisfied


@pytest.mark.parametrize("name", ACCEPTS)
def test_a_rule_is_silent_and_changes_no_array(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    reference = {"y": np.linspace(0, 1, 50, dtype=np.float32)}
    candidate = {"y": reference["y"] + np.float32(0.5)}
    before = [array.copy() for array in (reference["y"], candidate["y"])]
    reference["y"].flags.writeable = False
    assert not ACCEPTS[name](reference, candidate)
    assert capfd.readouterr() == ("", "")
    np.testing.assert_array_equal(before, [reference["y"], candidate["y"]])


def test_verify_still_lets_nan_pass_in_pytorch_itself() -> None:
    info = VerificationInfo.from_tensors("y", torch.zeros(2), torch.tensor([0.0, torch.nan]))
    assert np.isnan(info.max_abs_diff)


def source_of(package: str, *path: str) -> str:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent.joinpath(*path).read_text(encoding="utf-8")


def test_limits_that_are_written_anew_are_still_those_of_their_projects() -> None:
    """Where this fails, the project has changed its rule, and the column has to follow."""
    exporter = source_of("torch", "onnx", "_internal", "exporter", "_core.py")
    assert f"max_abs_diff >= {VERIFY_ABSOLUTE:.0e}".replace("e-0", "e-") in exporter
    assert f"max_rel_diff >= {VERIFY_RELATIVE:.0e}".replace("e-0", "e-") in exporter
    checking = source_of("timm", "utils", "onnx.py")
    assert f"assert_almost_equal(original_out.numpy(), onnx_out, decimal={TIMM_DECIMALS})" in checking
