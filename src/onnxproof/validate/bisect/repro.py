"""The named node as an ONNX file of its own, with what goes in and what should come out."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from onnxproof.errors import ModelFileError
from onnxproof.graph import read_proto
from onnxproof.runtime.stored import write_arrays
from onnxproof.system.damaged import ARCHIVE_ERRORS
from onnxproof.system.files import write_bytes, write_text
from onnxproof.system.own_file import has_keys
from onnxproof.validate.bisect.nodes import GRAPH, Graph, Node
from onnxproof.validate.bisect.result import Leaving, NamedNode

Array = NDArray[Any]

MODEL, ARRAYS, README = "repro.onnx", "repro.npz", "repro.txt"
BISECTION_FILE = "bisect.json"
RESULT_FILES = (MODEL, ARRAYS, README, BISECTION_FILE)
"""The names of what bisect writes."""

BISECTION_KEYS = ("format", "status", "case", "link", "nodes", "model_sha256")
"""Keys that every bisect.json has, whatever its format."""

SAID = "repro.onnx holds this node alone; repro.npz has the arrays"
"""A line of every repro.txt."""

GIVEN, EXPECTED = "input:", "expected:"
"""How the names of the arrays in repro.npz begin."""

HOW = """\
{node}
on the case {case}, fed with {fed}.

{said} "input:NAME" and "expected:NAME", the latter as
{by} in float64. To see the error:

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
    """A model of the named node, arrays for its inputs by name, and what its outputs should be.

    ``fed`` and ``by`` say where the inputs and the expected outputs come from.
    """

    model: onnx.ModelProto
    inputs: Mapping[str, Array]
    expected: Mapping[str, Array]
    node: str
    case: str
    fed: str
    by: str

    def write(self, folder: Path) -> None:
        """Write repro.onnx, repro.npz and repro.txt into a folder, and touch nothing else in it."""
        write_bytes(folder / MODEL, self.model.SerializeToString(deterministic=True))
        arrays = {f"{GIVEN}{name}": array for name, array in self.inputs.items()}
        arrays |= {f"{EXPECTED}{name}": array for name, array in self.expected.items()}
        write_arrays(folder / ARRAYS, arrays)
        text = HOW.format(said=SAID, node=self.node, case=self.case, fed=self.fed, by=self.by)
        write_text(folder / README, text)


def is_own(file: Path) -> bool:
    """Whether a file with one of the names of ``RESULT_FILES`` is one that bisect wrote. Raises OSError."""
    match file.name:
        case name if name == BISECTION_FILE:
            return has_keys(file, BISECTION_KEYS)
        case name if name == README:
            return SAID.encode() in file.read_bytes()
        case name if name == ARRAYS:
            return _holds_a_repro(file)
    try:
        return read_proto(file, weights=False).graph.name == GRAPH
    except ModelFileError:
        return False


def _holds_a_repro(file: Path) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            return all(name.startswith((GIVEN, EXPECTED)) for name in archive.namelist())
    except ARCHIVE_ERRORS:
        return False


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """What the search in one graph on one case came to: a Bisection, but for the case and the link."""

    node: NamedNode | None = None
    leaving: tuple[Leaving, ...] = ()
    constants: tuple[str, ...] = ()
    reason: str = ""
    repro: Repro | None = None
    nodes: int = 0
    tied: int = 0
    peak_bytes: int = 0
    notes: tuple[str, ...] = ()


def model_of(
    graph: Graph,
    node: Node,
    inputs: Mapping[str, Array],
    outputs: Mapping[str, tuple[np.dtype[Any], int]],
) -> onnx.ModelProto:
    """A model of one node. ``outputs`` has the dtype and the rank of those that the model returns.

    If there is none, it returns all of the node's, without a type.
    """
    model = graph.model([node], inputs, tuple(outputs) or node.outputs)
    for value in model.graph.output:
        if value.name in outputs:
            dtype, rank = outputs[value.name]
            kind = helper.np_dtype_to_tensor_dtype(dtype)
            value.CopyFrom(helper.make_tensor_value_info(value.name, kind, (None,) * rank))
    return model
