"""What other tools say of a file: their own rules, on the outputs that both sides gave for one input.

Each rule is applied as its project documents it, and run from the project's own code where that can be
called: PyTorch's, Polygraphy's, NumPy's and onnxsim's here are the installed ones. Optimum's is written anew,
since Optimum wants another transformers than this project has. What a tool never looks at (names, dtypes,
NaN, an output that is missing) is not looked at here either.
"""

import contextlib
import importlib.metadata
import io
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper
from onnxsim import model_checking
from polygraphy.comparator import Comparator, IterationResult, RunResults, SimpleCompareFunc
from polygraphy.exception import PolygraphyException
from polygraphy.logger import G_LOGGER
from torch import Tensor
from torch.onnx.verification import VerificationInfo

Array = NDArray[Any]
Outputs = Mapping[str, Array]

VERIFY_ABSOLUTE = 5e-3
VERIFY_RELATIVE = 1e-1
"""From these differences on, ``torch.onnx.export(verify=True)`` reports an output as inaccurate."""

OPTIMUM_ATOL = 1e-5
TIMM_DECIMALS = 3
SILENT = 1000
"""A severity of Polygraphy's logger above all of its own."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One tool's check. ``rule`` is its text for the table, ``source`` where it is found.

    ``accepts(reference, candidate)`` takes both sides' outputs on one input, by name and in the files' order,
    and says whether the tool would be satisfied. The reference is PyTorch in float32, or, where ``against``
    says so, the healthy file that the candidate was made from.
    """

    name: str
    rule: str
    source: str
    against: Literal["torch", "base"]
    accepts: Callable[[Outputs, Outputs], bool]


def _version(package: str) -> str:
    return importlib.metadata.version(package).split("+")[0]


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(np.array(array, order="C"))


def accepts_torch_verify(reference: Outputs, candidate: Outputs) -> bool:
    """``torch.onnx.export(..., verify=True)``: the largest absolute difference of every output below 5e-3 and
    the largest relative one, to |reference| + 1e-7, below 0.1.

    Outputs are paired in their order and the longer side's rest is dropped; names and dtypes are not looked
    at, and shapes that broadcast pass. A NaN passes, since it is not "at least 5e-3"; an empty output never
    does, since its difference counts as infinite. What raises is reported as a failed run.
    """
    for name, expected, actual in zip(candidate, reference.values(), candidate.values(), strict=False):
        try:
            info = VerificationInfo.from_tensors(name, _tensor(expected), _tensor(actual))
        except (RuntimeError, TypeError):
            return False
        # The comparisons of torch.onnx._internal.exporter._core.export, which a NaN slips through.
        if info.max_abs_diff >= VERIFY_ABSOLUTE or info.max_rel_diff >= VERIFY_RELATIVE:
            return False
    return True


def accepts_optimum(reference: Outputs, candidate: Outputs) -> bool:
    """Optimum's ``validate_model_outputs``: the same set of names, then shapes and ``numpy.allclose`` with
    atol 1e-5 and NumPy's rtol, 1e-5 of the file's value. dtypes are not looked at; NaN equals nothing.

    Two boolean outputs always pass: the difference that it would report cannot be taken, and what that raises
    is swallowed.
    """
    if set(reference) != set(candidate):
        return False
    for name, actual in candidate.items():
        if actual.shape != reference[name].shape:
            return False
        flags = actual.dtype == reference[name].dtype == np.bool_
        if not flags and not np.allclose(reference[name], actual, atol=OPTIMUM_ATOL):
            return False
    return True


def accepts_polygraphy(reference: Outputs, candidate: Outputs) -> bool:
    """``polygraphy run MODEL --onnxrt --load-outputs REFERENCE``: every number within 1e-5, or within 1e-5 of
    the reference's.

    The file's outputs are looked up in the reference: by name, by a name that holds the other, by position.
    What is not found there is skipped, and what the file lacks is not missed; nothing in common is an error.
    Shapes must be equal, dtypes need not; NaN fails, on both sides too.
    """
    results = RunResults()
    for runner, outputs in (("onnxrt", candidate), ("torch", reference)):
        copies = {name: np.array(array) for name, array in outputs.items()}
        results.append((runner, [IterationResult(copies, runner_name=runner)]))
    with warnings.catch_warnings(), G_LOGGER.verbosity(SILENT):
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            return bool(Comparator.compare_accuracy(results, compare_func=SimpleCompareFunc()))
        except (PolygraphyException, TypeError, ValueError):
            return False


def accepts_timm(reference: Outputs, candidate: Outputs) -> bool:
    """timm's ``onnx_export.py --check-forward``: the first output within 1.5e-3, by
    ``numpy.testing.assert_almost_equal`` with three decimals. NaN where both have one passes; names and
    dtypes are not looked at."""
    if not reference or not candidate:
        return False
    expected, actual = next(iter(reference.values())), next(iter(candidate.values()))
    try:
        np.testing.assert_almost_equal(expected, actual, decimal=TIMM_DECIMALS)
    except (AssertionError, TypeError):
        return False
    return True


def accepts_onnxsim(reference: Outputs, candidate: Outputs) -> bool:
    """onnxsim's check of a simplified file against the file that it came from: ``numpy.allclose`` with rtol
    1e-4 and atol 1e-5, NaN equal to NaN, output by output of the simplified file.

    Runs onnxsim's own ``compare`` on two graphs that answer with these arrays. An output that the simplified
    file lacks is not missed, one that the other lacks raises, and so do shapes that do not broadcast.
    """
    if not reference or not candidate:
        return False
    with np.errstate(all="ignore"), contextlib.redirect_stdout(io.StringIO()):
        try:
            simplified, original = _answering(candidate), _answering(reference)
            return bool(model_checking.compare(simplified, original, 1, verbose=False))
        except (KeyError, ValueError, TypeError):
            return False


def _answering(outputs: Outputs) -> ModelProto:
    """A graph without inputs whose outputs are these arrays."""
    nodes, values = [], []
    for name, array in outputs.items():
        tensor = numpy_helper.from_array(np.asarray(array, order="C"))
        nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        values.append(helper.make_tensor_value_info(name, tensor.data_type, array.shape))
    opset = [helper.make_opsetid("", 17)]
    graph = helper.make_graph(nodes, "answers", [], values)
    return helper.make_model(graph, opset_imports=opset, ir_version=8)


def accepts_assert_close(reference: Outputs, candidate: Outputs) -> bool:
    """``torch.testing.assert_close(torch_output, onnxruntime_output)`` for each pair, after a comparison of
    their number, as PyTorch's tutorials on ONNX have it.

    float32: 1e-5 plus 1.3e-6 of the file's value; integers and booleans exactly. Shapes and dtypes must be
    equal, NaN equals nothing, names are not looked at.
    """
    try:
        torch.testing.assert_close(
            [_tensor(array) for array in reference.values()], [_tensor(array) for array in candidate.values()]
        )
    except AssertionError:
        return False
    return True


PEERS: tuple[Peer, ...] = (
    Peer(
        "torch.onnx verify",
        "abs < 5e-3 and rel < 0.1, by position",
        f"torch {_version('torch')}, torch.onnx.verification.VerificationInfo, held against the limits of "
        "torch.onnx.export(verify=True) in torch/onnx/_internal/exporter/_core.py",
        "torch",
        accepts_torch_verify,
    ),
    Peer(
        "Optimum",
        "atol 1e-5 plus rtol 1e-5, by name",
        "optimum-onnx 0.1.0, optimum/exporters/onnx/convert.py:validate_model_outputs, "
        "ATOL_FOR_VALIDATION of optimum 2.3.0's ExporterConfig; re-implemented",
        "torch",
        accepts_optimum,
    ),
    Peer(
        "Polygraphy",
        "abs <= 1e-5 or rel <= 1e-5, each number",
        f"polygraphy {_version('polygraphy')}, polygraphy.comparator.SimpleCompareFunc",
        "torch",
        accepts_polygraphy,
    ),
    Peer(
        "timm",
        "abs < 1.5e-3, first output",
        f"timm {_version('timm')}, timm/utils/onnx.py:onnx_export(check_forward=True), "
        f"numpy {_version('numpy')}'s numpy.testing.assert_almost_equal",
        "torch",
        accepts_timm,
    ),
    Peer(
        "onnxsim",
        "atol 1e-5 plus rtol 1e-4, against the file before",
        f"onnxsim {_version('onnxsim')}, onnxsim/model_checking.py:compare; made only if check_n > 0",
        "base",
        accepts_onnxsim,
    ),
    Peer(
        "torch.testing.assert_close",
        "atol 1e-5 plus rtol 1.3e-6, and dtypes",
        f"torch {_version('torch')}, torch.testing.assert_close with its defaults for float32",
        "torch",
        accepts_assert_close,
    ),
)
