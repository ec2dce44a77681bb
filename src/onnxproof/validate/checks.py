"""Checks, the links of the proof that they belong to, and what they come to."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from onnxproof.validate.legs.leg import GRAPH

Status = Literal["pass", "fail", "error", "skipped"]
Link = Literal["function", "runtime", "decisions", "pipeline"]

LINKS: tuple[Link, ...] = get_args(Link)
"""The links of the proof, in order: the file states the checkpoint's function; the runtime computes the file
as well as PyTorch computes the model; both decide alike; a picture ends in the framework's decisions."""

RUNTIME_CHECKS = frozenset(
    "runs shapes finite ratio_rms ratio_max ratio_constant max_error flips compared kernels digits "
    "inputs".split()
)
FUNCTION_CHECKS = frozenset(("function", "flips", "rows"))
DECISION_CHECKS = frozenset(
    "held_back rows order decisions dataset pictures changed map_drop box score batches "
    "declared_sizes".split()
)

OWN_FAULT = "the file's own fault may be in that, see function"
"""What is said of a runtime's failure where the file does not state the function."""


@dataclass(frozen=True, slots=True)
class Check:
    """A measurement and its limit. ``leg`` and ``field`` are None for a check that is not about one."""

    name: str
    status: Status
    reason: str
    value: float | None = None
    limit: float | None = None
    leg: str | None = None
    field: str | None = None

    @property
    def link(self) -> Link:
        """The link of the proof that the check belongs to. What the file itself shows is its function."""
        if self.leg is not None and self.leg.endswith(GRAPH):
            return "function"
        if self.name in RUNTIME_CHECKS:
            return "runtime"
        if self.name == "pipeline":
            return "pipeline"
        return "decisions" if self.name in DECISION_CHECKS else "function"


@dataclass(frozen=True, slots=True)
class Linked:
    """What came of a link.

    ``check`` is the one that decides: of those that failed or could not be run, or else of those that passed,
    the one named as the link whose value is the largest share of its limit. If none is named so, it is the
    first that failed, or the passing one nearest to its limit. It is None if there is none.
    """

    link: Link
    status: Status
    check: Check | None

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        check = None if self.check is None else asdict(self.check)
        return {"link": self.link, "status": self.status, "check": check}


def linked(link: Link, checks: Iterable[Check]) -> Linked:
    """What came of a link, by all checks of a verdict.

    The function link passes only by values of a graph that was evaluated: other checks can only fail it. Of
    several checks that fail, the one that has the link's name says how much is wrong, and speaks for it.
    """
    own = [check for check in checks if check.link == link]
    for status in ("fail", "error"):
        there = [check for check in own if check.status == status]
        if there:
            chosen = max((check for check in there if check.name == link), key=_share, default=there[0])
            return Linked(link, chosen.status, chosen)
    if link == "function":
        own = [check for check in own if check.name in FUNCTION_CHECKS and check.leg is not None]
    passed = [check for check in own if check.status == "pass"]
    if passed:
        named = (link, "changed")  # a budget's check on decisions
        return Linked(link, "pass", max(passed, key=lambda check: (check.name in named, _share(check))))
    return Linked(link, "skipped", own[0] if own else None)


def _share(check: Check) -> float:
    """How much of its limit a value takes; a check without a limit takes none."""
    return -1.0 if check.value is None or not check.limit else check.value / check.limit


def conclude(checks: Iterable[Check]) -> Literal["pass", "fail", "error"]:
    """ "fail" if a check failed; "pass" if at least one passed and none is in error; "error" otherwise."""
    statuses = [check.status for check in checks]
    if "fail" in statuses:
        return "fail"
    return "pass" if "pass" in statuses and "error" not in statuses else "error"
