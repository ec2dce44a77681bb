"""``onnxproof.judge``: whether a host's outputs to a kit are those of the model that was proven."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from onnxproof.contract import Contract
from onnxproof.document import Entry, read_json
from onnxproof.errors import ModelFileError, RequestError
from onnxproof.progress import Progress, silent
from onnxproof.runtime.folder import GOLDEN_FILE, MODEL_FILE, data_of
from onnxproof.runtime.manifest import read_manifest_text
from onnxproof.runtime.metadata import metadata_in
from onnxproof.source import sha256_of
from onnxproof.system.foreign import read_foreign
from onnxproof.system.packages import versions
from onnxproof.system.signatures import checks_arguments
from onnxproof.validate.golden.checks import function_check, verified_check
from onnxproof.validate.golden.exchanged import exchanged
from onnxproof.validate.golden.file import about, unpack
from onnxproof.validate.golden.found import sha256_of_text
from onnxproof.validate.golden.golden import Golden, GoldenCase
from onnxproof.validate.golden.held import why_not_held
from onnxproof.validate.golden.judged import judged
from onnxproof.validate.golden.kit import (
    CASES_FILE,
    CONTRACT_FILE,
    FORMAT,
    KIT_FILE,
    Model,
    cases_text,
    decoded,
    index_of,
)
from onnxproof.validate.golden.returned import Returned, ReturnedLeg, environment_of, read_outputs
from onnxproof.validate.legs.leg import Ports
from onnxproof.validate.verdict import Check, Verdict, conclude

OWN = "onnxproof"


@checks_arguments
def judge(kit: str | PathLike[str], outputs: str | PathLike[str], *, progress: Progress = silent) -> Verdict:
    """Judge what a host answered to the inputs of a kit, without running anything.

    ``kit`` is the folder that ``onnxproof.kit`` wrote, ``outputs`` the folder with the host's
    ``outputs.json``. The verdict's links are ``runtime`` and ``decisions``, judged as ``validate`` does, and
    ``function`` if the host says that it ran the file whose function was proven.

    Raises ModelFileError if there is no kit or if it is not as it was written, and if ``outputs.json`` is
    missing, broken or of another kit.
    """
    folder = Path(kit)
    progress("read the kit", 0, 0)
    golden, contract, model, name = _kit(folder)
    returned = read_outputs(Path(outputs), name, len(golden.cases))
    leg = ReturnedLeg.of(returned, Ports.of(contract), golden)
    checksum = _checksum(folder, model, returned)
    why = "the outputs do not say which file they are of" if checksum is None else None
    if checksum is not None and checksum.status != "pass":
        why = "the file is another"
    found = judged(golden, contract, leg, progress=progress)
    told = () if checksum is None else (checksum,)
    checks = (*told, verified_check(golden), function_check(golden, why), *found.checks)
    status = conclude(checks)
    return Verdict(
        status=status,
        checks=checks,
        facts=(found.facts,),
        cases=tuple(one.case for one in golden.cases),
        notes=(
            *(exchanged(golden, returned.answer) if status == "fail" else ()),
            *found.notes,
            *_notes(golden, returned),
        ),
        model_sha256=returned.model_sha256 or model.sha256,
        environment=_environment(returned),
        policy=golden.about.policy.to_json(),
    )


def _kit(folder: Path) -> tuple[Golden, Contract, Model, str]:
    """The golden cases of a kit with the inputs in its files, the contract, the model, and the kit's name.

    Raises ModelFileError if there is no kit, or if a file in it is not as it was written.
    """
    text = _text(folder / KIT_FILE)
    try:
        document = read_json(text)
        document.require_format(FORMAT)
        keys = document.table(("format", "kit", "name", "model", "outputs", "cases"))
        told = keys["model"].table(("file", "sha256"), ("data_sha256",))
        data = told["data_sha256"].text() if "data_sha256" in told else None
        model = Model(told["sha256"].text(), data, told["file"].value is not None)
        name = keys["kit"].text()
    except RequestError as error:
        raise _other(folder / KIT_FILE, str(error)) from error
    content = _bytes(folder / GOLDEN_FILE)
    if hashlib.sha256(content).hexdigest() != name:
        raise _other(folder / GOLDEN_FILE, f"its SHA-256 is another than {KIT_FILE} names")
    text = _text(folder / CONTRACT_FILE)
    if sha256_of_text(text) != about(content, str(folder / GOLDEN_FILE)).metadata_sha256:
        raise _other(folder / CONTRACT_FILE, f"{GOLDEN_FILE} was recorded with another")
    contract = read_manifest_text(text, str(folder / CONTRACT_FILE)).contract
    golden = unpack(content, contract, str(folder / GOLDEN_FILE))
    others = why_not_held(golden.cases, metadata_in(folder / MODEL_FILE) if model.there else {})
    if others:
        raise _other(folder / GOLDEN_FILE, others)
    index = index_of(golden, contract, name, replace(model, sha256=golden.about.model_sha256))
    key = _difference(document, Entry(index))
    if key is not None:
        raise _other(folder / KIT_FILE, f"{key} is not what follows from {GOLDEN_FILE}")
    if _text(folder / CASES_FILE) != cases_text(index):
        raise _other(folder / CASES_FILE, f"it does not say what {KIT_FILE} says")
    pairs = zip(golden.cases, index["cases"], strict=True)
    cases = tuple(_as_given(folder, one, entry["inputs"]) for one, entry in pairs)
    return replace(golden, cases=cases), contract, model, name


def _as_given(folder: Path, one: GoldenCase, told: list[dict[str, Any]]) -> GoldenCase:
    """A case with the inputs that the host was given: NumPy may draw other numbers from a seed one day."""
    inputs = {}
    for entry in told:
        content = _bytes(folder / entry["file"])
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise _other(folder / entry["file"], f"its SHA-256 is another than {KIT_FILE} names")
        inputs[entry["name"]] = decoded(content, entry["dtype"], entry["shape"])
    return replace(one, inputs=inputs, changed=())


def _difference(found: Entry, wanted: Entry) -> str | None:
    """The first key at which two documents differ; None if they do not."""
    ours, theirs = dict(_values(wanted)), dict(_values(found))
    return next((key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)), None)


def _values(entry: Entry) -> Iterator[tuple[str, str]]:
    """Each key of a document that leads to no further keys, and its value in words."""
    if isinstance(entry.value, dict) and entry.value:
        for child in entry.free_table().values():
            yield from _values(child)
    elif isinstance(entry.value, list) and entry.value:
        for child in entry.entries():
            yield from _values(child)
    else:
        yield entry.key, repr(entry.value)


def _checksum(folder: Path, model: Model, returned: Returned) -> Check | None:
    """Whether the model that was run is the one that was proven; None if nothing is known of it.

    The model in the kit counts if it is there: it is what the host was given.
    """
    wrong = []
    sums = {folder / MODEL_FILE: model.sha256}
    if model.data_sha256 is not None:
        sums[data_of(folder / MODEL_FILE)] = model.data_sha256
    if model.there:
        wrong += [
            f"{file} is not the file that {KIT_FILE} describes"
            for file, sha256 in sums.items()
            if file.is_file() and sha256_of(file) != sha256
        ]
    if returned.model_sha256 not in (None, model.sha256):
        wrong.append(
            f"the host ran a model of the SHA-256 {returned.model_sha256}, and the kit's is {model.sha256}"
        )
    if not wrong and returned.model_sha256 is None:
        return None
    return Check("checksum", "fail" if wrong else "pass", "; ".join(wrong), float(len(wrong)), 0.0)


def _notes(golden: Golden, returned: Returned) -> Iterator[str]:
    """What ran the file where it was verified, and what ran it for the outputs, if that is not the same."""
    runtime, about = returned.runtime, golden.about
    if about.versions.get(runtime.name) == runtime.version and about.providers == (runtime.provider,):
        return
    verified = ", ".join(f"{name} {version}" for name, version in about.versions.items())
    yield f"verified with {verified} on {', '.join(about.providers)}; here are outputs of {runtime}"


def _environment(returned: Returned) -> dict[str, Any]:
    runtime = returned.runtime
    return {**environment_of(runtime), "versions": {**versions((OWN,)), runtime.name: runtime.version}}


def _bytes(file: Path) -> bytes:
    try:
        return read_foreign(file)
    except OSError as error:
        raise ModelFileError(
            f"{file} cannot be read ({error.strerror or error}): give a whole folder of onnxproof kit"
        ) from error


def _text(file: Path) -> str:
    try:
        return _bytes(file).decode("utf-8")
    except UnicodeDecodeError as error:
        raise _other(file, "it is not UTF-8") from error


def _other(file: Path, reason: str) -> ModelFileError:
    return ModelFileError(
        f"{file} is not as onnxproof kit wrote it ({reason}): copy the kit again, or write it again"
    )
