"""An ONNX file in the reference evaluator of the package onnx, which is NumPy. Needs the extra ``export``."""

from pathlib import Path
from typing import Any

import onnx
from onnx.reference import ReferenceEvaluator

from onnxproof.errors import ModelFileError
from onnxproof.runtime.port import Port
from onnxproof.runtime.session import first_line
from onnxproof.validate.legs.leg import Answer, Arrays, Ports


class ReferenceLeg:
    """An ONNX file in onnx's reference evaluator. Raises ModelFileError if it does not take the file."""

    def __init__(self, name: str, file: Path) -> None:
        self.name = name
        try:
            model = onnx.load(file)
            self._evaluator = ReferenceEvaluator(model)
        except Exception as error:
            # The evaluator raises whatever its operators raise.
            raise ModelFileError(
                f"onnx's reference evaluator does not take the file: {first_line(error)}"
            ) from error
        stored = {tensor.name for tensor in model.graph.initializer}
        self.ports = Ports(
            tuple(_port(value) for value in model.graph.input if value.name not in stored),
            tuple(_port(value) for value in model.graph.output),
        )

    def run(self, inputs: Arrays) -> Answer:
        names = [port.name for port in self.ports.outputs]
        returned: Any = self._evaluator.run(names, dict(inputs))
        return Answer(dict(zip(names, returned, strict=True)), {})


def _port(value: onnx.ValueInfoProto) -> Port:
    kind = value.type.tensor_type
    axes = tuple(
        axis.dim_value if axis.HasField("dim_value") else axis.dim_param or None for axis in kind.shape.dim
    )
    name = onnx.TensorProto.DataType.Name(kind.elem_type).lower()
    return Port(value.name, {"float": "float32", "double": "float64"}.get(name, name), axes)
