"""What a host answered to the inputs of a kit: ``outputs.json``, and a file of numbers for each output.

The index is read at once, and strictly. The files are read case by case: one that is missing or of another
size is an answer that the host did not give.
"""

import errno
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from onnxproof.document import Entry, read_json
from onnxproof.errors import CheckError, ModelFileError, RequestError
from onnxproof.runtime.port import Port
from onnxproof.system.foreign import read_foreign
from onnxproof.tensors import MOST_AXES
from onnxproof.validate.golden.golden import Golden
from onnxproof.validate.golden.kit import PLAIN, Array, bytes_of, decoded
from onnxproof.validate.legs.leg import Answer, Arrays, Ports
from onnxproof.validate.legs.recorded import key_of

FORMAT = 1
OUTPUTS_FILE = "outputs.json"

MOST_BYTES = 2**30
"""Bytes of one output at most."""

SHA256_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Runtime:
    """What ran the model, in the host's own words. ``device`` is None if the host does not say it."""

    name: str
    version: str
    provider: str
    device: str | None = None

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.provider})"


@dataclass(frozen=True, slots=True)
class ToldOutput:
    """An output of a case as the index tells it. ``file`` starts at the folder of the index."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: str
    sha256: str | None

    @property
    def form(self) -> str:
        """The dtype and the shape, for a message."""
        return f"{self.dtype}{list(self.shape)}"


@dataclass(frozen=True, slots=True)
class Returned:
    """The index of a host's outputs. ``cases`` has what is told of each case, by its number in the kit.

    ``model_sha256`` is the checksum of the model that the host ran, or None if it does not say it.
    """

    folder: Path
    kit: str
    runtime: Runtime
    model_sha256: str | None
    cases: Mapping[int, tuple[ToldOutput, ...]]

    def answer(self, number: int) -> Arrays:
        """The outputs of a case. Raises CheckError if they are not there, or not as the index tells them."""
        if number not in self.cases:
            raise CheckError(f"{OUTPUTS_FILE} has no case {number}: run every case of the kit")
        return {one.name: self._read(one) for one in self.cases[number]}

    def _read(self, told: ToldOutput) -> Array:
        wanted = bytes_of(told.dtype, told.shape)
        try:
            file = _inside(self.folder, told.file)
            size = file.stat().st_size
            if file.is_file() and size != wanted:
                raise CheckError(
                    f"{told.file} has {size:,} bytes, and {told.form} takes {wanted:,}: is it whole, and are "
                    "its numbers of that dtype?"
                )
            content = read_foreign(file, wanted)
        except FileNotFoundError as error:
            raise CheckError(f"{told.file} is missing: copy the whole folder that the host wrote") from error
        except OSError as error:
            raise CheckError(
                f"{told.file} cannot be read ({error.strerror or error}): copy the whole folder that the "
                "host wrote"
            ) from error
        if told.sha256 is not None and hashlib.sha256(content).hexdigest() != told.sha256:
            raise CheckError(
                f"{told.file} has another SHA-256 than {OUTPUTS_FILE} tells: were files changed or exchanged?"
            )
        try:
            return decoded(content, told.dtype, told.shape)
        except ValueError as error:
            raise CheckError(f"{told.file} holds no {told.form}: {error}") from error


@dataclass(slots=True)
class ReturnedLeg:
    """A leg that gives a host's outputs. It runs nothing.

    Cases whose inputs are equal to the bit are answered in turn, each with its own outputs.
    """

    name: str
    ports: Ports
    returned: Returned
    numbers: Mapping[bytes, Sequence[int]]
    asked: Counter[bytes] = field(default_factory=Counter)

    @classmethod
    def of(cls, returned: Returned, ports: Ports, golden: Golden) -> "ReturnedLeg":
        """The leg of what was returned to the inputs of golden cases. ``ports`` are those of the contract."""
        numbers: dict[bytes, list[int]] = {}
        for number, one in enumerate(golden.cases):
            numbers.setdefault(key_of(one.inputs), []).append(number)
        return cls(str(returned.runtime), _ports(returned, ports), returned, numbers)

    def run(self, inputs: Arrays) -> Answer:
        """Raises CheckError if the host has not answered these inputs."""
        key = key_of(inputs)
        numbers = self.numbers[key]
        number = numbers[self.asked[key] % len(numbers)]
        self.asked[key] += 1
        return Answer(self.returned.answer(number), {})


def _ports(returned: Returned, ports: Ports) -> Ports:
    """The ports of a host: the model's inputs, and the outputs that it returned first."""
    first = next(iter(returned.cases.values()))
    declared = {port.name: port for port in ports.outputs}
    order = {name: place for place, name in enumerate(declared)}
    told = sorted(first, key=lambda one: order.get(one.name, len(order)))
    return Ports(ports.inputs, tuple(_port(one, declared.get(one.name)) for one in told))


def _port(told: ToldOutput, declared: Port | None) -> Port:
    """The port of an output. Its sizes are of one case: they are what the model declares."""
    alike = declared is not None and len(declared.shape) == len(told.shape)
    return Port(told.name, told.dtype, declared.shape if declared is not None and alike else told.shape)


def read_outputs(folder: Path, kit: str, cases: int) -> Returned:
    """The index of a host's outputs to the kit of a checksum, which has so many cases.

    Raises ModelFileError if there is none, if it is broken, or if it belongs to another kit.
    """
    file = folder / OUTPUTS_FILE
    try:
        text = read_foreign(_inside(folder, OUTPUTS_FILE)).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFileError(
            f"{file} cannot be read ({getattr(error, 'strerror', None) or error}): give the folder that the "
            f"host wrote, with {OUTPUTS_FILE} in it"
        ) from error
    try:
        return _read(folder, read_json(text), kit, cases)
    except RequestError as error:
        raise ModelFileError(f"{file}: {error}; the kit's README.md says what it holds") from error


def _read(folder: Path, document: Entry, kit: str, cases: int) -> Returned:
    document.require_format(FORMAT)
    keys = document.table(("format", "kit", "runtime", "cases"), ("model_sha256",))
    if keys["kit"].text() != kit:
        raise ModelFileError(
            f"the outputs are of the kit {keys['kit'].text():.12}…, and this is the kit {kit:.12}…: run this "
            "kit's cases, or name the kit that was run"
        )
    runtime = keys["runtime"].table(("name", "version", "provider"), ("device",))
    told = {key: _words(entry) for key, entry in runtime.items()}
    by_number: dict[int, tuple[ToldOutput, ...]] = {}
    for entry in keys["cases"].entries():
        case = entry.table(("case", "outputs"))
        number = case["case"].whole(0, cases - 1)
        if number in by_number:
            raise case["case"].refused("each case once")
        by_number[number] = tuple(_outputs(case["outputs"]))
    if not by_number:
        raise keys["cases"].refused("at least one case")
    in_order = dict(sorted(by_number.items()))
    return Returned(folder, kit, Runtime(**told), _sum(keys.get("model_sha256")), in_order)


def _words(entry: Entry) -> str:
    text = entry.text()
    if not text.isprintable():
        raise entry.refused("a text in one line")
    return text


def _outputs(entry: Entry) -> Iterator[ToldOutput]:
    names = set()
    for one in entry.entries():
        keys = one.table(("name", "dtype", "shape", "file"), ("sha256",))
        name, dtype = keys["name"].text(), keys["dtype"].text(PLAIN)
        if name in names:
            raise keys["name"].refused("each output once")
        names.add(name)
        axes = keys["shape"].entries()
        if len(axes) > MOST_AXES:
            raise keys["shape"].refused(f"at most {MOST_AXES} axes")
        shape = tuple(axis.whole() for axis in axes)
        if bytes_of(dtype, shape) > MOST_BYTES:
            raise keys["shape"].refused(f"at most {MOST_BYTES:,} bytes")
        yield ToldOutput(name, dtype, shape, _file(keys["file"]), _sum(keys.get("sha256")))


def _file(entry: Entry) -> str:
    path = PurePosixPath(entry.text())
    if path.is_absolute() or ".." in path.parts or "\0" in entry.text():
        raise entry.refused(f"a file in the folder of {OUTPUTS_FILE}")
    return entry.text()


def _inside(folder: Path, name: str) -> Path:
    """The file of a name in a folder, behind all links. Raises OSError if that is not in the folder."""
    file = Path(os.path.realpath(folder / name))
    if not file.is_relative_to(os.path.realpath(folder)):
        raise OSError(errno.EXDEV, f"it leads out of the folder of {OUTPUTS_FILE}")
    return file


def _sum(entry: Entry | None) -> str | None:
    if entry is None:
        return None
    text = entry.text()
    if len(text) != SHA256_LENGTH or not set(text) <= set("0123456789abcdef"):
        raise entry.refused("a SHA-256 in lower-case hexadecimal")
    return text


def environment_of(runtime: Runtime) -> dict[str, Any]:
    """What a verdict tells of a host."""
    device = {} if runtime.device is None else {"device": runtime.device}
    return {"runtime": runtime.name, "providers": [runtime.provider], **device}
