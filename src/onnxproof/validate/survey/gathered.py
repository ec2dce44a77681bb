"""Add up what is measured on many pictures, chunk by chunk, in memory that does not grow with them.

Of each picture whose decisions may have to be compared, only the name is kept. What is compared is read again
from the chunk's file when it is judged, since only then are the error bounds known.
"""

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass, field, replace

from onnxproof.errors import CheckError
from onnxproof.tensors import Field
from onnxproof.validate.compare.closest import Place
from onnxproof.validate.compare.decisions import DecisionPool, Pair
from onnxproof.validate.facts import Facts
from onnxproof.validate.judge import doubtful, facts_of, ranks_of
from onnxproof.validate.legs.leg import Answer, Arrays, Ports, Truth
from onnxproof.validate.policy import REPEATS, Policy
from onnxproof.validate.survey.measured import About, Measured, decoded
from onnxproof.validate.tally import Tally

TOLD = 32
"""Cases that are told one by one for each reason. More than a second look is taken at."""

Read = Callable[[str], bytes]
"""Reads what was measured of a chunk, by the chunk's name."""


@dataclass(frozen=True, slots=True)
class Again:
    """The pictures that a candidate's failure rests on, to be measured again ``replicas`` times each."""

    leg: int
    cases: tuple[str, ...]

    @property
    def replicas(self) -> int:
        """How many inputs next to each picture's own to measure on."""
        return REPEATS // len(self.cases)


class Gathered:
    """The sum of all chunks so far. Adding chunks in any order gives the same."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._tallies: tuple[Tally, ...] = ()
        self._filed: list[dict[str, _Filed]] = []
        self._about: About | None = None
        self._processors: set[str] = set()
        self._unread: dict[str, str] = {}
        self.pictures = 0
        self.unread_count = 0

    @property
    def about(self) -> About:
        """What was compared."""
        assert self._about is not None
        return self._about

    @property
    def processors(self) -> tuple[str, ...]:
        """The kinds of processors that took part, sorted."""
        return tuple(sorted(self._processors))

    @property
    def unread(self) -> tuple[tuple[str, str], ...]:
        """The first pictures by name that cannot be used, each with the reason."""
        return tuple(sorted(self._unread.items()))

    @property
    def tallies(self) -> tuple[Tally, ...]:
        """What was measured of each candidate."""
        return self._tallies

    def add(self, chunk: str, measured: Measured) -> None:
        """Add what was measured of a chunk. Raises CheckError if it was measured with other packages."""
        self._require_alike(measured.about)
        if not self._tallies:
            self._tallies = tuple(_emptied(tally) for tally in measured.tallies)
            self._filed = [_file(tally, self._read, leg) for leg, tally in enumerate(self._tallies)]
        self.pictures += measured.pictures
        self.unread_count += len(measured.unread)
        self._unread |= measured.unread
        self._unread = dict(sorted(self._unread.items())[:TOLD])
        for tally, other, filed in zip(self._tallies, measured.tallies, self._filed, strict=True):
            fresh = {kind: pool.pairs for kind, pool in _pools(other)}
            for _, pool in _pools(other):
                pool.pairs = {}
            tally.merge(other)
            for kind, pool in _pools(tally):
                certain = {place for place, pair in fresh[kind].items() if pool.is_certain(pair)}
                pool.matched += sum(fresh[kind][place].count for place in certain)
                filed[kind].note(chunk, fresh[kind].keys() - certain)
            tally.condense(TOLD)

    def add_again(self, again: Again, measured: Measured) -> None:
        """Add what a second look measured, in place of the errors of the pictures' own runs."""
        self._require_alike(measured.about)
        self._tallies[again.leg].merge(measured.tallies[again.leg])

    def forget(self, again: Again) -> None:
        """Drop the errors of the pictures that are looked at again: they were selected for being large."""
        for case in again.cases:
            self._tallies[again.leg].forget_errors(case)

    def doubt(self, leg: int, fields: tuple[Field, ...], policy: Policy) -> Again | None:
        """The second look to take at a candidate's failure. None if there is none, or it is beyond doubt."""
        cases = doubtful(self.facts(leg, policy), ranks_of(fields), policy)
        return Again(leg, cases) if cases else None

    def facts(self, leg: int, policy: Policy, repeated: tuple[str, ...] = ()) -> Facts:
        """The facts of a candidate on all pictures."""
        about, tally = self.about, self._tallies[leg]
        oracle = None if about.oracle is None else _Named(about.oracle)
        truth = Truth(oracle, _Named(about.reference), dict(about.oracle_missing))
        facts = facts_of(
            tally,
            _Named(about.legs[leg]),
            truth,
            self._order(tally),
            policy,
            interface=about.interfaces[leg],
            repeated=repeated,
        )
        fields = tuple(replace(one, by_case=()) for one in facts.fields)
        return replace(facts, fields=fields, cases=self.pictures)

    def _order(self, tally: Tally) -> list[str]:
        """The names of all pictures that are told of, sorted."""
        names = set(tally.pools.told)
        names |= {case for case, _ in (*tally.not_run, *tally.misshapen)}
        for _, pool in _pools(tally):
            names |= {case for case, _ in pool.pairs}
            names |= {case for margins in pool.margins.values() for case, _ in margins.places}
        return sorted(names)

    def _require_alike(self, about: About) -> None:
        self._processors.add(about.processor)
        same = replace(about, processor="")
        if self._about is None:
            self._about = same
        if same != self._about:
            differ = [key for key in About.__slots__ if getattr(same, key) != getattr(self._about, key)]
            raise CheckError(
                f"the workers do not measure the same: they differ in {', '.join(differ)}; give all the same "
                "packages, model and checkpoint"
            )


class _Filed(MutableMapping[Place, Pair]):
    """The evidence of pictures, which is in their chunks' files. The last file that was read is kept."""

    def __init__(self, read: Read, leg: int, kind: str) -> None:
        self._read, self._leg, self._kind = read, leg, kind
        self._chunks: dict[Place, str] = {}
        self._last: tuple[str, MutableMapping[Place, Pair]] = ("", {})

    def note(self, chunk: str, places: Iterable[Place]) -> None:
        """Note which pictures of a chunk may have to be compared."""
        self._chunks.update(dict.fromkeys(places, chunk))

    def __getitem__(self, place: Place) -> Pair:
        chunk = self._chunks[place]
        if chunk != self._last[0]:
            pool = dict(_pools(decoded(self._read(chunk)).tallies[self._leg]))[self._kind]
            self._last = (chunk, pool.pairs)
        return self._last[1][place]

    def __delitem__(self, place: Place) -> None:
        del self._chunks[place]

    def __setitem__(self, place: Place, pair: Pair) -> None:
        raise NotImplementedError("pairs are noted with their chunk")

    def __iter__(self) -> Iterator[Place]:
        return iter(self._chunks)

    def __len__(self) -> int:
        return len(self._chunks)


@dataclass(frozen=True, slots=True)
class _Named:
    """A leg that ran elsewhere: its name alone."""

    name: str
    ports: Ports = field(default_factory=lambda: Ports((), ()))

    def run(self, inputs: Arrays) -> Answer:
        raise NotImplementedError("it ran in another process")


def _pools(tally: Tally) -> Iterator[tuple[str, DecisionPool]]:
    for kind in ("decisions", "all_rows"):
        pool = getattr(tally, kind)
        if pool is not None:
            yield kind, pool


def _emptied(tally: Tally) -> Tally:
    """A tally of the same contract with nothing in it."""
    return Tally.of(tally.contract, oracle_missing=tally.pools.oracle_missing)


def _file(tally: Tally, read: Read, leg: int) -> dict[str, _Filed]:
    """Keep the evidence of a tally's pools in the chunks' files."""
    filed = {kind: _Filed(read, leg, kind) for kind, _ in _pools(tally)}
    for kind, pool in _pools(tally):
        pool.pairs = filed[kind]
    return filed
