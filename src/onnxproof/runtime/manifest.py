"""What a bundle says of itself: the manifest, in ``manifest.json`` and in the model's own metadata."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from onnxproof.contract import Contract, Reading
from onnxproof.document import Entry, read_json
from onnxproof.errors import ModelFileError, RequestError
from onnxproof.runtime.tasks import get_task

FORMAT = 1
METADATA_KEY = "onnxproof"
"""The key of the ONNX file's ``metadata_props`` that holds the manifest as JSON."""

FOLDS_KEY = "onnxproof.folds"
"""The key that holds which batch norm was folded into which convolution before the capture: a JSON object of
their names in the model. A file without such folds lacks it."""

GOLDEN_KEY = "onnxproof.golden"
"""The key that holds which golden cases the file was verified on. A file without such cases, or of an older
onnxproof, lacks it."""

IN_FILE_ONLY = ("model_sha256", "data_sha256", "golden_sha256")
"""Keys of ``manifest.json`` that cannot be inside the file that they describe."""

REQUIRED = (
    *("format", "name", "task", "family", "inputs", "outputs", "dims", "preprocess", "classes"),
    *("postprocess", "opset", "exporter", "simplify", "checkpoint_sha256", "versions"),
)
OPTIONAL = ("fields", "family_package", "frozen", "precision", *IN_FILE_ONLY, "job")
"""The keys of a manifest."""

LARGEST_OPSET = 1000
"""More than any opset in the lifetime of this format: ONNX gets one or two new ones a year."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """A line of code at which a trace froze what Python computed.

    ``place`` names its file, without a machine's folders. ``reason`` says what was frozen, and why that is a
    fault of the file or ``harmless``.
    """

    place: str
    reason: str
    harmless: bool

    @classmethod
    def read(cls, entry: Entry) -> Self:
        """Read a JSON object with the keys of this class. Raises ModelFileError for any other value."""
        keys = entry.table(("place", "reason", "harmless"))
        return cls(keys["place"].text(), keys["reason"].text(), keys["harmless"].flag())


@dataclass(frozen=True, slots=True)
class Precision:
    """How a file of lower precision came about.

    ``float32_sha256`` is the checksum of the file that was proven, and ``kept`` are the nodes or modules that
    stay in float32. ``calibration`` says how ranges were cut ("" without), and ``calibration_sha256`` which
    pictures they were measured on, by the SHA-256 of their files. A file that was chosen among several, all
    judged on the same pictures, is judged at one part in ``tries`` of the budget's risk, so that all hold
    together.
    """

    mode: str
    float32_sha256: str
    kept: tuple[str, ...] = ()
    calibration: str = ""
    calibration_sha256: tuple[str, ...] = ()
    tries: int = 1

    @classmethod
    def read(cls, entry: Entry) -> Self:
        """Read a JSON object with the keys of this class. Raises ModelFileError for any other value."""
        keys = entry.table(
            ("mode", "float32_sha256", "kept", "calibration", "calibration_sha256"), ("tries",)
        )
        return cls(
            keys["mode"].text(),
            keys["float32_sha256"].text(),
            tuple(one.text() for one in keys["kept"].entries()),
            keys["calibration"].words(),
            tuple(one.text() for one in keys["calibration_sha256"].entries()),
            keys["tries"].whole(1) if "tries" in keys else 1,
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle says of itself: the contract of its file, and where the file came from.

    ``family_package`` is the name and version of the package that the family comes from, such as
    "acme-signals 1.0"; it is None for a family of onnxproof's own. ``frozen`` is what the capture of the
    model froze; None if the manifest is of an onnxproof that did not look. ``data_sha256`` is the checksum of
    the file with the model's weights; None if the model holds them itself. ``golden_sha256`` is that of the
    file with the golden cases; None if the bundle has none. ``job`` is the job that made the bundle, with
    paths relative to the bundle. ``precision`` is None for a file in float32.
    """

    contract: Contract
    family: str
    opset: int
    exporter: str
    simplify: str
    checkpoint_sha256: str | None
    frozen: tuple[Frozen, ...] | None = None
    model_sha256: str | None = None
    data_sha256: str | None = None
    golden_sha256: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    job: Mapping[str, Any] | None = None
    family_package: str | None = None
    precision: Precision | None = None

    def to_json(self) -> dict[str, Any]:
        """The document of ``manifest.json``. It has "family_package" only for another package's family."""
        package = {} if self.family_package is None else {"family_package": self.family_package}
        return {
            "format": FORMAT,
            "name": self.contract.name,
            "task": self.contract.task,
            "family": self.family,
            **package,
            **self.contract.to_json(),
            "opset": self.opset,
            "exporter": self.exporter,
            "simplify": self.simplify,
            "checkpoint_sha256": self.checkpoint_sha256,
            **({} if self.frozen is None else {"frozen": [asdict(one) for one in self.frozen]}),
            **({} if self.precision is None else {"precision": _listed(asdict(self.precision))}),
            "model_sha256": self.model_sha256,
            **({} if self.data_sha256 is None else {"data_sha256": self.data_sha256}),
            **({} if self.golden_sha256 is None else {"golden_sha256": self.golden_sha256}),
            "versions": dict(self.versions),
            "job": None if self.job is None else dict(self.job),
        }

    def shared_json(self) -> dict[str, Any]:
        """What ``manifest.json`` and the model's metadata both say: all but the checksum and the job."""
        document = self.to_json()
        for key in (*IN_FILE_ONLY, "job"):
            document.pop(key, None)
        return document

    def to_metadata(self) -> str:
        """The text for the ONNX file's own metadata: without its checksum and the job, with sorted keys."""
        return json.dumps(self.shared_json(), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """The inverse of ``to_json``.

        Raises ModelFileError if the format is another, a key is missing or unknown, or a value is not what
        the key expects; the error names the key.
        """
        if not isinstance(value, dict):
            raise ModelFileError(
                f"the manifest is no JSON object ({value!a:.40}): copy the bundle again, or export it again"
            )
        found = value.get("format")
        if not isinstance(found, int) or isinstance(found, bool) or found != FORMAT:
            raise ModelFileError(
                f"the manifest's format is {json.dumps(found):.40}, expected {FORMAT}: "
                "read this bundle with the onnxproof that wrote it, or export it again"
            )
        try:
            keys = Entry(value).table(REQUIRED, OPTIONAL)
            return cls._read(keys)
        except RecursionError as error:
            raise ModelFileError(
                "the manifest is not one that onnxproof wrote (it is nested too deeply to be read); "
                "export the model again"
            ) from error
        except RequestError as error:
            raise ModelFileError(
                f"the manifest is not one that onnxproof wrote ({error}); export the model again"
            ) from error

    @classmethod
    def _read(cls, keys: Mapping[str, Entry]) -> Self:
        job = keys.get("job", Entry(None))
        if job.value is not None:
            job.require_json()
            for key, entry in job.free_table().items():
                if key == "name":
                    entry.text()
                else:
                    entry.free_table()
        return cls(
            contract=Contract.read(keys, read_reading),
            family=keys["family"].text(),
            opset=keys["opset"].whole(1, LARGEST_OPSET),
            exporter=keys["exporter"].text(),
            simplify=keys["simplify"].text(),
            checkpoint_sha256=_text_or_none(keys["checkpoint_sha256"]),
            frozen=tuple(map(Frozen.read, keys["frozen"].entries())) if "frozen" in keys else None,
            model_sha256=_text_or_none(keys.get("model_sha256", Entry(None))),
            data_sha256=_text_or_none(keys.get("data_sha256", Entry(None))),
            golden_sha256=_text_or_none(keys.get("golden_sha256", Entry(None))),
            versions={
                Entry(name, entry.key).text(): entry.text()
                for name, entry in keys["versions"].free_table().items()
            },
            job=job.value,
            family_package=_text_or_none(keys.get("family_package", Entry(None))),
            precision=Precision.read(keys["precision"]) if "precision" in keys else None,
        )


def read_manifest_text(text: str, source: str) -> Manifest:
    """The manifest in ``text``. Raises ModelFileError, which names the ``source``, if there is none."""
    try:
        document = read_json(text)
    except ModelFileError as error:
        raise ModelFileError(f"{source}: {error}; export the model again") from error
    try:
        return Manifest.from_json(document.value)
    except ModelFileError as error:
        raise ModelFileError(f"{source}: {error}") from error


def read_reading(task: str, entry: Entry) -> Reading:
    """The reading of a task from a manifest's ``postprocess``. Raises ModelFileError if it is no such."""
    try:
        found = get_task(task)
    except RequestError as error:
        raise ModelFileError(f"task is {task}: {error}") from error
    return found.reading(entry)


def _listed(table: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in table.items()}


def _text_or_none(entry: Entry) -> str | None:
    return None if entry.value is None else entry.text()
