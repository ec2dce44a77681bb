"""``onnxproof.selftest``: judge a bundle where it is deployed, by what was recorded when it was exported."""

import functools
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from onnxproof.deploy.signature import why_not_verified
from onnxproof.errors import RequestError
from onnxproof.progress import Progress, silent
from onnxproof.runtime.archive import is_archive, on_disk
from onnxproof.runtime.folder import MODEL_FILE, data_of, read_manifest
from onnxproof.runtime.manifest import METADATA_KEY
from onnxproof.runtime.session import CPU, VERSION, placed_elsewhere, provider_names, require_providers
from onnxproof.source import bundle_at, sha256_of
from onnxproof.system.extras import require_extra
from onnxproof.system.signatures import checks_arguments
from onnxproof.validate.bundled import against_metadata, agreement_check, checksum_check
from onnxproof.validate.environment import environment
from onnxproof.validate.facts import Facts
from onnxproof.validate.golden.checks import function_check, inputs_check, verified_check
from onnxproof.validate.golden.found import golden_in, require_golden, sha256_of_text
from onnxproof.validate.golden.golden import Golden
from onnxproof.validate.golden.judged import judged
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.validate.policy import FLOAT_FLOOR
from onnxproof.validate.runtimes.asked import Opened, opened, plan_runtimes
from onnxproof.validate.runtimes.known import Candidate
from onnxproof.validate.trial import Settings
from onnxproof.validate.verdict import Check, Verdict, conclude

OWN = "onnxproof"


@checks_arguments
def selftest(
    bundle: str | PathLike[str],
    *,
    providers: str | Sequence[str] = (CPU,),
    threads: int = 0,
    runtimes: Sequence[str] = (),
    verify: str | PathLike[str] | None = None,
    progress: Progress = silent,
) -> Verdict:
    """Judge a bundle's file on this machine by the golden cases in the bundle, without PyTorch.

    The verdict's links are ``runtime`` and ``decisions``, judged as ``validate`` does, and ``function`` if
    the file is the one whose function was proven. ``providers`` are ONNX Runtime's execution providers: a
    node runs on the first that can run it. ``threads`` is its number of intra-op threads (0: as many as it
    chooses). ``runtimes`` names runtimes to judge in place of ONNX Runtime on these providers, such as "ort"
    (at each of its levels) and "openvino"; each of ``providers`` is then judged by itself, and may be one of
    OpenVINO's devices. ``verify`` is a public key: the signature beside the bundle is verified first, and
    nothing is run if it does not hold.

    Raises ModelFileError if there is no bundle, if it has no golden cases, or if its model cannot be loaded,
    and RequestError if a provider is not there or does not start, or if no runtime that is asked for is.
    """
    providers = provider_names(providers)
    if not providers:
        raise RequestError(f"no execution provider is named: name one, such as {CPU}")
    candidates = _candidates(runtimes, providers)
    folder = bundle_at(bundle, archives=True)
    signature = () if verify is None else (_signature(Path(bundle), Path(verify)),)
    if any(check.status == "fail" for check in signature):
        here = _environment(Settings(providers=tuple(providers), threads=threads))
        sha256 = sha256_of(folder if is_archive(folder) else folder / MODEL_FILE)
        return Verdict("fail", signature, (), (), (), sha256, here, policy=FLOAT_FLOOR.to_json())
    manifest = read_manifest(folder)
    file = folder / MODEL_FILE
    progress("read the bundle", 0, 0)
    leg = OrtLeg(file, (CPU,) if candidates else providers, threads)
    require_golden(folder, manifest, leg.metadata)
    elsewhere = placed_elsewhere(leg.placed, leg.settings.providers[0])
    text = leg.metadata.get(METADATA_KEY)
    sum_of = functools.cache(sha256_of)
    checksum = checksum_check(manifest, file, sum_of)
    checks = [*signature, checksum, agreement_check(file, [*against_metadata(manifest, text)])]
    found = golden_in(folder, manifest, leg.metadata)
    facts: list[Facts] = []
    notes = [*filter(None, (elsewhere,))]
    beside = Opened((), ())
    if isinstance(found, str):
        golden = None
        checks.append(Check("golden", "fail", found, 1.0, 0.0))
    else:
        golden = found.golden
        other = None if checksum.status == "pass" else "the file is another"
        checks += (_of_this_model(golden, sum_of(file), text), verified_check(golden))
        checks += (function_check(golden, other), inputs_check(golden))
        if any(not one.changed for one in golden.cases):
            with on_disk(file, data_of(file)) if candidates else nullcontext(file) as readable:
                beside = opened(candidates, readable, found.contract, threads)
                checks += beside.skipped
                for each in beside.legs if candidates else (leg,):
                    one = judged(golden, found.contract, each, progress=progress)
                    facts.append(one.facts)
                    checks += one.checks
                    notes += one.notes
    return Verdict(
        status=conclude(checks),
        checks=tuple(checks),
        facts=tuple(facts),
        cases=() if golden is None else tuple(one.case for one in golden.cases if not one.changed),
        notes=(*notes, *(() if golden is None else _notes(golden, providers))),
        model_sha256=sum_of(file),
        environment=_environment(Settings(providers=tuple(providers), threads=threads)),
        policy=(FLOAT_FLOOR if golden is None else golden.about.policy).to_json(),
        runtimes=beside.rows,
    )


def _candidates(runtimes: Sequence[str], providers: Sequence[str]) -> tuple[Candidate, ...]:
    """The legs to judge in place of ONNX Runtime's own; none if no runtime is named.

    Raises RequestError if a provider is not there, or if every runtime is absent: nothing would be judged.
    """
    if not runtimes:
        require_providers(providers)
        return ()
    candidates = plan_runtimes(runtimes, () if tuple(providers) == (CPU,) else providers)
    if all(one.open is None for one in candidates):
        raise RequestError("; ".join(one.row.absent for one in candidates))
    return candidates


def _signature(bundle: Path, key: Path) -> Check:
    """Whether the signature beside a bundle is that of the key's owner."""
    require_extra("signing", "selftest --verify")
    reason = why_not_verified(bundle, key)
    return Check("signature", "fail" if reason else "pass", reason, float(bool(reason)), 0.0)


def _of_this_model(golden: Golden, sha256: str, text: str | None) -> Check:
    """Whether golden cases were recorded for this model file and its metadata."""
    wrong = []
    if golden.about.model_sha256 != sha256:
        wrong.append(f"they were recorded for a {MODEL_FILE} of another checksum")
    if text is None or sha256_of_text(text) != golden.about.metadata_sha256:
        wrong.append(f"they were recorded for other metadata than is in {MODEL_FILE}")
    reason = "; ".join(wrong)
    return Check("golden", "fail" if wrong else "pass", reason, float(len(wrong)), 0.0)


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
