"""Which runtimes a file is tried in, what is said of those that are absent, and the table of them."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from contracts import contract
from rich.console import Console
from verdicts import SUBJECT

from onnxproof.errors import ModelFileError, RequestError
from onnxproof.runtime.port import Port
from onnxproof.runtime.session import VERSION
from onnxproof.tensors import Dim, Field, TensorSpec
from onnxproof.validate.cases import Case
from onnxproof.validate.judge import judge
from onnxproof.validate.legs.leg import Answer, Arrays, Ports, Truth
from onnxproof.validate.policy import LoweredFloor
from onnxproof.validate.report.markdown import markdown
from onnxproof.validate.report.runtimes import runtime_cells, runtime_lines
from onnxproof.validate.report.table import verdict_table
from onnxproof.validate.runtimes import asked, known
from onnxproof.validate.runtimes.asked import opened, plan_runtimes
from onnxproof.validate.runtimes.known import Candidate
from onnxproof.validate.runtimes.row import RuntimeRow
from onnxproof.validate.sweep import sweep
from onnxproof.validate.trial import Trial
from onnxproof.validate.verdict import Check, Verdict, conclude

SPEC = TensorSpec("x", "float32", ("batch", 64), (0, 1))
OUT = TensorSpec("y", "float32", ("batch", 64))
PORTS = Ports(*((Port(spec.name, spec.dtype, spec.shape),) for spec in (SPEC, OUT)))
CASES = tuple(Case(f"{batch}-noise", {"batch": batch}, "noise", batch) for batch in (1, 2, 4))
CONTRACT = contract(inputs=(SPEC,), outputs=(OUT,), dims=(Dim("batch", 1, 4),), fields=(Field("y", "y", ""),))
FILE = Path("model.onnx")


class Squares:
    """A leg that computes in float32 or float64, times a factor."""

    ports = PORTS

    def __init__(self, name: str, dtype: str = "float32", factor: float = 1.0) -> None:
        self.name, self.dtype, self.factor = name, np.dtype(dtype), factor

    def run(self, inputs: Arrays) -> Answer:
        x = inputs["x"].astype(self.dtype)
        return Answer({"y": (x * x + self.dtype.type(0.1)) * self.dtype.type(self.factor)}, {})


def candidate(name: str, *, factor: float = 1.0, note: str = "") -> Candidate:
    """A runtime that computes as it should, or not."""
    row = RuntimeRow(name, name.title(), "1.0", "CPU", "f32")
    return Candidate(
        row, lambda file, contract, threads: (Squares(name, factor=factor), replace(row, note=note))
    )


def refusing(name: str) -> Candidate:
    row = RuntimeRow(name, name.title())

    def open_leg(file: Path, contract: object, threads: int) -> tuple[Squares, RuntimeRow]:
        raise ModelFileError(f"{name} does not take the file: no Erf in {file}")

    return Candidate(row, open_leg)


def verdict(*candidates: Candidate) -> Verdict:
    """The verdict of a trial in some runtimes."""
    beside = opened(candidates, FILE, CONTRACT, 1)
    trial = Trial(CONTRACT, Truth(Squares("exact", "float64"), Squares("torch")), beside.legs, CASES)
    facts = sweep(trial) if beside.legs else ()
    checks = [*beside.skipped, *(check for one in facts for check in judge(one, {}))]
    status = conclude(checks)
    return Verdict(status, tuple(checks), facts, CASES, (), "", {}, runtimes=beside.rows)


def test_onnx_runtime_is_tried_at_each_level() -> None:
    legs = [one.row for one in plan_runtimes(["ort"])]
    assert [one.leg for one in legs] == ["ort-cpu-none", "ort-cpu-basic", "ort-cpu-extended", "ort-cpu"]
    assert {one.version for one in legs} == {VERSION}
    assert legs[-1].where == "CPU, all"


def test_names_may_stand_in_a_list_or_between_commas_and_count_once() -> None:
    one, other = (
        [found.row.leg for found in plan_runtimes(names)]
        for names in (["ort, reference,,ort,"], ["ort", "reference", "ort"])
    )
    assert one == other
    assert one[-1] == "reference"


def test_nothing_is_tried_if_nothing_is_asked_for() -> None:
    assert plan_runtimes([]) == ()


def test_a_provider_alone_asks_for_its_runtime() -> None:
    assert {one.row.runtime for one in plan_runtimes([], ["CPUExecutionProvider"])} == {"ONNX Runtime"}


def test_an_unknown_runtime_is_refused_with_what_there_is() -> None:
    with pytest.raises(RequestError, match=r'there are: ort, ort-web, openvino, .*did you mean "openvino"'):
        plan_runtimes(["openvin"])


def test_a_provider_that_is_not_there_is_refused_with_what_there_is() -> None:
    with pytest.raises(RequestError, match=r'"NoneExecutionProvider" is not in .* there are: .*CPUExecution'):
        plan_runtimes(["ort"], ["NoneExecutionProvider"])


def test_a_device_that_is_not_there_is_refused_with_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "is_there", lambda name: False)
    with pytest.raises(
        RequestError, match=r'"NPU" is not there; ONNX Runtime has .*OpenVINO is not installed'
    ):
        plan_runtimes(["openvino"], ["NPU"])


@pytest.mark.parametrize(
    ("name", "told"),
    [
        pytest.param("openvino", "pip install 'onnxproof[openvino]'", id="openvino"),
        pytest.param("openvino-auto", "pip install 'onnxproof[openvino]'", id="openvino-as-it-chooses"),
        pytest.param("reference", "pip install 'onnxproof[export]'", id="reference"),
    ],
)
def test_an_absent_runtime_is_skipped_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, name: str, told: str
) -> None:
    monkeypatch.setattr(known, "is_there", lambda name: False)
    found = verdict(*plan_runtimes([name]))
    (check,) = found.checks
    assert check.status == "skipped"
    assert check.leg == found.runtimes[0].leg
    assert told in check.reason
    assert found.status == "error", "nothing was compared"
    assert told in runtime_cells(found)[0][-1]
    assert runtime_cells(found)[0][-1].startswith("skipped: ")


def test_each_runtime_has_its_own_row_and_a_wrong_one_fails_alone() -> None:
    found = verdict(candidate("right", note="sums otherwise"), candidate("wrong", factor=1.001))
    assert found.status == "fail"
    right, wrong = runtime_cells(found)
    assert (right[0], right[1], right[-1]) == ("Right 1.0", "CPU, f32", "pass")
    assert right[2].startswith("pass: ")
    assert wrong[-1] == "fail"
    assert wrong[2].startswith("fail: ")
    assert "right: sums otherwise" in runtime_lines(found)


def test_a_runtime_that_does_not_take_the_file_fails_and_says_why() -> None:
    found = verdict(refusing("picky"))
    assert found.status == "fail"
    (check,) = (one for one in found.checks if one.name == "runs")
    assert check.status == "fail"
    assert "picky does not take the file: no Erf in model.onnx" in check.reason
    assert runtime_cells(found)[0][-1] == "fail"


def test_a_leg_that_is_known_is_not_opened_again() -> None:
    assert opened([refusing("picky")], FILE, CONTRACT, 1, known=["picky"]).rows == ()


def test_the_table_survives_the_document() -> None:
    found = verdict(candidate("right", note="sums otherwise"), candidate("wrong", factor=1.001))
    document = found.to_json()
    assert [row["status"] for row in document["runtimes"]] == ["pass", "fail"]
    assert [link["link"] for link in document["runtimes"][0]["links"]] == ["runtime", "decisions"]
    again = Verdict.from_json(document)
    assert again.runtimes == found.runtimes
    assert again.to_json() == document
    assert runtime_cells(again) == runtime_cells(found)


def test_markdown_has_the_table() -> None:
    found = verdict(candidate("right", note="sums otherwise"), candidate("wrong", factor=1.001))
    page = markdown(found, SUBJECT)
    assert "## Runtimes" in page
    assert "| Right 1.0 | CPU, f32 | pass: " in page
    assert "Errors are in ratio to what PyTorch errs in float32." in page
    assert "- right: sums otherwise" in page
    assert "## Runtimes" not in markdown(replace(found, runtimes=()), SUBJECT)


def test_html_has_the_table() -> None:
    html = pytest.importorskip("onnxproof.validate.report.html", reason="jinja2 is not installed").html
    found = verdict(candidate("right", note="sums otherwise"))
    assert '<th scope="row">Right 1.0</th>' in html(found, SUBJECT)
    assert "sums otherwise" in html(found, SUBJECT)
    assert "Table of runtimes" not in html(replace(found, runtimes=()), SUBJECT)


def test_the_table_says_what_its_errors_are_divided_by() -> None:
    found = replace(verdict(candidate("right")), policy=LoweredFloor().to_json())
    unit = "in ratio to what rounding to the neighbouring step costs"
    assert f"Errors are {unit}." in markdown(found, SUBJECT)
    printed = io.StringIO()
    Console(file=printed, width=200).print(verdict_table(found))
    assert f"the file in each runtime, errors {unit}" in printed.getvalue()


def test_the_status_of_a_leg_that_has_no_check_is_skipped() -> None:
    found = replace(verdict(candidate("right")), checks=(Check("x", "pass", ""),))
    assert found.of_leg("right")[0] == "skipped"


def test_commas_alone_name_no_runtime() -> None:
    with pytest.raises(RequestError, match="no runtime is named; there are: ort, "):
        plan_runtimes([","])
