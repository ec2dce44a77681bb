"""Export a job once in a run of pytest, whichever process asks first."""

import hashlib
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxproof
from onnxproof.errors import OnnxproofError
from onnxproof.job import Job, load_job
from onnxproof.job.matrix import read_jobs
from onnxproof.runtime.folder import PARITY_FILE
from onnxproof.system.files import remove_own, write_json
from onnxproof.system.locks import locked
from onnxproof.system.parsed import json_in
from onnxproof.validate.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job: the verdict, or why there is none."""

    verdict: Verdict | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Runs:
    """Where the processes of a run share outcomes, and how jobs are exported.

    ``out`` is the folder that the bundles stay in; None if they are removed. ``baselines`` is the folder of
    older bundles, by the jobs' names; None if jobs are not held to any.
    """

    folder: Path
    out: Path | None
    overrides: tuple[str, ...]
    baselines: Path | None = None

    def of(self, job: Path, name: str | None = None) -> Outcome:
        """The outcome of a job file, or of the job of that name in a file that makes several.

        The first process that asks exports it; others wait.
        """
        place = self.folder / hashlib.sha256(f"{job}{name or ''}".encode()).hexdigest()[:16]
        kept = place.with_suffix(".json")
        with locked(place.with_suffix(".lock")):
            if not kept.exists():
                write_json(kept, self._document(job, name, place))
            found = json_in(kept)
        verdict = None if found["verdict"] is None else Verdict.from_json(found["verdict"])
        return Outcome(verdict, found["error"])

    def _baseline(self, job: Path, name: str | None) -> Path | None:
        """The older bundle of a job; None if there is none yet."""
        if self.baselines is None:
            return None
        found = self.baselines / (name or load_job(job, self.overrides).name)
        return found if (found / PARITY_FILE).is_file() else None

    def _document(self, job: Path, name: str | None, scratch: Path) -> dict[str, Any]:
        try:
            one: Path | Job = job
            if name is not None:
                one = next(found.known for found in read_jobs(job, self.overrides) if found.name == name)
            bundle = onnxproof.export(
                one,
                out=self.out or scratch,
                set=self.overrides if name is None else (),
                baseline=self._baseline(job, name),
            )
        except OnnxproofError as error:
            return {"verdict": None, "error": f"{type(error).__name__}: {error}"}
        except Exception as error:  # noqa: BLE001
            # A fault of onnxproof, or a package that is missing: a failed test as well, with where it arose.
            told = f"{type(error).__name__}: {error}\n\n{traceback.format_exc()}"
            return {"verdict": None, "error": told}
        finally:
            if self.out is None:
                remove_own(scratch)
        assert bundle.verdict is not None
        return {"verdict": bundle.verdict.to_json(), "error": None}
