"""Run every leg on every case and add up the errors, in memory that does not grow with the cases."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from onnxproof.counted import counted
from onnxproof.errors import CheckError
from onnxproof.progress import PERCENT, Progress, silent
from onnxproof.validate.answered import Answered, all_answered, answered
from onnxproof.validate.cases import Case, volume, work
from onnxproof.validate.exact.errors import ExactError, UnsupportedError
from onnxproof.validate.facts import Facts
from onnxproof.validate.function import settle_graphs, states
from onnxproof.validate.interface import interface_differences
from onnxproof.validate.judge import doubtful, facts_of, judge, ranks_of
from onnxproof.validate.legs.leg import Answer, Arrays, Leg
from onnxproof.validate.policy import REPEATS
from onnxproof.validate.pools import NOTHING
from onnxproof.validate.running import Run, ran_here, running
from onnxproof.validate.tally import Tally
from onnxproof.validate.trial import Stated, Trial

Watch = Callable[[Case, Answer, Sequence[Answer | None]], None]


def unwatched(case: Case, wanted: Answer, found: Sequence[Answer | None]) -> None:
    """The Watch that does nothing."""


def sweep(trial: Trial, *, progress: Progress = silent) -> tuple[Facts, ...]:
    """Measure all cases, judge, measure inputs next to the doubtful cases', and judge again.

    Returns the facts of each candidate. Raises as ``measure`` does.
    """
    return settle(trial, measure(trial, progress=progress), progress=progress)


def measure(trial: Trial, *, progress: Progress = silent, watch: Watch = unwatched) -> tuple[Tally, ...]:
    """Run the oracle, the reference, every graph and every candidate once on each case.

    Returns a tally per candidate, then one per graph. ``watch`` gets each case's answers: the reference's and
    the candidates'. The answer of a candidate is None if it failed or had another form than expected. Raises
    CheckError if there is no case or PyTorch itself cannot run one, UserCodeError if the module's own code
    raises.
    """
    if not trial.cases:
        raise CheckError("there is no case to compare on: declare dims or name pictures")
    missing = trial.truth.oracle_missing
    tallies = tuple(Tally.of(trial.contract, oracle_missing=missing) for _ in trial.candidates)
    stated = tuple(Tally.of(graph.contract, decide=False) for graph in trial.graphs)
    legs = len(trial.candidates) + len(trial.graphs) + 1 + (trial.truth.oracle is not None)
    stage = f"compare {len(trial.cases)} cases, {volume(trial.cases) / 1e6:.1f} million pixels, {legs} legs"
    works = [work(case) for case in trial.cases]
    whole, done = sum(works), 0.0
    with running(trial) as run, all_answered(trial) as answers:
        for one, cost in zip(answers, works, strict=True):
            progress(stage, int(PERCENT * done / whole), PERCENT)
            done += cost
            found = _measure_case(trial, one, range(len(trial.candidates)), tallies, stated, run)
            watch(one.case, one.wanted, found)
    progress(stage, PERCENT, PERCENT)
    return (*tallies, *stated)


def merge(parts: Sequence[tuple[Tally, ...]]) -> tuple[Tally, ...]:
    """Merge the tallies of a trial whose cases were measured in parts, in any order and in any process.

    Adds to the first part's tallies and returns them.
    """
    first, *others = parts
    for part in others:
        for tally, other in zip(first, part, strict=True):
            tally.merge(other)
    return first


def settle(
    trial: Trial, tallies: Sequence[Tally], *, progress: Progress = silent, second_look_if_wrong: bool = True
) -> tuple[Facts, ...]:
    """Judge the tallies of all cases. If a failure rests on few cases, take a second look and judge again.

    A second look measures the doubtful cases on inputs next to their own, and forgets the errors of their
    own runs: those were selected for being large. Bad luck does not repeat, nor do errors that only add up
    on constant pictures because every pixel rounds alike. Damage repeats.

    Where a candidate fails, its graph is evaluated too, so that a fault at one size is not taken for the
    runtime's. If a graph does not state the checkpoint's function, its candidates are judged by the cases on
    which the graph was evaluated before: there their errors are measured from the graph, and so are the
    runtime's own. A second look at them measures from the oracle, so that the file's fault shows in the
    runtime's errors, too. If ``second_look_if_wrong`` is false, they get none.
    """
    ranked = ranks_of(trial.contract.fields)
    count = len(trial.candidates)
    planned = trial.graphs
    tallies, graphs = tallies[:count], tallies[count:]
    facts = [facts_under(trial, leg, tally) for leg, tally in zip(trial.candidates, tallies, strict=True)]
    trial = replace(
        trial,
        graphs=tuple(
            _evaluated_where_it_fails(trial, graph, facts, tally, ranked)
            for graph, tally in zip(planned, graphs, strict=True)
        ),
    )
    stated = settle_graphs(trial, graphs)
    wrong: set[int] = set()
    for graph, one in zip(planned, stated, strict=True):
        if not states(one, graph.contract.fields):
            if not second_look_if_wrong:
                wrong |= set(graph.candidates)
            for index in graph.candidates:
                tallies[index].keep_errors(graph.cases)
                facts[index] = facts_under(trial, trial.candidates[index], tallies[index])
    doubts = [
        () if index in wrong else doubtful(one, ranked, trial.policy) for index, one in enumerate(facts)
    ]
    again = [case for case in trial.cases if any(case.name in names for names in doubts)]
    for done, case in enumerate(again):
        progress(f"look again at {len(again)} cases", done, len(again))
        _look_again(trial, case, tallies, doubts)
    settled = tuple(
        facts_under(trial, leg, tally, names) if names else found
        for leg, tally, names, found in zip(trial.candidates, tallies, doubts, facts, strict=True)
    )
    return (*settled, *stated)


def _evaluated_where_it_fails(
    trial: Trial,
    graph: Stated,
    facts: Sequence[Facts],
    tally: Tally,
    ranked: Mapping[str, str | None],
) -> Stated:
    """The graph, evaluated on the worst cases of its candidates' failures, too."""
    if not graph.contract.fields:
        return graph
    names: set[str] = set()
    for index in graph.candidates:
        own = facts[index]
        failed = {check.field for check in judge(own, ranked, trial.policy) if check.status == "fail"}
        names |= {one.worst_case for one in (*own.fields, *own.constant_fields) if one.name in failed}
        names |= {label.worst_case for label in own.labels if label.name in failed}
    more = [case for case in trial.cases if case.name in names - graph.cases]
    graph = replace(graph, cases=graph.cases | {case.name for case in more})
    for case in more:
        measure_graph(trial, graph, case, tally)
    return graph


def measure_graph(trial: Trial, graph: Stated, case: Case, tally: Tally) -> None:
    """Compare a graph of the trial alone with the oracle on a case, and add it to the graph's tally."""
    _measure_case(replace(trial, graphs=(graph,)), answered(trial, case), (), (), (tally,))


def _look_again(
    trial: Trial, case: Case, tallies: Sequence[Tally], doubts: Sequence[tuple[str, ...]]
) -> None:
    chosen = [index for index, names in enumerate(doubts) if case.name in names]
    replicas = {index: REPEATS // len(doubts[index]) for index in chosen}
    for index in chosen:
        tallies[index].forget_errors(case.name)
    for replica in range(1, max(replicas.values()) + 1):
        wanting = [index for index in chosen if replica <= replicas[index]]
        measure_replica(trial, replace(case, replica=replica), wanting, tallies)


def measure_replica(trial: Trial, case: Case, chosen: Sequence[int], tallies: Sequence[Tally]) -> None:
    """Compare the ``chosen`` candidates on an input next to a case's own, and add it to their tallies."""
    _measure_case(trial, answered(trial, case), chosen, tallies)


def _measure_case(
    trial: Trial,
    one: Answered,
    chosen: Sequence[int],
    tallies: Sequence[Tally],
    stated: Sequence[Tally] = (),
    run: Run = ran_here,
) -> list[Answer | None]:
    """Run the graphs of ``stated`` and the ``chosen`` candidates on a case that PyTorch has answered.

    Returns the candidates' answers as ``Tally.add`` does. A candidate's errors are measured from its graph,
    or from the oracle if the graph was not evaluated.
    """
    case, arrays, wanted, exact = one.case, one.arrays, one.wanted, one.exact
    kept = counted(trial.contract, arrays, exact.outputs)
    ran = [run(trial.candidates[index], one) for index in chosen]
    own: dict[int, Arrays] = {}
    for graph, tally in zip(trial.graphs if stated else (), stated, strict=True):
        answer = _evaluated(graph, case, arrays, tally) if case.name in graph.cases else None
        if answer is None:
            continue
        answered = tally.add(case, exact, wanted, answer, kept, like=_outputs_of(graph, exact))
        if answered is not None:
            own |= dict.fromkeys(graph.candidates, answered.outputs)
    return [
        tallies[index].add(case, exact, wanted, answer(), kept, stated=own.get(index, NOTHING))
        for index, answer in zip(chosen, ran, strict=True)
    ]


def _evaluated(graph: Stated, case: Case, arrays: Arrays, tally: Tally) -> Answer | str | None:
    """The answer of a graph in float64, or why it does not run. None if the evaluator cannot do it."""
    try:
        return _outputs_of(graph, graph.leg.run(arrays))
    except UnsupportedError as error:
        tally.beyond[case.name, case.replica] = str(error)
        return None
    except ExactError as error:
        return str(error)


def _outputs_of(graph: Stated, answer: Answer) -> Answer:
    """An answer without the outputs that are not compared with the graph's."""
    kept = {name: array for name, array in answer.outputs.items() if name not in graph.missing}
    return replace(answer, outputs=kept)


def facts_under(trial: Trial, leg: Leg, tally: Tally, repeated: tuple[str, ...] = ()) -> Facts:
    """The facts of a candidate's tally under the trial's policy, on the cases that it runs."""
    return facts_of(
        tally,
        leg,
        trial.truth,
        [case.name for case in trial.cases if case.name not in trial.sought],
        trial.policy,
        interface=interface_differences(trial.contract, leg),
        pictures_named=any(case.picture is not None for case in trial.cases),
        repeated=repeated,
    )
