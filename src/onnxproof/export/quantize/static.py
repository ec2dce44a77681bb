"""int8: measure the ranges of a float32 graph on pictures, and write it with integers.

ONNX Runtime's own quantizer does both (onnxruntime.quantization). Weights are int8 with a scale for each
output channel, activations uint8 with one scale each, in pairs of QuantizeLinear and DequantizeLinear (QDQ),
which a runtime fuses with the operators between them.
"""

import contextlib
import io
import itertools
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationMethod, QuantType, quant_pre_process
from onnxruntime.quantization.calibrate import CalibrationDataReader, TensorsData, create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from onnxproof.errors import ExportError
from onnxproof.export.quantize.layers import Network, network_of, with_names
from onnxproof.on_disk import write_model_file
from onnxproof.runtime.folder import data_of
from onnxproof.system.scratch import scratch_folder

Calibration = Literal["minmax", "entropy", "percentile"]

METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}

OPERATORS = tuple(sorted({*QLinearOpsRegistry, *QDQRegistry}))
"""What ONNX Runtime's quantizer knows to quantise."""


@dataclass(frozen=True, slots=True, eq=False)
class Calibrated:
    """A float32 graph that is ready to be quantised, and the range of each of its values on pictures."""

    proto: onnx.ModelProto
    network: Network
    ranges: TensorsData


AT_ONCE = 8
"""How many inputs' values are in memory at a time. A histogram's bins follow the first ones; the more there
are, the less it has to grow for those that come later."""


class _Some(CalibrationDataReader):  # type: ignore[misc]
    """A few inputs."""

    def __init__(self, inputs: Iterable[Mapping[str, NDArray[Any]]]) -> None:
        self._left = [dict(one) for one in inputs]

    def get_next(self) -> dict[str, NDArray[Any]]:
        return self._left.pop() if self._left else {}


def prepared(file: Path) -> onnx.ModelProto:
    """A file's graph as the quantizer wants it: with shapes, with folded constants, each node with a name.

    Raises ExportError if ONNX Runtime's preprocessing fails.
    """
    with scratch_folder() as folder, _quiet():
        made = folder / "prepared.onnx"
        try:
            quant_pre_process(str(file), str(made), skip_symbolic_shape=True)
        except Exception as error:
            # ONNX Runtime's exceptions have no common public base below Exception.
            raise ExportError(f"ONNX Runtime cannot prepare {file.name} for int8: {error}") from error
        return with_names(onnx.load(made))


def calibrate(
    proto: onnx.ModelProto, inputs: Iterable[Mapping[str, NDArray[Any]]], method: Calibration
) -> Calibrated:
    """Measure the range of each value of a prepared graph on ``inputs``.

    Raises ExportError if no node of the graph has weights.
    """
    network = network_of(proto)
    if not network.blocks:
        raise ExportError("no node of the graph has learned weights, so nothing is left to quantise")
    with scratch_folder() as folder, _quiet():
        file = folder / "float32.onnx"
        write_model_file(proto, folder, file)
        calibrator = create_calibrator(
            file,
            OPERATORS,
            augmented_model_path=str(folder / "augmented.onnx"),
            calibrate_method=METHODS[method],
            use_external_data_format=data_of(file).exists(),
        )
        left = iter(inputs)
        while some := list(itertools.islice(left, AT_ONCE)):
            calibrator.collect_data(_Some(some))
        return Calibrated(proto, network, calibrator.compute_data())


def quantised(calibrated: Calibrated, keep: Collection[str] = ()) -> onnx.ModelProto:
    """The graph in int8, but for the nodes of ``keep`` and those outside of the network."""
    copied = onnx.ModelProto()
    copied.CopyFrom(calibrated.proto)
    with _quiet():
        quantizer = QDQQuantizer(
            copied,
            True,  # a scale for each output channel
            False,  # all eight bits of weights
            QuantType.QInt8,
            QuantType.QUInt8,
            calibrated.ranges,
            [],
            [*calibrated.network.outside, *keep],
            list(OPERATORS),
            {},
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    made: onnx.ModelProto = quantizer.model.model
    return made


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantizer logs and prints to standard output, which may carry a JSON document."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
