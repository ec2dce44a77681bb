"""Judge what came of many pictures."""

from collections.abc import Mapping

from onnxproof.validate.judge import judge
from onnxproof.validate.policy import FLOAT_FLOOR, Policy
from onnxproof.validate.survey.figures import PictureFigures
from onnxproof.validate.verdict import Check, Status

FAILED: tuple[Status, ...] = ("fail", "error")


def judge_pictures(
    found: PictureFigures, fields_ranked: Mapping[str, str | None], policy: Policy = FLOAT_FLOOR
) -> Check:
    """The check on one candidate and many pictures: everything that ``judge`` checks, as one.

    Its value counts the checks that failed. Pictures that cannot be read are told; they prove nothing.
    """
    facts = found.facts
    if not found.pictures:
        reason = f"none of {found.unread} pictures can be read"
        if found.first_unread:
            reason += f", first {found.first_unread[0].case}: {found.first_unread[0].reason}"
        return Check("pictures", "error", reason, leg=facts.leg)
    checks = judge(facts, fields_ranked, policy)
    told = _told_of_pictures(found)
    for status in FAILED:
        bad = [check for check in checks if check.status == status]
        if bad:
            first = bad[0]
            what = f"{first.name} {first.field}" if first.field else first.name
            figure = "" if not first.limit else f" ({first.value:.3g}, limit {first.limit:.3g})"
            reason = f"{what}: {first.reason}{figure}; {told}"
            return Check("pictures", status, reason, float(len(bad)), 0.0, facts.leg)
    return Check("pictures", "pass", told, 0.0, 0.0, facts.leg)


def _told_of_pictures(found: PictureFigures) -> str:
    facts, parts = found.facts, [f"{found.pictures} pictures"]
    if facts.decisions is not None:
        decided = facts.decisions
        parts.append(f"{decided.matched} matched, {decided.tie_count} ties, {decided.defect_count} defects")
    failed = len(facts.not_run) + found.more_not_run, len(facts.misshapen) + found.more_misshapen
    parts += [
        f"{count} {what}" for count, what in zip(failed, ("not run", "misshapen"), strict=True) if count
    ]
    if found.unread:
        parts.append(f"{found.unread} more cannot be read")
    return ", ".join(parts)
