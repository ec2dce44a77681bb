"""The rules by which other tools judge a file, from the outputs of both sides for one input.

Each rule is applied as its project documents it. The rules of PyTorch, Polygraphy, NumPy and onnxsim run from
the installed package's own code. Optimum's is written anew, because Optimum needs another version of
transformers than this project. If a tool ignores something (names, dtypes, NaN, a missing output), its rule
here ignores it too.
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
"""``torch.onnx.export(verify=True)`` calls an output inaccurate if a difference is this large or larger."""

OPTIMUM_ATOL = 1e-5
TIMM_DECIMALS = 3
SILENT = 1000
"""A severity above all of Polygraphy's own, so that its logger prints nothing."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The check of one tool.

    ``rule`` describes it in the table, and ``source`` says where it is defined. ``accepts(reference,
    candidate)`` takes both sides' outputs on one input, by name and in the files' order. It returns whether
    the tool accepts the candidate. If ``against`` is "torch", the reference is PyTorch in float32; if it is
    "base", the reference is the healthy file that the candidate was made from.
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
    """``torch.onnx.export(..., verify=True)`` accepts an output whose largest absolute difference is below
    5e-3 and whose largest relative difference, to |reference| + 1e-7, is below 0.1.

    Outputs are paired by position, and those that only one side has are ignored. Names and dtypes are
    ignored, and shapes that broadcast pass. A NaN passes, because it is not "at least 5e-3". An empty output
    fails, because its difference counts as infinite. An exception counts as a failed run.
    """
    for name, expected, actual in zip(candidate, reference.values(), candidate.values(), strict=False):
        try:
            info = VerificationInfo.from_tensors(name, _tensor(expected), _tensor(actual))
        except (RuntimeError, TypeError):
            return False
        # torch.onnx._internal.exporter._core.export compares in this way, so a NaN passes.
        if info.max_abs_diff >= VERIFY_ABSOLUTE or info.max_rel_diff >= VERIFY_RELATIVE:
            return False
    return True


def accepts_optimum(reference: Outputs, candidate: Outputs) -> bool:
    """Optimum's ``validate_model_outputs`` requires the same set of names, the same shapes, and
    ``numpy.allclose`` with atol 1e-5 and NumPy's rtol, 1e-5 of the file's value.

    dtypes are ignored, and NaN equals nothing. Two boolean outputs always pass: Optimum cannot subtract them
    for its report, and suppresses the exception.
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
    """``polygraphy run MODEL --onnxrt --load-outputs REFERENCE`` accepts a number if its absolute difference,
    or its difference relative to the reference, is at most 1e-5.

    Each output of the file is looked up in the reference: by name, then by a name that contains the other,
    then by position. Outputs that only one side has are ignored, unless the two have nothing in common.
    Shapes must be equal, dtypes need not be. NaN fails, even if both sides have it.
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
    """timm's ``onnx_export.py --check-forward`` accepts a first output within 1.5e-3, which is
    ``numpy.testing.assert_almost_equal`` with three decimals.

    NaN passes if both sides have it. Names and dtypes are ignored.
    """
    if not reference or not candidate:
        return False
    expected, actual = next(iter(reference.values())), next(iter(candidate.values()))
    try:
        np.testing.assert_almost_equal(expected, actual, decimal=TIMM_DECIMALS)
    except (AssertionError, TypeError):
        return False
    return True


def accepts_onnxsim(reference: Outputs, candidate: Outputs) -> bool:
    """onnxsim compares each output of a simplified file with the original's by ``numpy.allclose``, with rtol
    1e-4, atol 1e-5, and NaN equal to NaN.

    This runs onnxsim's own ``compare`` on two graphs that return these arrays. An output that only the
    original has is ignored. One that only the simplified file has, and shapes that do not broadcast, raise.
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
    """PyTorch's ONNX tutorials compare the number of outputs, and then each pair by
    ``torch.testing.assert_close(torch_output, onnxruntime_output)``.

    float32 values may differ by 1e-5 plus 1.3e-6 of the file's value. Integers, booleans, shapes and dtypes
    must be equal. NaN equals nothing. Names are ignored.
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
        f"torch {_version('torch')}, torch.onnx.verification.VerificationInfo, with the limits of "
        "torch.onnx.export(verify=True) in torch/onnx/_internal/exporter/_core.py",
        "torch",
        accepts_torch_verify,
    ),
    Peer(
        "Optimum",
        "atol 1e-5 plus rtol 1e-5, by name",
        "optimum-onnx 0.1.0, optimum/exporters/onnx/convert.py:validate_model_outputs, "
        "ATOL_FOR_VALIDATION of optimum 2.3.0's ExporterConfig; written anew",
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
        f"onnxsim {_version('onnxsim')}, onnxsim/model_checking.py:compare, which runs only if check_n > 0",
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
