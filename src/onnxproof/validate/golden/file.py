"""Golden cases as the bytes of ``golden.npz``, a file that ``numpy.load`` opens, too.

It is a ZIP archive with ``index.json`` and one ``.npy`` for each array. The index says where the cases come
from, and which array is what. Inputs that the seed gives are not held, only their checksums. Pictures are
held as the pixels that the input was made from. The same cases give the same bytes.
"""

import hashlib
import io
import json
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from onnxproof.contract import Contract, Preprocess
from onnxproof.document import Entry, read_json
from onnxproof.errors import ModelFileError, RequestError
from onnxproof.runtime.preprocess.lay import as_input
from onnxproof.system.damaged import ARRAY_ERRORS
from onnxproof.validate.cases import Case, materialise
from onnxproof.validate.contents import KIND_OF
from onnxproof.validate.golden.golden import (
    MOST_ELEMENTS,
    About,
    Floor,
    Floors,
    Golden,
    GoldenCase,
    Lowered,
    elements_of,
)
from onnxproof.validate.legs.choices import Choice
from onnxproof.validate.legs.leg import Answer, Arrays
from onnxproof.validate.texts import Gaps, Text

Array = NDArray[Any]

FORMAT = 1
INDEX = "index.json"

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every member: the first that a ZIP archive can tell."""

UNIX = 3
"""The system that a member is of, whichever wrote it."""

MOST_BYTES = 2**28
"""What a file may hold at most, unpacked."""

HEADERS = 256
"""Bytes of a member's two headers in a ZIP archive, at most: 30, 46, and twice its name."""

MODES = ("int8", "fp16", "bf16")
STATUSES = ("pass", "fail", "error", "skipped")
SCORES = ("scores", "rows", "places", "values")
"""The arrays of a Choice."""

SEED, PIXELS, VALUES = "seed", "pixels", "values"
"""How an input is held: not at all, since the seed gives it; as uint8 [n, H, W, 3]; as it is."""


@dataclass(slots=True)
class _Members:
    """The arrays of one case, as the bytes of ``.npy`` files by name."""

    prefix: str
    held: dict[str, bytes] = field(default_factory=dict)

    def put(self, array: Array) -> str:
        """Hold an array. Returns its name."""
        name = f"{self.prefix}-{len(self.held):02d}.npy"
        stream = io.BytesIO()
        np.lib.format.write_array(
            stream, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False
        )
        self.held[name] = stream.getvalue()
        return name

    def put_all(self, arrays: Arrays) -> dict[str, str]:
        """Hold arrays. Returns the name of each."""
        return {name: self.put(array) for name, array in arrays.items()}


def sha256_of_array(array: Array) -> str:
    """The SHA-256 of an array's numbers, row by row, as little-endian bytes, in hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def fitting(golden: Golden, contract: Contract, budget: int) -> tuple[GoldenCase, ...]:
    """The cases for a file of at most ``budget`` bytes: each, in their order, that still fits."""
    left = budget - len(_text({**_index(golden), "cases": []}))
    cases = []
    for number, one in enumerate(golden.cases):
        entry, members = _packed(one, contract, number)
        size = len(_text(entry)) + sum(map(_takes, members.values()))
        if size <= left:
            left -= size
            cases.append(one)
    return tuple(cases)


def pack(golden: Golden, contract: Contract) -> bytes:
    """The file."""
    packed = [_packed(one, contract, number) for number, one in enumerate(golden.cases)]
    index = {**_index(golden), "cases": [entry for entry, _ in packed]}
    members = {name: content for _, held in packed for name, content in held.items()}
    return _zipped({INDEX: _text(index), **members})


def _takes(content: bytes) -> int:
    """How many bytes a member takes in the file at most."""
    return HEADERS + len(zlib.compress(content))


def _text(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def _zipped(members: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            about = zipfile.ZipInfo(name, EPOCH)
            about.create_system = UNIX
            archive.writestr(about, content, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def _index(golden: Golden) -> dict[str, Any]:
    about = asdict(golden.about)
    if golden.about.lowered is None:
        del about["lowered"]
    return {"format": FORMAT, **about, "floors": asdict(golden.floors)}


def _packed(one: GoldenCase, contract: Contract, number: int) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A case's entry in the index, and its arrays."""
    members = _Members(f"{number:02d}")
    entry = {
        **one.case.to_json(),
        "inputs": {
            name: {"sha256": sha256_of_array(array), **_held(one.case, name, array, contract, members)}
            for name, array in one.inputs.items()
        },
        "reference": _answer(one.reference, members),
        "oracle": None if one.oracle is None else _answer(one.oracle, members),
    }
    return entry, members.held


def _held(case: Case, name: str, array: Array, contract: Contract, members: _Members) -> dict[str, str]:
    """How an input is held."""
    if case.picture is None:
        return {"as": SEED}
    spec = contract.preprocess
    if spec is not None and spec.input == name:
        pixels = _pixels_of(array, spec)
        if np.array_equal(_of_pixels(pixels, spec), array):
            return {"as": PIXELS, "array": members.put(pixels)}
    return {"as": VALUES, "array": members.put(array)}


def _pixels_of(array: Array, spec: Preprocess) -> NDArray[np.uint8]:
    """The pixels, uint8 [n, H, W, 3], that an input was most likely made from."""
    laid = array.transpose(0, 2, 3, 1) if spec.layout == "NCHW" else array
    if laid.dtype == np.uint8:
        return laid
    with np.errstate(invalid="ignore"):
        return np.clip(np.rint(laid * np.float32(spec.divide_by)), 0, 255).astype(np.uint8)


def _of_pixels(pixels: NDArray[np.uint8], spec: Preprocess) -> Array:
    return np.stack([as_input(picture, spec) for picture in pixels])


def _answer(answer: Answer, members: _Members) -> dict[str, Any]:
    return {
        "outputs": members.put_all(answer.outputs),
        "margins": members.put_all(answer.margins),
        "choices": {
            name: {
                **members.put_all({part: getattr(choice, part) for part in SCORES}),
                "distinct": choice.distinct,
                **({"rounded": True} if choice.rounded else {}),
            }
            for name, choice in answer.choices.items()
        },
    }


LARGEST_ID = 2**63 - 1

LARGEST_SEED = 2**128
"""NumPy takes any; this many bits are enough."""


def about(content: bytes, source: str) -> About:
    """Where the golden cases in the bytes of a file come from. Raises as ``unpack``."""
    with _opened(content, source) as archive:
        return _about(_index_of(archive))


def unpack(content: bytes, contract: Contract, source: str) -> Golden:
    """The golden cases in the bytes of a file. Inputs that the seed gives are made anew.

    ``contract`` is the one that they were recorded with. Raises ModelFileError, which names the ``source``,
    if the file is damaged, of another format, or does not fit the contract.
    """
    with _opened(content, source) as archive:
        index = _index_of(archive)
        floors = index["floors"].table(("fields", "decisions", "rows"))
        origin = _about(index)
        cases = tuple(
            _case(entry, origin, lambda name: _array(archive.read(name)), contract)
            for entry in index["cases"].entries()
        )
        if not cases or len({one.case.name for one in cases}) < len(cases):
            raise index["cases"].refused("cases of different names")
        return Golden(origin, Floors(**{kind: _floors(entry) for kind, entry in floors.items()}), cases)


@contextmanager
def _opened(content: bytes, source: str) -> Iterator[zipfile.ZipFile]:
    """The archive in some bytes. Turns what is raised inside the block into ModelFileError."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            whole = sum(entry.file_size for entry in archive.infolist())
            if whole > MOST_BYTES:
                raise ModelFileError(f"it holds {whole:,} bytes, at most {MOST_BYTES:,} are read")
            yield archive
    except RequestError as error:
        raise ModelFileError(f"{source} holds no golden cases that fit this model: {error}") from error
    except (*ARRAY_ERRORS, MemoryError) as error:
        raise ModelFileError(
            f"{source} cannot be read ({type(error).__name__}: {error}): export the model again"
        ) from error


def _index_of(archive: zipfile.ZipFile) -> dict[str, Entry]:
    document = read_json(archive.read(INDEX).decode())
    document.require_format(FORMAT)
    return document.table(INDEX_KEYS, OPTIONAL_KEYS)


def _about(index: Mapping[str, Entry]) -> About:
    return About(
        model_sha256=index["model_sha256"].text(),
        metadata_sha256=index["metadata_sha256"].text(),
        verdict=index["verdict"].text(STATUSES),
        links=_texts(index["links"]),
        versions=_texts(index["versions"]),
        providers=tuple(entry.text() for entry in index["providers"].entries()),
        reference=index["reference"].text(),
        oracle=None if index["oracle"].value is None else index["oracle"].text(),
        oracle_missing=_texts(index["oracle_missing"]),
        lowered=_lowered(index["lowered"]) if "lowered" in index else None,
    )


def _lowered(entry: Entry) -> Lowered:
    keys = entry.table(("mode", "box_px", "score"))
    limits = (float(keys[name].number(0)) for name in ("box_px", "score"))
    return Lowered(keys["mode"].text(MODES), *limits)


Get = Callable[[str], Array]
"""The array of a name."""


def _array(content: bytes) -> Array:
    array: Array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"an array of {array.dtype}")
    return array


def _texts(entry: Entry) -> dict[str, str]:
    return {name: value.text() for name, value in entry.free_table().items()}


def _floors(entry: Entry) -> dict[str, Floor]:
    most = sys.float_info.max
    found = {}
    for name, value in entry.free_table().items():
        keys = value.table(("rms", "max", "scale"), ("count",))
        count = keys.pop("count").whole(0) if "count" in keys else 0
        found[name] = Floor(**{key: number.number(0, most) for key, number in keys.items()}, count=count)
    return found


OPTIONAL_KEYS = ("lowered",)
INDEX_KEYS = (
    "format",
    *(one.name for one in fields(About) if one.name not in OPTIONAL_KEYS),
    "floors",
    "cases",
)
CASE_KEYS = ("name", "sizes", "content", "seed", "picture", "native", "inputs", "reference", "oracle")
CASE_OPTIONAL_KEYS = ("ids", "full", "text", "gaps")
"""What ``Case.to_json`` writes of a case that has it."""


def _case(entry: Entry, origin: About, get: Get, contract: Contract) -> GoldenCase:
    keys = entry.table(CASE_KEYS, CASE_OPTIONAL_KEYS)
    content: Any = keys["content"].text(tuple(KIND_OF))
    gaps: Any = tuple(one.text(get_args(Gaps)) for one in keys["gaps"].entries()) if "gaps" in keys else ()
    case = Case(
        name=keys["name"].text(),
        sizes={name: value.whole(1) for name, value in keys["sizes"].free_table().items()},
        content=content,
        seed=keys["seed"].whole(0, LARGEST_SEED),
        picture=None if keys["picture"].value is None else Path(keys["picture"].text()),
        native=keys["native"].flag(),
        ids={name: _ids(value) for name, value in keys["ids"].free_table().items()} if "ids" in keys else {},
        full=keys["full"].flag() if "full" in keys else False,
        text=_text_of(keys["text"]) if "text" in keys else None,
        gaps=gaps,
    )
    missing = {dim.name for dim in contract.dims} - case.sizes.keys()
    if missing:
        raise keys["sizes"].refused(f"a size of {min(missing)}")
    if elements_of(case, contract) > MOST_ELEMENTS:
        raise keys["sizes"].refused(f"inputs of at most {MOST_ELEMENTS:,} elements")
    declared = tuple(spec.name for spec in contract.inputs)
    held = {name: value.free_table() for name, value in keys["inputs"].table(declared).items()}
    made = materialise(case, contract.inputs, contract.preprocess) if case.picture is None else {}
    inputs = {name: _input(held[name], made.get(name), get, contract) for name in declared}
    sums = {name: held[name]["sha256"].text() for name in declared}
    changed = tuple(name for name in declared if sha256_of_array(inputs[name]) != sums[name])
    outputs = [spec.name for spec in contract.outputs]
    oracle = None
    if origin.oracle is not None:
        known = [name for name in outputs if name not in origin.oracle_missing]
        oracle = _answered(keys["oracle"], known, get, contract)
    reference = _answered(keys["reference"], outputs, get, contract)
    return GoldenCase(case, inputs, reference, oracle, changed, sums)


def _ids(entry: Entry) -> tuple[int, ...]:
    return tuple(value.whole(-LARGEST_ID, LARGEST_ID) for value in entry.entries())


def _text_of(entry: Entry) -> Text:
    keys = entry.table(("pad", "ends"))
    pad = None if keys["pad"].value is None else keys["pad"].whole(-LARGEST_ID, LARGEST_ID)
    return Text(pad, _ids(keys["ends"]))


def _input(held: Mapping[str, Entry], made: Array | None, get: Get, contract: Contract) -> Array:
    kind = held["as"].text((SEED, PIXELS, VALUES))
    if kind == SEED:
        if made is None:
            raise held["as"].refused(f"{PIXELS} or {VALUES}, since the case is of a picture")
        return made
    array = get(held["array"].text())
    spec = contract.preprocess
    if kind == VALUES or spec is None:
        return array
    if array.dtype != np.uint8 or array.ndim != 4:
        raise held["array"].refused("uint8 pixels [n, H, W, 3]")
    return _of_pixels(array, spec)


def _answered(entry: Entry, outputs: Sequence[str], get: Get, contract: Contract) -> Answer:
    keys = entry.table(("outputs", "margins", "choices"))
    ranks = {spec.name: len(spec.shape) for spec in contract.outputs}
    found = {name: get(value.text()) for name, value in keys["outputs"].table(outputs).items()}
    for name, array in found.items():
        if array.ndim != ranks[name]:
            raise keys["outputs"].refused(f"{name} with {ranks[name]} axes")
    margins = {name: get(value.text()) for name, value in keys["margins"].free_table().items()}
    return Answer({name: found[name] for name in outputs}, margins, dict(_choices(keys["choices"], get)))


def _choices(entry: Entry, get: Get) -> Iterator[tuple[str, Choice]]:
    for name, value in entry.free_table().items():
        keys = value.table((*SCORES, "distinct"), ("rounded",))
        scores, rows, places, values = (get(keys[part].text()) for part in SCORES)
        rounded = "rounded" in keys and keys["rounded"].flag()
        distinct = keys["distinct"].flag()
        yield name, Choice(scores, rows, places, values, distinct=distinct, rounded=rounded)
