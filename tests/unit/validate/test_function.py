"""The function link, on legs that are arithmetic: what it sees that float32 cannot, and what it does not
count as a fault."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from contracts import contract
from numpy.typing import NDArray

from onnxproof.runtime.port import Port
from onnxproof.tensors import Dim, Field, TensorSpec
from onnxproof.validate.cases import Case, fewest
from onnxproof.validate.checks import linked
from onnxproof.validate.exact.constants import Proven
from onnxproof.validate.exact.errors import NotRunnableError, UnsupportedError
from onnxproof.validate.facts import Facts
from onnxproof.validate.function import function_checks
from onnxproof.validate.judge import judge, ranks_of
from onnxproof.validate.legs.leg import GRAPH, Answer, Arrays, Ports, Truth
from onnxproof.validate.sweep import measure, merge, settle
from onnxproof.validate.trial import Closer, Stated, Trial
from onnxproof.validate.verdict import Check, Verdict, conclude, link_lines

Array = NDArray[Any]

SPEC = TensorSpec("x", "float32", ("batch", 5), (0.0, 1.0))
OUT = TensorSpec("y", "float32", ("batch", 5))
CONTRACT = contract(
    inputs=(SPEC,), outputs=(OUT,), dims=(Dim("batch", 1, 8),), fields=(Field("y", "y", "px"),)
)
CASES = tuple(Case(f"{batch}-noise", {"batch": batch}, "noise", batch) for batch in (1, 2, 5, 8))
EVERY = frozenset(case.name for case in CASES)


@dataclass(frozen=True)
class Computing:
    """A leg that computes ``function`` of its input in float64, and answers in ``dtype``."""

    name: str
    function: Callable[[Array], Array]
    dtype: str = "float32"

    @property
    def ports(self) -> Ports:
        inputs, outputs = (Port(spec.name, spec.dtype, spec.shape) for spec in (SPEC, OUT))
        return Ports((inputs,), (outputs,))

    def run(self, inputs: Arrays) -> Answer:
        return Answer({"y": self.function(inputs["x"].astype(np.float64)).astype(self.dtype)}, {})


def noisy(scale: float) -> Callable[[Array], Array]:
    """Three times the input, with noise that depends on the input alone."""

    def function(x: Array) -> Array:
        seed = list(x.tobytes()[:16])
        return 3 * x + scale * np.random.default_rng(seed).normal(size=x.shape)

    return function


def judged(
    graph: Callable[[Array], Array],
    runtime: Callable[[Array], Array] | None = None,
    *,
    missing: Mapping[str, str] | None = None,
    rounding: Mapping[str, float] | Closer | None = None,
    cases: frozenset[str] = EVERY,
    planned: Sequence[Case] = CASES,
) -> Verdict:
    """The verdict on a file whose graph computes ``graph`` and whose runtime computes ``runtime``."""
    truth = Truth(Computing("torch-float64", noisy(0), "float64"), Computing("torch-float32", noisy(1e-6)))
    closer = (lambda cases, fields: rounding) if isinstance(rounding, Mapping) else rounding
    missing = missing or {}
    fields = tuple(field for field in CONTRACT.fields if field.output not in missing)
    stated = Stated(
        Computing("onnx-float64", graph, "float64"),
        (0,),
        cases if fields else frozenset(),
        replace(CONTRACT, fields=fields),
        missing,
        Proven({}, {}, ()),
        closer,
    )
    candidate = Computing("ort-cpu", runtime or noisy(1.1e-6))
    trial = Trial(CONTRACT, truth, (candidate,), tuple(planned), graphs=(stated,))
    facts, function = settle(trial, merge([measure(trial.on(case)) for case in reversed(planned)]))
    checks = (*function_checks(function, CONTRACT.fields), *judge(facts, ranks_of(CONTRACT.fields)))
    return Verdict(conclude(checks), checks, (facts,), tuple(planned), (), "", {}, function=function)


def check(verdict: Verdict, name: str) -> Check:
    (found,) = (check for check in verdict.checks if check.name == name)
    return found


def links(verdict: Verdict) -> dict[str, str]:
    return {link.link: link.status for link in verdict.links}


def test_a_graph_that_states_the_function_passes_far_below_float32s_error() -> None:
    verdict = judged(noisy(1e-15))
    assert links(verdict) == {"function": "pass", "runtime": "pass", "decisions": "skipped"}
    found = check(verdict, "function")
    assert found.value is not None
    assert 1e-11 < found.value < 1e-8
    assert verdict.passed


@pytest.mark.parametrize("scale", [1 + 1e-7, 1 + 1e-8], ids=["a-tenth-of-a-float32-error", "a-hundredth"])
def test_what_hides_below_float32s_noise_fails(scale: float) -> None:
    """The runtime computes the wrong graph well, and its float32 results show nothing."""
    verdict = judged(lambda x: 3 * x * scale, lambda x: noisy(1.1e-6)(x) * scale)
    assert check(verdict, "function").status == "fail"
    assert links(verdict) == {"function": "fail", "runtime": "pass", "decisions": "skipped"}
    assert verdict.status == "fail"


def test_a_wrong_graph_is_not_blamed_on_the_runtime() -> None:
    """The runtime's own error is measured from the graph that it computes."""
    verdict = judged(lambda x: 3.3 * x, lambda x: noisy(1.1e-6)(x) + 0.3 * x)
    assert links(verdict) == {"function": "fail", "runtime": "pass", "decisions": "skipped"}
    assert check(verdict, "ratio_rms").value == pytest.approx(1.1, abs=0.3)


def test_where_the_graph_was_not_evaluated_nothing_is_blamed_on_the_runtime_either() -> None:
    verdict = judged(
        lambda x: 3.3 * x, lambda x: noisy(1.1e-6)(x) + 0.3 * x, cases=frozenset({"5-noise", "8-noise"})
    )
    assert links(verdict) == {"function": "fail", "runtime": "pass", "decisions": "skipped"}


def test_a_runtime_that_errs_fails_by_its_own_link() -> None:
    verdict = judged(noisy(0), noisy(1e-5))
    assert links(verdict) == {"function": "pass", "runtime": "fail", "decisions": "skipped"}


def test_what_rounding_alone_moves_is_no_fault() -> None:
    """Constants that others rounded, or digits that cancel."""
    verdict = judged(noisy(1e-8), rounding={"y": 1e-7})
    found = check(verdict, "function")
    assert found.status == "pass"
    assert found.limit is not None
    assert 1e-3 < found.limit < 1
    assert f"the limit is 0.001 and {found.limit - 1e-3:.2g} that rounding alone moves it" in found.reason
    assert check(judged(noisy(1e-8), rounding={"y": 1e-12}), "function").status == "fail"


def test_a_yardstick_too_coarse_to_see_anything_is_skipped_and_not_passed() -> None:
    verdict = judged(noisy(1e-7), rounding={"y": 1e-5})
    assert check(verdict, "function").status == "skipped"
    assert links(verdict)["function"] == "skipped"


def test_what_rounding_does_on_flat_inputs_excuses_nothing_elsewhere() -> None:
    """A model may decide inside on an input of one value, and nowhere else."""
    flat = Case("5-black", {"batch": 5}, "black", 7)

    def of_flat(cases: Sequence[Case], fields: Sequence[Field]) -> Mapping[str, float]:
        return {"y": 1e3 if flat in cases else 1e-14}

    verdict = judged(
        lambda x: 3 * x * (1 + 1e-7), rounding=of_flat, cases=EVERY | {flat.name}, planned=(*CASES, flat)
    )
    found = [one for one in verdict.checks if one.name == "function"]
    assert [one.status for one in found] == ["fail", "skipped"]
    assert links(verdict)["function"] == "fail"


def test_an_output_beyond_the_evaluator_is_skipped_by_name() -> None:
    verdict = judged(noisy(0), missing={"y": "the evaluator in float64 has no Magic of opset 20"})
    found = check(verdict, "function")
    assert (found.status, found.field) == ("skipped", "y")
    assert "Magic" in found.reason
    assert links(verdict) == {"function": "skipped", "runtime": "pass", "decisions": "skipped"}


def raising(error: Exception, at: int) -> Callable[[Array], Array]:
    def function(x: Array) -> Array:
        if len(x) == at:
            raise error
        return 3 * x

    return function


def test_an_operator_that_only_values_reach_is_skipped_too() -> None:
    verdict = judged(raising(UnsupportedError("no Magic of opset 20"), at=5))
    statuses = {check.status for check in verdict.checks if check.name == "function"}
    assert statuses == {"pass", "skipped"}


def test_a_graph_that_refuses_a_declared_size_fails() -> None:
    verdict = judged(raising(NotRunnableError("the graph does not run on x [5, 5]"), at=5))
    assert links(verdict)["function"] == "fail"
    (found,) = (check for check in verdict.checks if check.name == "runs" and check.status == "fail")
    assert "[5, 5]" in found.reason
    assert found.reason.startswith("1 of 4 cases evaluated, first 5-noise: ")


@pytest.mark.parametrize(
    "graph",
    [
        pytest.param(lambda x: np.full_like(x, np.nan), id="nan"),
        pytest.param(lambda x: 3 * x[:, :4], id="another-shape"),
        pytest.param(lambda x: -3 * x, id="another-sign"),
    ],
)
def test_gross_faults_fail(graph: Callable[[Array], Array]) -> None:
    assert links(judged(graph))["function"] == "fail"


def test_the_document_loses_nothing() -> None:
    verdict = judged(noisy(1e-8), rounding={"y": 1e-7})
    document = json.loads(json.dumps(verdict.to_json()))
    assert [link["status"] for link in document["links"]] == ["pass", "pass", "skipped"]
    assert {check["link"] for check in document["checks"]} == {"function", "runtime"}
    again = Verdict.from_json(document)
    assert isinstance(again.function, Facts)
    assert again.to_json() == document
    assert link_lines(again) == link_lines(verdict)


def test_a_document_without_links_is_read() -> None:
    document = json.loads(json.dumps(judged(noisy(0)).to_json()))
    del document["links"], document["function"]
    for entry in document["checks"]:
        del entry["link"]
    assert Verdict.from_json(document).function is None


def test_each_link_is_a_line_in_words() -> None:
    lines = dict(
        zip(("function", "runtime"), (line for _, line in link_lines(judged(noisy(1e-15)))), strict=True)
    )
    assert "computes what the checkpoint computes, to " in lines["function"]
    assert lines["function"].endswith(" px)")
    assert "ONNX Runtime errs 1." in lines["runtime"]
    failed = link_lines(judged(lambda x: 3.3 * x))[0]
    assert failed[0] == "fail"
    assert "does not compute what the checkpoint computes" in failed[1]


def sizes(cases: Sequence[Case]) -> set[tuple[str, Any]]:
    return {pair for case in cases for pair in (*case.sizes.items(), ("content", case.kind))}


def test_the_graph_is_evaluated_at_every_size_and_content_in_a_quarter_of_the_work() -> None:
    cases = [
        Case(f"{h}x{w}-{content}", {"h": h, "w": w}, content, 0)
        for h in (64, 96, 640)
        for w in (64, 320, 640)
        for content in ("noise", "black")
    ]
    chosen = fewest(cases, 0.25)
    assert sizes(chosen) == sizes(cases)
    assert sum(c.sizes["h"] * c.sizes["w"] for c in chosen) < 0.3 * sum(
        c.sizes["h"] * c.sizes["w"] for c in cases
    )
    assert fewest(cases, 1.0) == tuple(cases)


def test_a_fault_at_a_size_on_which_the_graph_was_not_evaluated_is_the_functions() -> None:
    """The graph is evaluated where the candidate fails, so that no runtime is blamed, and none excused."""

    def wrong_at_eight(x: Array) -> Array:
        return 3 * x * (1.5 if len(x) == 8 else 1)

    verdict = judged(
        wrong_at_eight, lambda x: noisy(1.1e-6)(x) + wrong_at_eight(x) - 3 * x, cases=frozenset({"1-noise"})
    )
    assert links(verdict) == {"function": "fail", "runtime": "pass", "decisions": "skipped"}
    assert "8-noise" in check(verdict, "function").reason


def test_the_figure_speaks_for_a_link_that_fails_by_a_name_too() -> None:
    """A check that names a tensor comes first. How much is wrong is what the link's line tells."""
    small = Check("function", "fail", "", 0.5, 0.001, leg=GRAPH, field="box_xy")
    large = Check("function", "fail", "", 1.3, 0.001, leg=GRAPH, field="score")
    named = Check("folded", "fail", "conv.weight is not the fold", 1, 0)
    assert linked("function", (named, small, large)).check == large
    assert linked("function", (named,)).check == named


def test_the_line_tells_the_error_of_the_pictures_whose_ratio_it_tells() -> None:
    """A graph that is wrong on pictures of one value alone parts by what it is off there."""
    black = Case("3-black", {"batch": 3}, "black", 3)

    def wrong_there(x: Array) -> Array:
        return noisy(1e-16)(x) + (1.0 if len(x) == 3 else 0.0)

    verdict = judged(wrong_there, cases=frozenset({*EVERY, black.name}), planned=(*CASES, black))
    (line,) = [text for _, text in link_lines(verdict) if text.startswith("function")]
    assert line.endswith("(y 1.0e+00 px)")


ROWS_OFF = Check("function", "fail", "", 134.0, 0.001, leg=GRAPH, field="score")
BLIND = Check("function", "skipped", "rounding alone", 8e5, 2e7, leg=GRAPH, field="box")
RUNTIME_OFF = Check("ratio_rms", "fail", "", 8.4e5, 2.7, leg="ort-cpu", field="box")


@pytest.mark.parametrize(
    ("checks", "rows", "said"),
    [
        pytest.param((ROWS_OFF, RUNTIME_OFF), 9, "that is the file's own fault, see function", id="rows"),
        pytest.param(
            (replace(ROWS_OFF, field="box"), BLIND, RUNTIME_OFF),
            0,
            "the file's own fault may be in that, see function",
            id="the-same-field",
        ),
        pytest.param((BLIND, RUNTIME_OFF), 0, "is not shown, since function is skipped", id="blind"),
        pytest.param(
            (ROWS_OFF, RUNTIME_OFF), 0, "ONNX Runtime errs 8.4e+05 times", id="measured-from-the-graph"
        ),
    ],
)
def test_a_runtime_is_blamed_for_its_own_errors_alone(
    checks: tuple[Check, ...], rows: int, said: str
) -> None:
    base = judged(noisy(0))
    verdict = replace(base, status="fail", checks=checks, facts=(replace(base.facts[0], rows=rows),))
    (line,) = [text for _, text in link_lines(verdict) if text.startswith("runtime")]
    assert said in line
    assert ("ONNX Runtime errs" in line) == said.startswith("ONNX Runtime errs")


def test_the_line_names_a_field_that_parts_more_and_was_not_judged() -> None:
    verdict = replace(judged(noisy(0)), status="fail", checks=(ROWS_OFF, BLIND))
    assert link_lines(verdict)[0][1].endswith("; box parts by 8e+05 and is not judged")
