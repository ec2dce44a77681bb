"""Hold a verdict against an older one: a check that got worse fails, although it is within its limit.

Float error is noise. What it comes to depends on the order in which a machine and a version of a library add
up, so two right files of one model do not have equal figures. ``NOISE`` says how far a figure may rise
(docs/baseline.md says why so far). What is no figure has no noise: a check that passed and is not there any
more, or a case that is not tried any more, is worse at once.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from onnxproof.errors import RequestError
from onnxproof.runtime.folder import PARITY_FILE
from onnxproof.system.parsed import UnreadableError, json_in
from onnxproof.validate.verdict import Check, Verdict, conclude

BaselineLike = Verdict | str | PathLike[str]


Key = tuple[str, str | None, str | None]
Moved = Literal["same", "within", "better", "worse", "new"]


@dataclass(frozen=True, slots=True)
class Noise:
    """How far a figure may rise: to ``factor`` times the old one, or times ``least`` if that is more.

    ``of_limit`` says that both are shares of the check's limit, which then depends on the model.
    """

    factor: float
    least: float
    of_limit: bool = False


NOISE: Mapping[str, Noise] = {
    "function": Noise(10, 1e-3, of_limit=True),
    "ratio_rms": Noise(1.5, 1.0),
    "ratio_max": Noise(2, 1.0),
    "ratio_constant": Noise(3, 1.0),
    "max_error": Noise(2, 0.1, of_limit=True),
    "flips": Noise(2, 0.25, of_limit=True),
    "kernels": Noise(2, 0.1),
    "digits": Noise(2, 1.0),
    "held_back": Noise(2, 0.02),
    "dataset": Noise(2, 5e-4),
}
"""The checks whose figures are float error. The figures of all others are counts, which may not rise."""

IN_DOUBT = frozenset(("kernels", "digits", "max_error", "compared", "held_back"))
"""Checks that are made only where others leave a doubt: without them a verdict is no weaker."""

OF_ONE_COMMAND = frozenset(("folding", "checksum", "manifest", "pictures"))
"""Checks that only ``export`` makes, of the module that it captured, or only ``validate``, of a bundle or of
the pictures in --images. A verdict of either may be held to one of the other."""

CASES = "runs"
"""The name of the check that fails if cases of the baseline were not tried."""


@dataclass(frozen=True, slots=True)
class Change:
    """A check of both verdicts, side by side.

    ``before`` and ``now`` are the figures, None if there is none. ``allowed`` is how far the figure may rise;
    it is None if the check has no figure. ``said`` says in words what got worse, and is empty otherwise.
    """

    name: str
    leg: str | None
    field: str | None
    before: float | None
    now: float | None
    allowed: float | None
    status_before: str
    status_now: str
    moved: Moved
    said: str


@dataclass(frozen=True, slots=True)
class Differs:
    """What the two verdicts were reached with that differs: a version, the machine, the effort."""

    name: str
    before: Any
    now: Any


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Two verdicts on one job. ``lost`` are the baseline's cases that were not tried."""

    baseline_sha256: str
    baseline_status: str
    changes: tuple[Change, ...]
    lost: tuple[str, ...]
    differs: tuple[Differs, ...]
    ties_before: int
    ties_now: int

    @property
    def worse(self) -> tuple[Change, ...]:
        """The checks that got worse beyond noise."""
        return tuple(change for change in self.changes if change.moved == "worse")

    def to_json(self) -> dict[str, Any]:
        """A JSON object: the key "against" of the documents that the commands write."""
        return {
            "baseline_sha256": self.baseline_sha256,
            "baseline_verdict": self.baseline_status,
            "worse": len(self.worse) + bool(self.lost),
            "ties": {"before": self.ties_before, "now": self.ties_now},
            "lost_cases": list(self.lost),
            "environment": [asdict(one) for one in self.differs],
            "checks": [asdict(change) for change in self.changes],
        }


def read_baseline(source: BaselineLike) -> Verdict:
    """The verdict in a parity.json, or in that of a bundle.

    Raises RequestError if there is none, with what was found and what was expected.
    """
    if isinstance(source, Verdict):
        return source
    file = _file(Path(source))
    expected = f"expected the {PARITY_FILE} of an earlier export, or of validate --out"
    try:
        document = json_in(file)
    except OSError as error:
        reason = f"cannot be read ({error.strerror or error})"
        said = "does not exist" if isinstance(error, FileNotFoundError) else reason
        raise RequestError(f"the baseline {file} {said}: {expected}") from error
    except UnreadableError as error:
        raise RequestError(f"the baseline {file} cannot be read ({error}): {expected}") from error
    except ValueError as error:  # no JSON, or no text
        raise RequestError(f"the baseline {file} is no JSON: {expected}") from error
    if not isinstance(document, dict) or "verdict" not in document or "checks" not in document:
        kind = "a manifest" if isinstance(document, dict) and "preprocess" in document else "no verdict"
        raise RequestError(f"the baseline {file} is {kind}: {expected}")
    try:
        found = Verdict.from_json(document)
    except RequestError as error:
        raise RequestError(f"the baseline {file}: {error}") from error
    if found.pairing is not None:
        raise RequestError(f"the baseline {file} is a comparison of two files: {expected}")
    return found


def files_of(source: BaselineLike | None) -> tuple[Path, ...]:
    """The file that a baseline is read from, if it is one. It may not be written to."""
    if source is None or isinstance(source, Verdict):
        return ()
    return (_file(Path(source)),)


def _file(path: Path) -> Path:
    return path / PARITY_FILE if path.is_dir() else path


def held_to(verdict: Verdict, baseline: Verdict) -> Verdict:
    """The verdict, in which each check that got worse than the baseline's fails.

    Its limit is then how far its figure may rise. A check that the baseline passed, and that is not there any
    more, is added as one that fails. Raises RequestError if the baseline is of another model.
    """
    found = side_by_side(verdict, baseline)
    worse = {_key(change): change for change in found.worse}
    checks = [_tightened(check, worse.pop(_key(check), None)) for check in verdict.checks]
    checks += [Check(one.name, "fail", one.said, leg=one.leg, field=one.field) for one in worse.values()]
    if found.lost:
        count = float(len(found.lost))
        reason = f"cases of the baseline were not tried, first {found.lost[0]}"
        checks.append(Check(CASES, "fail", reason, count, 0.0))
    told = f"{len(found.worse)} got worse" if found.worse else "none got worse"
    note = f"held to a baseline (file {baseline.model_sha256[:12]}): of {len(found.changes)} checks {told}"
    return replace(verdict, checks=tuple(checks), status=conclude(checks), notes=(*verdict.notes, note))


def side_by_side(verdict: Verdict, baseline: Verdict) -> SideBySide:
    """Both verdicts, check by check. Raises RequestError if the baseline is of another model.

    ``verdict`` may be one that is held to the baseline already.
    """
    _require_same_model(verdict, baseline)
    before, now = _by_key(baseline.checks), _by_key(verdict.checks)
    keys = [*now, *(key for key in before if key not in now)]
    changes = [_change(key, before.get(key), now.get(key)) for key in keys if key != (CASES, None, None)]
    tried = {(case.name, tuple(case.sizes.items())) for case in verdict.cases}
    lost = [case.name for case in baseline.cases if (case.name, tuple(case.sizes.items())) not in tried]
    return SideBySide(
        baseline.model_sha256,
        baseline.status,
        tuple(sorted(filter(None, changes), key=_order)),
        tuple(lost),
        tuple(_differences(baseline, verdict)),
        _ties(baseline),
        _ties(verdict),
    )


def _require_same_model(verdict: Verdict, baseline: Verdict) -> None:
    """A verdict on another model has other fields; nothing can be said by it."""
    ours, theirs = _fields(verdict), _fields(baseline)
    if ours and theirs and not ours & theirs:
        raise RequestError(
            f"the baseline is of another model: its fields are {', '.join(sorted(theirs))}, those of this "
            f"file are {', '.join(sorted(ours))}; give the {PARITY_FILE} of this job"
        )


def _fields(verdict: Verdict) -> set[str]:
    return {check.field for check in verdict.checks if check.field is not None}


def _by_key(checks: Iterable[Check]) -> dict[Key, Check]:
    """The checks by what they are of; of several the one with the largest figure."""
    found: dict[Key, Check] = {}
    for check in checks:
        key = _key(check)
        if key not in found or not _figure(check) <= _figure(found[key]):
            found[key] = check
    return found


def _key(one: Check | Change) -> Key:
    return (one.name, one.leg, one.field)


def _figure(check: Check) -> float:
    return -1.0 if check.value is None else check.value


def _change(key: Key, before: Check | None, now: Check | None) -> Change | None:
    """What became of a check; None if it says nothing, because it is new and passes, or did not pass."""
    if now is None:
        assert before is not None
        if before.status != "pass" or before.name in IN_DOUBT | OF_ONE_COMMAND:
            return None
        return _told(key, before, None, None, "worse", "it passed in the baseline, and is not made any more")
    if before is None:
        return None if now.status in ("pass", "skipped") else _told(key, None, now, None, "new", "")
    allowed = _allowed(before, now)
    if before.status == "pass" and now.status == "skipped":
        said = "it passed in the baseline, and is skipped now"
        return _told(key, before, now, allowed, "worse", said)
    if before.value is None or now.value is None or allowed is None:
        worse = before.status == "pass" and now.status in ("fail", "error")
        return _told(key, before, now, None, "worse" if worse else "same", now.reason if worse else "")
    if now.value == before.value and now.status == before.status:
        return _told(key, before, now, allowed, "same", "")
    if not now.value <= allowed:
        said = f"it was {before.value:.3g} in the baseline, and noise explains up to {allowed:.3g}"
        return _told(key, before, now, allowed, "worse", said)
    return _told(key, before, now, allowed, "better" if now.value < before.value else "within", "")


def _allowed(before: Check, now: Check) -> float | None:
    """How far the figure of a check may rise above the baseline's."""
    if before.value is None or now.value is None:
        return None
    noise = NOISE.get(now.name)
    if noise is None:
        return before.value
    if not noise.of_limit or not before.limit or not now.limit:
        return noise.factor * max(before.value, noise.least)
    return noise.factor * max(before.value / before.limit, noise.least) * now.limit


def _told(
    key: Key, before: Check | None, now: Check | None, allowed: float | None, moved: Moved, said: str
) -> Change:
    return Change(
        *key,
        before=None if before is None else before.value,
        now=None if now is None else now.value,
        allowed=allowed,
        status_before="missing" if before is None else before.status,
        status_now="missing" if now is None else now.status,
        moved=moved,
        said=said,
    )


def _tightened(check: Check, change: Change | None) -> Check:
    """The check, failed if it got worse. One that failed by itself stays as it is."""
    if change is None or check.status in ("fail", "error"):
        return check
    limit = check.limit if change.allowed is None else change.allowed
    reason = f"{change.said}; {check.reason}" if check.reason else change.said
    return replace(check, status="fail", limit=limit, reason=reason)


def _order(change: Change) -> tuple[int, str, str]:
    """Worse ones first."""
    return (("worse", "new", "within", "better", "same").index(change.moved), change.name, change.field or "")


def _differences(baseline: Verdict, verdict: Verdict) -> Iterator[Differs]:
    before, now = (_flat(one.environment) for one in (baseline, verdict))
    if baseline.model_sha256 != verdict.model_sha256:
        yield Differs("model_sha256", baseline.model_sha256, verdict.model_sha256)
    for name in (*now, *(name for name in before if name not in now)):
        if before.get(name) != now.get(name):
            yield Differs(name, before.get(name), now.get(name))


def _flat(environment: Mapping[str, Any]) -> dict[str, Any]:
    """An environment with the versions of packages beside the rest."""
    versions = environment.get("versions")
    rest = {name: value for name, value in environment.items() if name != "versions"}
    return {**rest, **(versions if isinstance(versions, Mapping) else {})}


def _ties(verdict: Verdict) -> int:
    return sum(facts.decisions.tie_count for facts in verdict.facts if facts.decisions is not None)
