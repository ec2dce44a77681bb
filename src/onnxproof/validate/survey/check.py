"""Judge what came of many pictures."""

from collections.abc import Mapping, Sequence

from onnxproof.validate.checks import Check, Status
from onnxproof.validate.facts import Failure
from onnxproof.validate.judge import judge
from onnxproof.validate.policy import FLOAT_FLOOR, Policy
from onnxproof.validate.survey.figures import PictureFigures

FAILED: tuple[Status, ...] = ("fail", "error")


def judge_pictures(
    found: PictureFigures, fields_ranked: Mapping[str, str | None], policy: Policy = FLOAT_FLOOR
) -> Check:
    """The check on one candidate and many pictures: everything that ``judge`` checks, as one.

    Its value counts the checks that failed. If none failed, and some pictures cannot be used, it is an error.
    """
    facts = found.facts
    if not found.pictures:
        return unread_check(found.unread, 0, found.first_unread, leg=facts.leg)
    checks = judge(facts, fields_ranked, policy)
    told = _told_of_pictures(found)
    for status in FAILED:
        bad = [check for check in checks if check.status == status]
        if bad:
            first = bad[0]
            what = f"{first.name} {first.field}" if first.field else first.name
            figure = "" if not first.limit else f" ({first.value:.3g}, limit {first.limit:.3g})"
            more = f", {found.unread} more cannot be used" if found.unread else ""
            reason = f"{what}: {first.reason}{figure}; {told}{more}"
            return Check("pictures", status, reason, float(len(bad)), 0.0, facts.leg)
    if found.unread:
        return unread_check(found.unread, found.pictures, found.first_unread, leg=facts.leg, told=told)
    return Check("pictures", "pass", told, 0.0, 0.0, facts.leg)


def unread_check(
    count: int, judged: int, first: Sequence[Failure], *, leg: str | None = None, told: str = ""
) -> Check:
    """The check on pictures of which ``count`` cannot be used, and ``judged`` were judged.

    ``first`` are the first of those that cannot be used, ``told`` is what came of the others.
    """
    reason = f"{count} of {count + judged} pictures cannot be used, so nothing is proved on them"
    if first:
        reason += f", first {first[0].case}: {first[0].reason}"
    return Check("pictures", "error", f"{reason}; {told}" if told else reason, leg=leg)


def _told_of_pictures(found: PictureFigures) -> str:
    facts, parts = found.facts, [f"{found.pictures} pictures"]
    if facts.decisions is not None:
        decided = facts.decisions
        parts.append(f"{decided.matched} matched, {decided.tie_count} ties, {decided.defect_count} defects")
    failed = len(facts.not_run) + found.more_not_run, len(facts.misshapen) + found.more_misshapen
    parts += [
        f"{count} {what}" for count, what in zip(failed, ("not run", "misshapen"), strict=True) if count
    ]
    return ", ".join(parts)
