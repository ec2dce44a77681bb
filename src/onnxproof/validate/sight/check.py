"""The check ``pipeline``, and the verdict with it."""

from collections.abc import Mapping
from dataclasses import replace

from onnxproof.contract import Preprocess
from onnxproof.progress import Progress, silent
from onnxproof.validate.checks import Status
from onnxproof.validate.legs.leg import Leg
from onnxproof.validate.sight.differences import DIFFERS
from onnxproof.validate.sight.facts import Sight
from onnxproof.validate.sight.link import see
from onnxproof.validate.tally import Tally
from onnxproof.validate.trial import Plan, Trial
from onnxproof.validate.verdict import Check, Verdict, conclude
from onnxproof.wrappers.family import WrappedModel

PIPELINE = "pipeline"


def with_pipeline(
    verdict: Verdict,
    model: WrappedModel,
    plan: Plan,
    trial: Trial,
    candidate: Leg,
    tally: Tally | None,
    *,
    progress: Progress = silent,
) -> Verdict:
    """The verdict on a file with the link ``pipeline``; the same verdict if the model takes no picture.

    ``candidate`` runs the file, and ``tally`` is what was measured of it: None if nothing was.
    """
    spec = model.contract.preprocess
    if spec is None:
        return verdict
    sight = None
    reason = _why_not(verdict, model, plan, tally)
    check = Check(PIPELINE, "skipped", reason or "")
    if reason is None:
        assert tally is not None
        assert not isinstance(model.own, str)
        pictures = plan.pictures
        sound = not any(
            check.status in ("fail", "error") and check.link in ("function", "runtime", "decisions")
            for check in verdict.checks
        )
        try:
            sight = see(
                model.contract,
                candidate,
                trial.truth.reference,
                model.own(),
                pictures,
                _bounds(tally, trial),
                sound=sound,
                progress=progress,
            )
            check = _judge(sight, spec)
        except Exception as error:  # noqa: BLE001 - the framework is others' code, and may raise anything
            said = " ".join(str(error).split())
            check = Check(PIPELINE, "error", f"it could not be run: {type(error).__name__}: {said}")
    checks = (*verdict.checks, check)
    return replace(verdict, checks=checks, status=conclude(checks), pipeline=sight)


def failed_in_pipeline(verdict: Verdict, why: str) -> Verdict:
    """The verdict with the link ``pipeline`` failed by what the file shows of itself, whatever its pictures
    show. What differs on these is told behind ``why``."""
    old = next((check for check in verdict.checks if check.name == PIPELINE), None)
    check = Check(PIPELINE, "fail", why)
    if old is not None and old.status == "fail":
        check = replace(old, reason=f"{why}: {old.reason}")
    checks = (*(one for one in verdict.checks if one.name != PIPELINE), check)
    return replace(verdict, checks=checks, status=conclude(checks))


def _why_not(verdict: Verdict, model: WrappedModel, plan: Plan, tally: Tally | None) -> str | None:
    """Why the link is skipped. Returns None if it is not."""
    if isinstance(model.own, str):
        return model.own
    if plan.settings.images is None:
        return "no pictures are named (validate.images)"
    if model.contract.task not in DIFFERS or tally is None:
        return f"decisions of the task {model.contract.task} are not compared with a framework's"
    if model.contract.preprocess is not None and model.contract.preprocess.network is not None:
        return "the graph fits pictures itself, so that the other links judge how (wrapper.resize)"
    if len(model.contract.inputs) > 1:
        return "the model takes more than a picture"
    if any(check.name in ("runs", "interface") and check.status != "pass" for check in verdict.checks):
        return "the file does not run on every case"
    return None


def _bounds(tally: Tally, trial: Trial) -> Mapping[str, float]:
    """How far the float error that the policy allows moves each quantity of the task."""
    pool = tally.decisions
    if pool is None:  # nothing is decided from a map
        return {}
    return {
        name: trial.policy.bound(extremes, has_oracle=pool.has_oracle)
        for name, extremes in pool.quantities.items()
    }


def _judge(sight: Sight, spec: Preprocess) -> Check:
    if not sight.pictures:
        return Check(
            PIPELINE,
            "skipped",
            f"asked for pictures of {spec.size} px (predict.size), {sight.own} gives the network none of a "
            f"size that the file declares: height {spec.height}, width {spec.width}",
        )
    counts = f"{sight.matched} matched, {sight.ties} ties, {sight.differences} differences"
    told = f"{counts} on {sight.pictures} pictures, against {sight.own}"
    causes = "; ".join(f"{cause.what}: {cause.why}" for cause in sight.causes if not cause.tied)
    if not sight.decisions and not sight.differences:
        return Check(PIPELINE, "skipped", f"{sight.own} decided nothing on {sight.pictures} pictures")
    status: Status = "pass" if sight.differences <= 0 else "fail"
    reason = f"{causes} ({told})" if causes else told
    return Check(PIPELINE, status, reason, float(sight.differences), 0.0)
