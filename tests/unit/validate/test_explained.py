"""``onnxproof explain`` knows every check that a verdict may have."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import onnxproof
from onnxproof.cli import app
from onnxproof.validate.checks import DECISION_CHECKS, FUNCTION_CHECKS, RUNTIME_CHECKS
from onnxproof.validate.explained import EXPLAINED
from onnxproof.validate.hazards import FROZEN_AXES, HAZARDS

SOURCE = Path(onnxproof.__file__).parent
BUILT = re.compile(r'(?:Check|Held|_counted)\(\s*"([a-z_0-9]+)"')


def names_in_the_source() -> set[str]:
    return {name for file in SOURCE.rglob("*.py") for name in BUILT.findall(file.read_text(encoding="utf-8"))}


def test_every_check_is_explained() -> None:
    hazards = {hazard.name for hazard in (*HAZARDS, FROZEN_AXES)}
    known = names_in_the_source() | RUNTIME_CHECKS | DECISION_CHECKS | FUNCTION_CHECKS | hazards
    assert {"function", "ratio_rms", "runs", "checksum", "state"} <= known | {"state"}
    assert not known - set(EXPLAINED)


@pytest.mark.parametrize("name", EXPLAINED)
def test_each_says_what_it_means_and_what_to_do(name: str) -> None:
    entry = EXPLAINED[name]
    assert all(len(text) > 10 for text in (entry.means, entry.fails, entry.do))
    result = CliRunner().invoke(app, ["explain", name], standalone_mode=False)
    assert result.exit_code == 0
    assert result.output.startswith(f"{name}, a check of the link {entry.link}")


def test_another_name_is_refused_with_those_there_are() -> None:
    result = CliRunner().invoke(app, ["explain", "ratios"], standalone_mode=False)
    assert "there is no check ratios" in str(result.exception)
    assert "ratio_rms" in str(result.exception)


def test_a_name_that_is_nearly_one_is_guessed_and_a_link_lists_its_checks() -> None:
    result = CliRunner().invoke(app, ["explain", "Ratio-RMS"], standalone_mode=False)
    assert "did you mean ratio_rms?" in str(result.exception)
    result = CliRunner().invoke(app, ["explain", "runtime"], standalone_mode=False)
    assert result.exit_code == 0
    assert "ratio_rms" in result.output
