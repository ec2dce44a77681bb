"""The verdict's table: no word is broken at any width, and in a pipe it is plain text."""

import io
import math
import re
from dataclasses import replace

import pytest
from rich.console import Console

from onnxproof.cli._terminal import plain_text
from onnxproof.validate.compare.comparer import Finding
from onnxproof.validate.dataset.figures import DatasetFigures, Figure
from onnxproof.validate.facts import Decisions, Facts, Located
from onnxproof.validate.measure import LabelMeasurement, Measurement
from onnxproof.validate.policy import FLOAT_FLOOR, FixedTolerance, FloatFloor
from onnxproof.validate.report.notes import bare, folded, for_people
from onnxproof.validate.report.table import verdict_table
from onnxproof.validate.verdict import Check, Verdict


def field(name: str, unit: str, worst: str, scale: float = 1.0) -> Measurement:
    return Measurement(
        name=name,
        unit=unit,
        count=100,
        rms_reference=1e-6,
        rms_candidate=1e-6 * scale,
        max_reference=4e-6,
        max_candidate=4e-6 * scale,
        scale_max=1.0,
        worst_case=worst,
        nonfinite=0,
        nonfinite_case="",
    )


def facts(*fields: Measurement, flips: int = 0) -> Facts:
    return Facts(
        leg="ort-cpu",
        interface=(),
        cases=44,
        pictures_named=True,
        not_run=(),
        misshapen=(),
        fields=fields,
        labels=(LabelMeasurement("label", 100, flips, 1.6e-8, "8x64x192-picture"),),
        decisions=Decisions(pictures=114, reference=83, matched=83, ties=(), defects=()),
        oracle_missing={},
    )


DETECTOR = facts(
    field("box_xy", "px", "scene-03.png"), field("score", "probability", "scene-02.png"), flips=69
)
LONG = facts(
    field("class_probability", "probability", "8x640x640-saturated"),
    field("encoder_layers_11_attention_output", "", "a picture of two words.png"),
)
DAMAGED = replace(
    facts(field("output", "", "1x3x256x256-noise", scale=12_345.6), flips=1_234_567),
    leg="A, ort-cpu-extended",
    reference="A",
    decisions=Decisions(
        3, 5, 4, (), (Located("1x64-noise", 1, Finding("missing: class 0", "no margin")),) * 9
    ),
)
DATASET = DatasetFigures(
    leg="ort-cpu",
    pictures=48,
    annotations=200,
    untied=47,
    score_threshold=0.01,
    figures=(Figure("mAP@[.50:.95]", 0.71234, 0.71233, -1e-5), Figure("mAP@.50", 0.9, 0.9, 0.0)),
    decisions=Decisions(pictures=48, reference=150, matched=150, ties=(), defects=()),
    not_answered=None,
)
NOTHING_RAN = replace(
    facts(
        replace(
            field("output", "px", ""),
            count=0,
            rms_reference=0.0,
            rms_candidate=0.0,
            max_reference=0.0,
            max_candidate=0.0,
            scale_max=0.0,
        )
    ),
    labels=(LabelMeasurement("label", 0, 0, math.nan, ""),),
    decisions=None,
)
NOTE = "waste: module.module.head.conv.weight is not read"


def verdict(*found: Facts, dataset: tuple[DatasetFigures, ...] = ()) -> Verdict:
    return Verdict(
        status="fail",
        policy=FLOAT_FLOOR.to_json(),
        checks=(
            Check("opset", "pass", ""),
            Check(
                "ratio_rms",
                "fail",
                "largest error 0.049 in 1x3x256x256-noise",
                12345.6,
                2.7,
                "ort-cpu",
                "output",
            ),
        ),
        facts=found,
        cases=(),
        notes=(NOTE, "another note", NOTE),
        model_sha256="",
        environment={},
        dataset=dataset,
    )


VERDICTS = [
    pytest.param(verdict(DETECTOR), id="detector"),
    pytest.param(verdict(LONG, DETECTOR), id="long-names"),
    pytest.param(verdict(DAMAGED), id="damaged"),
    pytest.param(verdict(DETECTOR, dataset=(DATASET,)), id="dataset"),
]


def on_a_terminal(one: Verdict, width: int) -> str:
    screen = io.StringIO()
    Console(file=screen, width=width, force_terminal=True, color_system=None).print(verdict_table(one))
    return screen.getvalue()


def words(text: str) -> set[str]:
    return set(re.sub("[─]+", " ", text).split())


@pytest.mark.parametrize("one", VERDICTS)
def test_no_word_is_broken_at_any_width(one: Verdict) -> None:
    whole = words(plain_text(verdict_table(one)))
    for width in range(60, 141):
        shown = on_a_terminal(one, width)
        # Where a row stands below its field's name, nothing heads the names.
        assert whole - {"field,", "unit", "figure"} <= words(shown) <= whole, f"at {width} columns:\n{shown}"
        assert max(map(len, shown.splitlines())) <= width, shown


@pytest.mark.parametrize("one", VERDICTS)
def test_a_piped_table_is_plain_text(one: Verdict) -> None:
    text = plain_text(verdict_table(one))
    assert not re.search("[\u2500-\u257f\x1b]", text), text
    assert not re.search(r"[ \t]$", text, re.MULTILINE), text
    assert plain_text(verdict_table(one), ascii_only=True).isascii()


def test_each_note_and_each_check_is_one_line_in_a_pipe() -> None:
    one = replace(verdict(DETECTOR), notes=("word " * 200,))
    assert plain_text(verdict_table(one)).splitlines()[-2] == ("note: " + "word " * 200).rstrip()


def test_the_columns_of_two_runs_of_one_job_line_up() -> None:
    """Their figures are of other lengths: the second has flips, and a ratio of seven characters."""
    first = verdict(facts(field("output", "", "a.png")))
    second = verdict(facts(field("output", "", "a.png", scale=12_345.6), flips=3))
    texts = [plain_text(verdict_table(one)).splitlines() for one in (first, second)]
    at = [next(line.index("in case") for line in lines if "in case" in line) for lines in texts]
    assert at[0] == at[1]


def test_the_demos_table_stands_in_columns_at_80() -> None:
    rows = on_a_terminal(verdict(DETECTOR), 80).splitlines()
    assert any(
        row.startswith("score, probability") and row.rstrip().endswith("scene-02.png") for row in rows
    ), rows


def test_what_was_never_compared_has_dashes_and_no_perfect_figures() -> None:
    lines = plain_text(verdict_table(verdict(NOTHING_RAN))).splitlines()
    (field_row,) = (line for line in lines if line.startswith("output, px"))
    (label_row,) = (line for line in lines if line.startswith("label, class"))
    assert field_row.split()[2:] == ["-", "-", "-", "-"]
    assert label_row.split()[2:] == ["-"]


def test_what_does_not_fit_beside_each_other_stands_below() -> None:
    rows = on_a_terminal(verdict(LONG), 70).splitlines()
    start = rows.index("class_probability, probability")
    assert rows[start + 1].split() == ["rms", "≤", "2.7", "1"]
    assert rows[start + 5].split() == ["in", "case", "8x640x640-saturated"]


def test_repeated_notes_are_told_once_without_the_wrappers_path() -> None:
    lines = plain_text(verdict_table(verdict(DETECTOR))).splitlines()
    notes = [line for line in lines if line.startswith("note: ")]
    assert notes == ["note: waste: head.conv.weight is not read (2 times)", "note: another note"]


def test_a_check_tells_its_leg_where_there_are_several() -> None:
    (line,) = (
        each for each in plain_text(verdict_table(verdict(DETECTOR, LONG))).splitlines() if "fail: " in each
    )
    assert line.startswith("fail: ratio_rms output of ort-cpu 1.23e+04 (limit 2.7): ")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("_v_16 is module.0.weight changed", "_v_16 is 0.weight changed"),
        ("module.module.head.conv.weight, module.module.bias.x", "head.conv.weight, bias.x"),
        ("torch.nn.module.Module.forward", "torch.nn.module.Module.forward"),
        ("module.py:callable", "module.py:callable"),
        ("the weights lie in module.onnx.data", "the weights lie in module.onnx.data"),
        ("/tmp/module.a.b and a/module.a.b", "/tmp/module.a.b and a/module.a.b"),
    ],
)
def test_the_wrappers_path_is_left_out_of_module_paths_alone(text: str, shown: str) -> None:
    assert for_people(text) == shown


def test_folding_keeps_the_order() -> None:
    assert folded(["b", "a", "b", "b"]) == ("b (3 times)", "a")
    assert [bare(path) for path in ("module.module.head", "module", "head.module.x", "")] == [
        "head",
        "module",
        "head.module.x",
        "",
    ]


def test_the_headings_tell_the_policys_own_limits() -> None:
    stricter = replace(verdict(DETECTOR), policy=FloatFloor(ratio_rms=1.5, ratio_max=3.0).to_json())
    heading = on_a_terminal(stricter, 120).splitlines()
    assert any("rms ≤ 1.5" in line and "max ≤ 3" in line for line in heading), heading
    other = replace(verdict(DETECTOR), policy=FixedTolerance(1e-3).to_json())
    heading = on_a_terminal(other, 120).splitlines()
    assert any("rms ratio" in line and "≤" not in line for line in heading), heading


def test_a_verdict_prints_itself_as_the_terminal_tells_it_without_tables() -> None:
    check = Check("ratio_rms", "fail", "too\nrough", 4.0, 2.0, leg="ort-cpu", field="score")
    failed = replace(verdict(DETECTOR), checks=(check,), notes=("a note",))
    lines = str(failed).splitlines()
    assert lines[-1] == "verdict: fail (checks: 1 fail)"
    assert lines[1] == "fail: ratio_rms score 4 (limit 2): too\\nrough"
    assert lines[0].startswith("runtime ")
    table = plain_text(verdict_table(failed)).splitlines()
    assert [line for line in table if line in lines] == lines
    assert "note: a note" in lines


def test_an_index_that_a_top_k_chose_is_no_class() -> None:
    flipped = facts(field("output", "", "a.png"), flips=3)
    places = replace(flipped, labels=(replace(flipped.labels[0], score_scale=1.0),))
    assert "label, class" in plain_text(verdict_table(verdict(flipped)))
    assert "label, place" in plain_text(verdict_table(verdict(places)))
    rounded = replace(flipped, labels=(replace(flipped.labels[0], rounded=True, largest_margin=0.5),))
    (line,) = [one for one in plain_text(verdict_table(verdict(rounded))).splitlines() if "label, " in one]
    assert "label, rounded" in line
    assert "move 2.5e-01" in line
    values = replace(flipped, labels=(replace(flipped.labels[0], unit=""),))
    assert "label, value" in plain_text(verdict_table(verdict(values)))
