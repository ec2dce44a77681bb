"""A process for jobs (onnxproof.runs.slot) whose ``export`` and ``validate`` are stand-ins without PyTorch.

What a job does follows from its ``model.variant``: "fail" and "error" are its verdict, "raise" raises an
error of the request, "crash" ends the process; "wait" waits as long as the file "hold" lies beside the job.
Each job notes its name in the file "log" there.
"""

import hashlib
import json
import os
import signal
import sys
import time
import types
from pathlib import Path
from typing import Any

from onnxproof.errors import CheckpointError
from onnxproof.export.bundle import BUNDLE
from onnxproof.job import Job
from onnxproof.runs import slot
from onnxproof.system.own_folder import staged_folder
from onnxproof.validate.verdict import Check, Verdict, conclude

MANIFEST = {
    "format": 1,
    "name": "",
    "task": "raw",
    "family": "module",
    "versions": {"onnxproof": "0.1.0"},
}


def export(job: Job, *, out: Path, validate: bool = True, progress: Any, **more: Any) -> Any:
    note(job)
    print(f"{job.name} says hello")  # noqa: T201
    target = Path(out) / job.name
    progress("capture", 0, 0)
    for name in job.model.kwargs.get("reads", ()):
        with job.resolve(name).open("rb") as stream:
            stream.read()
    with staged_folder(target, BUNDLE) as folder:
        model = job.name.encode()
        (folder / "model.onnx").write_bytes(model)
        told = {**MANIFEST, "name": job.name, "model_sha256": hashlib.sha256(model).hexdigest()}
        (folder / "manifest.json").write_text(json.dumps(told), encoding="utf-8")
        do(job)
        verdict = judged(job) if validate else None
        if verdict is not None:
            (folder / "parity.json").write_text(json.dumps(verdict.to_json()), encoding="utf-8")
    return types.SimpleNamespace(
        path=target, verdict=verdict, decisive=verdict, lowered=None, notes=("a note",)
    )


def validate(job: Job, *, progress: Any, **more: Any) -> Verdict:
    note(job)
    progress("compare", 0, 0)
    do(job)
    return judged(job)


def note(job: Job) -> None:
    with (job.folder / "log").open("a", encoding="utf-8") as log:
        log.write(f"{job.name}\n")
    (job.folder / f"{job.name}.pid").write_text(str(os.getpid()), encoding="utf-8")


def do(job: Job) -> None:
    variant = job.model.variant
    if variant == "raise":
        raise CheckpointError("checkpoint weights does not exist: give a file")
    if variant == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    while variant == "wait" and (job.folder / "hold").exists():
        time.sleep(0.02)


def judged(job: Job) -> Verdict:
    status: Any = job.model.variant if job.model.variant in ("fail", "error") else "pass"
    checks = (
        Check("interface", "pass", "", 0.0, 0.0, "ort-cpu"),
        Check("ratio_rms", status, "largest error 0.1 px in 1x8", 3.0, 2.7, "ort-cpu", "score"),
    )
    return Verdict(conclude(checks), checks, (), (), (), "0", {"threads": job.validation.threads})


def main() -> None:
    """Be the process."""
    for name, offered in (
        ("pipeline", {"export": export}),
        ("steps.bundled", {}),
        ("validation", {"validate": validate}),
    ):
        stand_in = types.ModuleType(f"onnxproof.{name}")
        stand_in.__dict__.update(offered)
        sys.modules[stand_in.__name__] = stand_in
    slot.main()
