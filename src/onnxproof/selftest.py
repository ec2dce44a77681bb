"""``onnxproof.selftest``: judge a bundle where it is deployed, by what was recorded when it was exported."""

import functools
import hashlib
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from onnxproof.contract import Contract
from onnxproof.errors import ModelFileError, RequestError
from onnxproof.progress import Progress, silent
from onnxproof.runtime.folder import GOLDEN_FILE, MANIFEST_FILE, MODEL_FILE, PARITY_FILE, read_manifest
from onnxproof.runtime.manifest import METADATA_KEY, Manifest, read_manifest_text
from onnxproof.runtime.session import CPU, VERSION, require_providers
from onnxproof.source import BundleFolder, look_at, sha256_of
from onnxproof.validate.bundled import against_metadata, agreement_check, checksum_check
from onnxproof.validate.environment import environment
from onnxproof.validate.facts import Facts
from onnxproof.validate.golden.file import about, unpack
from onnxproof.validate.golden.golden import Golden
from onnxproof.validate.golden.judged import inputs_check, judged
from onnxproof.validate.legs.leg import GRAPH
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.validate.policy import FLOAT_FLOOR
from onnxproof.validate.trial import Settings
from onnxproof.validate.verdict import Check, Verdict, conclude

OWN = "onnxproof"


def selftest(
    bundle: str | PathLike[str],
    *,
    providers: Sequence[str] = (CPU,),
    threads: int = 0,
    progress: Progress = silent,
) -> Verdict:
    """Judge a bundle's file on this machine by the golden cases in the bundle, without PyTorch.

    The verdict's links are ``runtime`` and ``decisions``, judged as ``validate`` does, and ``function`` if
    the file is the one whose function was proven. ``providers`` are ONNX Runtime's execution providers: a
    node runs on the first that can run it. ``threads`` is its number of intra-op threads (0: as many as it
    chooses).

    Raises ModelFileError if there is no bundle, if it has no golden cases, or if its model cannot be loaded,
    and RequestError if a provider is not there or does not start.
    """
    require_providers(providers)
    if not providers:
        raise RequestError(f"no execution provider is named: name one, such as {CPU}")
    folder = _bundle(bundle)
    manifest = read_manifest(folder)
    if manifest.golden_sha256 is None:
        raise ModelFileError(
            f"{folder} has no golden cases to test itself by: it was exported with --no-validate, by an "
            f"older onnxproof, or they would be too large (a note in {PARITY_FILE} says so); export it again"
        )
    file = folder / MODEL_FILE
    progress("read the bundle", 0, 0)
    leg = OrtLeg(file, providers, threads)
    elsewhere = _elsewhere(leg, providers[0])
    text = leg.metadata.get(METADATA_KEY)
    sum_of = functools.cache(sha256_of)
    checksum = checksum_check(manifest, file, sum_of)
    checks = [checksum, agreement_check(file, [*against_metadata(manifest, text)])]
    found = _golden(folder, manifest, text)
    facts: tuple[Facts, ...] = ()
    if isinstance(found, str):
        golden = None
        checks.append(Check("golden", "fail", found, 1.0, 0.0))
    else:
        golden, contract = found
        checks += (_of_this_model(golden, sum_of(file), text), _verified(golden), _function(golden, checksum))
        checks.append(inputs_check(golden))
        if any(not one.changed for one in golden.cases):
            one, judgement = judged(golden, contract, leg, progress=progress)
            facts = (one,)
            checks += judgement
    return Verdict(
        status=conclude(checks),
        checks=tuple(checks),
        facts=facts,
        cases=() if golden is None else tuple(one.case for one in golden.cases if not one.changed),
        notes=(*elsewhere, *(() if golden is None else _notes(golden, providers))),
        model_sha256=sum_of(file),
        environment=_environment(Settings(providers=tuple(providers), threads=threads)),
        policy=FLOAT_FLOOR.to_json(),
    )


def _bundle(path: str | PathLike[str]) -> Path:
    match look_at(path):
        case BundleFolder() as found:
            if not found.model.is_file():
                raise ModelFileError(f"{found.model} does not exist: copy the whole bundle again")
            return found.path
        case other:
            raise ModelFileError(
                f"{path} is {other.what}, not a bundle: give the folder that export wrote, with "
                f"{MODEL_FILE}, {MANIFEST_FILE} and {GOLDEN_FILE} in it"
            )


def _elsewhere(leg: OrtLeg, provider: str) -> tuple[str, ...]:
    """A note if another provider than the first runs nodes of the file, too.

    Raises RequestError if the first runs none: the test would say nothing of it.
    """
    placed = dict(leg.placed)
    own, whole = placed.pop(provider, 0), sum(leg.placed.values())
    others = ", ".join(f"{count:,} on {name}" for name, count in placed.items())
    if whole and not own:
        raise RequestError(f"{provider} runs none of the file's {whole:,} nodes ({others}): name another")
    return (f"{provider} runs {own:,} of the file's {whole:,} nodes; {others}",) if others else ()


def _golden(folder: Path, manifest: Manifest, text: str | None) -> tuple[Golden, Contract] | str:
    """The golden cases and the contract that they were recorded with, or why there are none to run.

    ``text`` is onnxproof's metadata in the model.
    """
    file = folder / GOLDEN_FILE
    if not file.is_file():
        return f"{GOLDEN_FILE}, which {MANIFEST_FILE} names, is missing"
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != manifest.golden_sha256:
        return f"{GOLDEN_FILE} is not the file that {MANIFEST_FILE} describes"
    wanted = about(content, str(file)).metadata_sha256
    if text is not None and _sha256(text) == wanted:
        contract = read_manifest_text(text, f"the metadata of {MODEL_FILE}").contract
    elif _sha256(manifest.to_metadata()) == wanted:
        contract = manifest.contract
    else:
        return (
            f"{GOLDEN_FILE} was recorded for another model: neither the metadata in {MODEL_FILE} nor "
            f"{MANIFEST_FILE} is what it was recorded with"
        )
    return unpack(content, contract, str(file)), contract


def _of_this_model(golden: Golden, sha256: str, text: str | None) -> Check:
    """Whether golden cases were recorded for this model file and its metadata."""
    wrong = []
    if golden.about.model_sha256 != sha256:
        wrong.append(f"they were recorded for a {MODEL_FILE} of another checksum")
    if text is None or _sha256(text) != golden.about.metadata_sha256:
        wrong.append(f"they were recorded for other metadata than is in {MODEL_FILE}")
    reason = "; ".join(wrong)
    return Check("golden", "fail" if wrong else "pass", reason, float(len(wrong)), 0.0)


def _verified(golden: Golden) -> Check:
    """Whether the verdict that the bundle was exported with passed."""
    found = golden.about.verdict
    if found == "pass":
        return Check("verified", "pass", "")
    reason = f"the verdict of the export was {found}, so there is nothing that this machine could keep to"
    return Check("verified", "fail" if found == "fail" else "error", f"{reason}; {PARITY_FILE} says why")


def _function(golden: Golden, checksum: Check) -> Check:
    """The function link. A file states the same function on every machine, so it is as it was proven."""
    if checksum.status != "pass" or golden.about.links.get("function") != "pass":
        why = "the file is another" if checksum.status != "pass" else "it was not proven when it was exported"
        return Check("function", "skipped", f"{why}, and a self-test evaluates no graph", leg=GRAPH)
    return Check("function", "pass", "the file is the one whose function was proven by the export", leg=GRAPH)


def _notes(golden: Golden, providers: Sequence[str]) -> Iterator[str]:
    """How this machine differs from the one where the file was verified."""
    here = _versions()
    for name, version in golden.about.versions.items():
        if here.get(name, version) != version:
            yield f"verified with {name} {version}; here is {here[name]}"
    if golden.about.providers != tuple(providers):
        yield f"verified on {', '.join(golden.about.providers)}; here on {', '.join(providers)}"


def _versions() -> dict[str, str]:
    """The versions of what runs a self-test, whichever distributions brought them."""
    return {"onnxruntime": VERSION, "numpy": np.__version__}


def _environment(settings: Settings) -> dict[str, Any]:
    found = environment(settings, (OWN,))
    return {**found, "providers": list(settings.providers), "versions": {**found["versions"], **_versions()}}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
