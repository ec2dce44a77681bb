"""JUnit and SARIF reports are read by the libraries that others read them with."""

import json

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped
from pydantic_sarif.model import StaticAnalysisResultsFormatSarifVersion210JsonSchema as Sarif
from verdicts import SUBJECT, WITHOUT_JOB, failing, many, passing

from onnxproof.cli._terminal import plain_text
from onnxproof.validate.report.entries import matrices
from onnxproof.validate.report.github import MOST, annotations_of_many
from onnxproof.validate.report.junit import junit, junit_of_many
from onnxproof.validate.report.many import many_table, markdown_of_many
from onnxproof.validate.report.sarif import sarif, sarif_of_many
from onnxproof.validate.report.subject import Subject


@pytest.mark.parametrize("subject", [SUBJECT, WITHOUT_JOB], ids=["job", "file"])
def test_sarif_is_of_its_schema(subject: Subject) -> None:
    for verdict in (failing(), passing()):
        document = json.loads(sarif(verdict, subject))
        read = Sarif.model_validate(document)
        assert len(read.runs[0].results or ()) == len(document["runs"][0]["results"])


def test_the_schema_refuses_what_is_no_sarif() -> None:
    document = json.loads(sarif(failing(), SUBJECT))
    document["runs"][0]["results"][0]["verdict"] = "fail"
    with pytest.raises(ValueError, match="verdict"):
        Sarif.model_validate(document)


def test_junit_is_read_as_it_is_meant() -> None:
    read = JUnitXml.fromstring(junit(failing(), SUBJECT).encode())
    (suite,) = read
    assert (suite.name, suite.tests, suite.failures, suite.errors, suite.skipped) == ("small", 4, 1, 1, 1)
    results = [[type(result) for result in case.result] for case in suite]
    assert results == [[], [Failure], [Error], [Skipped]]
    assert {case.classname for case in suite} == {
        f"small.{link}" for link in ("function", "runtime", "decisions", "pipeline")
    }


def test_many_jobs_are_one_sarif_run_of_its_schema() -> None:
    document = json.loads(sarif_of_many(many()))
    Sarif.model_validate(document)
    (run,) = document["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert [rules[result["ruleIndex"]] for result in run["results"]] == ["ratio_rms", "decisions", "job"]
    prints = [result["partialFingerprints"]["onnxproofCheck/v1"] for result in run["results"]]
    assert len(set(prints)) == len(prints)


def test_many_jobs_are_a_suite_each() -> None:
    read = JUnitXml.fromstring(junit_of_many(many()).encode())
    assert [suite.name for suite in read][:2] == [
        "small-opset_18-variant_nano",
        "small-opset_18-variant_tiny",
    ]
    assert (read.tests, read.failures, read.errors, read.skipped) == (13, 1, 2, 2)
    results = {suite.name: [type(one) for case in suite for one in case.result] for suite in read}
    assert results["small-opset_20-variant_tiny"] == [Failure, Error, Skipped]
    assert (results["model"], results["later"], results["unproven"]) == ([Error], [Skipped], [])


def test_annotations_of_many_are_not_more_than_github_shows() -> None:
    lines = annotations_of_many(many())
    assert len(lines) == 3
    assert lines[2].startswith("::error file=/elsewhere/a model.onnx,title=onnxproof model::checkpoint gone")
    flood = annotations_of_many(many() * 5)
    assert len(flood) == MOST
    assert "6 more annotations; 35 jobs" in flood[-1]


def test_many_jobs_are_a_table_and_a_matrix() -> None:
    (matrix,) = matrices(many())
    assert matrix.columns == ("nano", "tiny")
    text = plain_text(many_table(many()))
    lines = [line.split() for line in text.splitlines()]
    assert ["20", "pass", "fail"] in lines
    assert ["small-opset_18-variant_nano", "pass", "up", "to", "date", "22"] in lines
    assert any(line[:4] == ["small-opset_20-variant_tiny", "fail", "exported", "22"] for line in lines)
    told = markdown_of_many(many())
    assert told.startswith("# 7 jobs: 3 pass, 1 fail")
    assert "| 20 | pass | fail |" in told
    assert "## small-opset\\_20-variant\\_tiny: fail" in told
    assert "## later" not in told
