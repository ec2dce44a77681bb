"""JUnit and SARIF reports are read by the libraries that others read them with."""

import json

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped
from pydantic_sarif.model import StaticAnalysisResultsFormatSarifVersion210JsonSchema as Sarif
from verdicts import SUBJECT, WITHOUT_JOB, failing, passing

from onnxproof.validate.report.junit import junit
from onnxproof.validate.report.sarif import sarif
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
