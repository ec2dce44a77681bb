"""What the reports say of a verdict, and that nothing in it breaks their form."""

import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from contracts import manifest
from verdicts import (
    HOSTILE,
    HOSTILE_CHECK,
    JOB,
    PASSED,
    RATIO,
    SKIPPED,
    SUBJECT,
    WITHOUT_JOB,
    cases,
    failing,
    made,
    passing,
)

from onnxproof.contract import ClassInfo, Preprocess
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.validate.report.card import card
from onnxproof.validate.report.charts import heat_maps, histograms
from onnxproof.validate.report.github import MOST, annotations
from onnxproof.validate.report.junit import junit
from onnxproof.validate.report.markdown import escaped, markdown
from onnxproof.validate.report.sarif import sarif
from onnxproof.validate.report.subject import lines_of
from onnxproof.validate.report.words import headline
from onnxproof.validate.verdict import Check, Verdict


def test_the_document_keeps_what_reports_need() -> None:
    verdict = failing()
    assert Verdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict


def test_lines_are_those_of_the_keys() -> None:
    lines, text = lines_of(JOB), JOB.splitlines()
    assert {key: text[line - 1] for key, line in lines.items()} == {
        "name": 'name = "small"',
        "model": "[model]",
        "model.family": 'family = "yolox"',
        "model.checkpoint": 'checkpoint = "model.pth"',
        "dims": "[dims]",
        "dims.batch": 'batch = "1..2"',
        "export": "[export]",
        "export.opset": "opset = 20",
        "validate": "[validate]",
        "validate.images": "images = '''",
        "validate.predict.size": '"predict.size" = 3',
    }


@pytest.mark.parametrize(
    ("check", "line"),
    [
        (Check("opset", "fail", ""), 12),
        (Check("interface", "fail", "", leg="ort-cpu"), 8),
        (RATIO, 13),
        (Check("decisions", "fail", ""), 14),
        (Check("weights", "fail", ""), 11),
        (Check("pipeline", "fail", ""), 14),
    ],
    ids=lambda value: value.name if isinstance(value, Check) else "",
)
def test_a_check_is_shown_on_the_line_it_is_about(check: Check, line: int) -> None:
    assert SUBJECT.place(check) == ("configs/small job.toml", line)
    assert WITHOUT_JOB.place(check) == ("/elsewhere/a model.onnx", None)


def test_an_empty_job_has_one_line() -> None:
    assert replace(SUBJECT, lines={}).place(RATIO) == ("configs/small job.toml", 1)


def test_the_headline_names_the_first_link_that_failed() -> None:
    assert headline(failing()).startswith("Fail: 1 of 4 checks failed, first in the link runtime")
    assert headline(passing()) == "Pass: the file is proven right by 2 checks."
    assert headline(made(HOSTILE_CHECK, status="error")).startswith("No verdict: 1 of 1 checks could not")
    assert headline(made(SKIPPED, status="error")).startswith("No verdict: no check passed")


def test_junit_has_a_case_for_each_check() -> None:
    suite = ElementTree.fromstring(junit(failing(), SUBJECT)).find("testsuite")
    assert suite is not None
    counted = {key: suite.get(key) for key in ("name", "tests", "failures", "errors", "skipped", "time")}
    assert counted == {
        "name": "small",
        "tests": "4",
        "failures": "1",
        "errors": "1",
        "skipped": "1",
        "time": "21.750",
    }
    cases = {case.get("name"): case for case in suite.findall("testcase")}
    assert list(cases) == ["opset", "ratio_rms score (ort-cpu)", "decisions (ort-cpu)", "pipeline"]
    failed = cases["ratio_rms score (ort-cpu)"]
    assert (failed.get("classname"), failed.get("line")) == ("small.runtime", "13")
    failure = failed.find("failure")
    assert failure is not None
    assert failure.get("message") == "1.23e+04 (limit 2.7): largest error 0.049 in 2x96x64-noise"
    assert "do: try validate.optimization" in (failure.text or "")
    assert [child.tag for child in cases["decisions (ort-cpu)"]] == ["error"]
    assert [child.tag for child in cases["pipeline"]] == ["skipped"]
    assert not list(cases["opset"])


def test_sarif_has_a_result_for_what_did_not_pass_and_a_rule_for_each_kind() -> None:
    (run,) = json.loads(sarif(failing(), SUBJECT))["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["decisions", "opset", "pipeline", "ratio_rms"]
    ratio, decisions = run["results"]
    assert (ratio["ruleId"], ratio["level"], decisions["level"]) == ("ratio_rms", "error", "warning")
    assert rules[ratio["ruleIndex"]]["help"]["text"].count("What to do: try validate.optimization") == 1
    assert ratio["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "configs/small%20job.toml", "uriBaseId": "%SRCROOT%"},
                "region": {"startLine": 13},
            }
        }
    ]
    assert run["properties"]["verdict"] == "fail"


def test_without_a_job_sarif_is_on_the_model() -> None:
    (run,) = json.loads(sarif(failing(), WITHOUT_JOB))["runs"]
    (location,) = run["results"][0]["locations"]
    assert location == {"physicalLocation": {"artifactLocation": {"uri": "file:///elsewhere/a%20model.onnx"}}}


def test_a_pass_annotates_nothing() -> None:
    assert annotations(passing(), SUBJECT) == ()
    assert json.loads(sarif(passing(), SUBJECT))["runs"][0]["results"] == []


def test_annotations_are_one_line_each_and_escaped() -> None:
    first, second = annotations(failing(), SUBJECT)
    assert first == (
        "::error file=configs/small job.toml,line=13,title=onnxproof small%3A ratio_rms score (ort-cpu)"
        "::1.23e+04 (limit 2.7): largest error 0.049 in 2x96x64-noise"
    )
    for line in (first, second):
        assert re.fullmatch(r"::error [^\r\n]*?::[^\r\n]*", line)
    assert "100%25" in second
    assert "\x1b" not in second


def test_a_colon_or_comma_in_a_path_ends_no_property() -> None:
    (line,) = annotations(made(RATIO), replace(SUBJECT, job="a,b:c%.toml"))
    assert line.startswith("::error file=a%2Cb%3Ac%25.toml,line=13,title=")


def test_only_so_many_annotations_are_written_as_github_shows() -> None:
    lines = annotations(made(*(RATIO,) * 30), SUBJECT)
    assert len(lines) == MOST
    assert lines[-1].endswith("::21 more checks did not pass")


def test_a_verdict_without_a_failed_check_is_annotated_too() -> None:
    (line,) = annotations(made(SKIPPED, status="error"), SUBJECT)
    assert "No verdict: no check passed" in line


def test_nothing_in_a_reason_is_markup() -> None:
    text = markdown(failing(), SUBJECT)
    assert "<script" not in text.replace(r"\<script", "")
    assert "\x1b" not in text
    assert escaped("a|b\nc") == r"a\|b\\nc"
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} <= {3, 4, 5, 7}
    assert "ratio\\_rms score" in text
    assert "### Defects" in text


def test_the_same_verdict_gives_the_same_markdown() -> None:
    assert markdown(passing(), SUBJECT) == markdown(passing(), SUBJECT)
    assert "21.75" not in markdown(passing(), SUBJECT)


def test_checks_of_one_name_are_told_apart() -> None:
    twice = made(RATIO, RATIO)
    suite = ElementTree.fromstring(junit(twice, SUBJECT))
    assert [case.get("name") for case in suite.iter("testcase")] == [
        "ratio_rms score (ort-cpu)",
        "ratio_rms score (ort-cpu) 2",
    ]
    first, second = json.loads(sarif(twice, SUBJECT))["runs"][0]["results"]
    assert first["partialFingerprints"] != second["partialFingerprints"]


def test_what_xml_cannot_hold_is_written_as_text() -> None:
    text = junit(made(Check("runs", "fail", HOSTILE), PASSED), replace(SUBJECT, name=HOSTILE))
    ElementTree.fromstring(text)
    assert r"\x00" in text
    assert r"\ufffe" in text


def test_a_heat_map_has_the_worst_of_each_pair_of_sizes() -> None:
    (facts,) = failing().facts
    maps = heat_maps(facts, cases(), 2.7)
    assert [found.field for found in maps] == ["box_xy", "score"]
    found = maps[0]
    assert (found.columns, found.rows) == ("width", "height")
    # The black picture is judged by a limit of its own, and nothing was compared on it.
    assert {cell.title.partition(":")[0]: cell.level for cell in found.cells} == {
        "width 64, height 64": "over",
        "width 64, height 96": "over",
        "width 96, height 96": "over",
    }
    assert "3 are over the limit of 2.7. The largest ratio is 1.54e+04, in 0.png." in found.said
    assert [cell.figure for cell in found.cells] == ["12k", "6.2k", "15k"]
    assert {cell.level for cell in heat_maps(passing().facts[0], cases(), 2.7)[0].cells} == {"0", "1", "2"}


@pytest.mark.parametrize(
    ("ratio", "figure"),
    [
        (0.854, "0.85"),
        (2.0, "2"),
        (12.3, "12"),
        (99.7, "100"),
        (840.0, "840"),
        (999.0, "1k"),
        (1840.0, "1.8k"),
        (123456.0, "123k"),
        (2.5e6, "2.5M"),
        (1e300, "≫"),
    ],
)
def test_a_cell_has_room_for_its_figure(ratio: float, figure: str) -> None:
    (facts,) = passing().facts
    fields = (replace(facts.fields[0], by_case=(ratio, None, None, None)),)
    ((found,),) = [chart.cells for chart in heat_maps(replace(facts, fields=fields), cases(), 2.7)]
    assert found.figure == figure


def test_a_verdict_of_an_older_format_has_no_charts() -> None:
    (facts,) = passing().facts
    older = replace(
        facts,
        fields=tuple(replace(one, by_case=(), exponents=(), errors_candidate=()) for one in facts.fields),
    )
    assert (heat_maps(older, cases(), 2.7), histograms(older)) == ((), ())


def test_a_histogram_says_where_half_of_the_errors_lie() -> None:
    found = histograms(passing().facts[0])[0]
    first, second = found.said.split("; ")
    assert first == "Half of PyTorch's errors are below 2e-07 px, 0% are 0"
    assert second == "half of the file's errors are below 2e-07 px, 0% are 0."
    assert found.reference.startswith("M0 180L")
    assert found.reference != found.candidate


HEIGHT, WIDTH = Dim("height", 16, 64, 16), Dim("width", 16, 64, 16)
MANIFEST = manifest(
    name="small_model",
    task="detection",
    postprocess={
        "decode": "packed",
        "outputs": ["output"],
        "score_threshold": 0.5,
        "iou_threshold": 0.5,
        "class_agnostic": False,
    },
    outputs=(TensorSpec("output", "float32", (1, 1, 6)),),
    inputs=(TensorSpec("input", "float32", (1, 3, "height", "width")),),
    preprocess=Preprocess("input", "NCHW", "float32", 255, "crop", 16, HEIGHT, WIDTH),
    classes=(ClassInfo("dark", (0, 0, 0)), ClassInfo("bright", (255, 255, 0))),
    exporter="torch.export",
    versions={"onnxproof": "0.1.0", "torch": "2.9.0"},
)


def test_a_bundles_readme_is_a_model_card() -> None:
    text = card(MANIFEST, failing())
    assert text.startswith("---\nlibrary_name: onnx\npipeline_tag: object-detection\ntags:\n- onnx\n")
    assert text.count("| link | status |") == 1
    for part in (
        "Fail: 1 of 4 checks failed",
        "onnxproof.load",
        "## Inputs and outputs",
        "torch.export",
        "dark, bright",
    ):
        assert part in text
    assert text == card(MANIFEST, failing())


def test_a_readme_without_a_verdict_says_so() -> None:
    text = card(MANIFEST, None, ("the simplifier was left out",))
    assert "exported without a proof" in text
    assert "- the simplifier was left out" in text
