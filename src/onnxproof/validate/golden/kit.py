"""The format of a kit: golden cases as plain files that a host in any language can read.

``kit.json`` is the index, and ``cases.txt`` says the same to a host without a reader of JSON. Each input is
a file of its numbers alone, row by row, little-endian. Everything in the index follows from ``golden.npz``,
whose checksum names the kit.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.contract import Contract
from onnxproof.errors import RequestError
from onnxproof.runtime.folder import MODEL_FILE
from onnxproof.tensors import DTYPES
from onnxproof.validate.golden.golden import Golden, GoldenCase

FORMAT = 1

KIT_FILE = "kit.json"
CASES_FILE = "cases.txt"
CONTRACT_FILE = "contract.json"
"""The text of onnxproof's metadata in the model: what its outputs mean."""
INPUTS_FOLDER = "inputs"

HEADING = "onnxproof-kit"
"""The first word of ``cases.txt``."""

PLAIN = tuple(dtype for dtype in DTYPES if dtype != "bfloat16")
"""The dtypes that files of a kit may have: NumPy's names."""

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Model:
    """The model that a kit is of. ``there`` says whether the kit holds it. ``data_sha256`` is the checksum of
    the file with its weights, or None if it has none."""

    sha256: str
    data_sha256: str | None
    there: bool


def index_of(golden: Golden, contract: Contract, kit: str, model: Model) -> dict[str, Any]:
    """The document of ``kit.json``. ``kit`` is the SHA-256 of ``golden.npz``."""
    return {
        "format": FORMAT,
        "kit": kit,
        "name": contract.name,
        "model": {
            "file": MODEL_FILE if model.there else None,
            "sha256": model.sha256,
            **({} if model.data_sha256 is None else {"data_sha256": model.data_sha256}),
        },
        "outputs": [
            {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape)} for spec in contract.outputs
        ],
        "cases": [
            {"case": number, "name": one.case.name, "inputs": list(_inputs(number, one))}
            for number, one in enumerate(golden.cases)
        ],
    }


def _inputs(number: int, one: GoldenCase) -> Iterator[dict[str, Any]]:
    for place, (name, array) in enumerate(one.inputs.items()):
        yield {
            "name": name,
            "dtype": array.dtype.name,
            "shape": list(array.shape),
            "file": f"{INPUTS_FOLDER}/{number:02d}-{place}.bin",
            "sha256": one.sums[name],
        }


def cases_text(index: dict[str, Any]) -> str:
    """``cases.txt``: a line for each input of each case, its fields parted by tabs."""
    lines: list[tuple[str, ...]] = [(HEADING, str(FORMAT), index["kit"])]
    lines += [
        (str(case["case"]), one["name"], one["dtype"], ",".join(map(str, one["shape"])), one["file"])
        for case in index["cases"]
        for one in case["inputs"]
    ]
    return "".join("\t".join(line) + "\n" for line in lines)


def text_of(index: dict[str, Any]) -> str:
    """The text of ``kit.json``."""
    return json.dumps(index, indent=1, ensure_ascii=False) + "\n"


def require_plain(contract: Contract) -> None:
    """Raise RequestError if an input or an output cannot be told in plain files."""
    for spec in (*contract.inputs, *contract.outputs):
        if spec.dtype not in PLAIN:
            raise RequestError(
                f"{spec.name} is {spec.dtype}, and the files of a kit have one of {', '.join(PLAIN)}: export "
                "the model with another dtype"
            )
        if not spec.name.isprintable():
            raise RequestError(
                f"the name {spec.name!r} has characters that {CASES_FILE} cannot hold: export the model with "
                "another name"
            )


def encoded(array: Array) -> bytes:
    """The numbers of an array, row by row, little-endian; a bool takes a byte."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()


def bytes_of(dtype: str, shape: Sequence[int]) -> int:
    """How many bytes an array takes in a file."""
    return math.prod(shape) * np.dtype(dtype).itemsize


def decoded(content: bytes, dtype: str, shape: Sequence[int]) -> Array:
    """The inverse of ``encoded``. Raises ValueError if there are more or fewer bytes, or for no bool."""
    kind = np.dtype(dtype)
    if kind == np.bool_ and content.strip(b"\0\1"):
        raise ValueError("a bool is another byte than 0 or 1")
    return np.frombuffer(content, kind.newbyteorder("<")).reshape(shape).astype(kind)
