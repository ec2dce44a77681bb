"""The named node as an ONNX file of its own, with what goes in and what should come out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from onnxproof.files import write_bytes, write_text
from onnxproof.runtime.plain import write_arrays

Array = NDArray[Any]

MODEL, ARRAYS, README = "repro.onnx", "repro.npz", "repro.txt"
REPRO_FILES = (MODEL, ARRAYS, README)

HOW = """\
{node}
on the case {case}, fed with what PyTorch computes in float64, rounded to the inputs' dtypes.

repro.onnx holds this node alone; repro.npz has the arrays "input:NAME" and "expected:NAME", the latter as
PyTorch computes them in float64. To see the error:

    import numpy as np, onnxruntime as ort
    arrays = np.load("repro.npz")
    session = ort.InferenceSession("repro.onnx")
    feeds = {{value.name: arrays["input:" + value.name] for value in session.get_inputs()}}
    for value, found in zip(session.get_outputs(), session.run(None, feeds)):
        wanted = arrays["expected:" + value.name]
        print(value.name, found.shape, wanted.shape)
        if found.shape == wanted.shape:
            print(np.abs(found - wanted).max())
"""


@dataclass(frozen=True, slots=True, eq=False)
class Repro:
    """A model of the named node, arrays for its inputs by name, and what its outputs should be."""

    model: onnx.ModelProto
    inputs: Mapping[str, Array]
    expected: Mapping[str, Array]
    node: str
    case: str

    def write(self, folder: Path) -> None:
        """Write repro.onnx, repro.npz and repro.txt into a folder, and touch nothing else in it."""
        write_bytes(folder / MODEL, self.model.SerializeToString(deterministic=True))
        arrays = {f"input:{name}": array for name, array in self.inputs.items()}
        arrays |= {f"expected:{name}": array for name, array in self.expected.items()}
        write_arrays(folder / ARRAYS, arrays)
        text = HOW.format(node=self.node, case=self.case)
        write_text(folder / README, text)
