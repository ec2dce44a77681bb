"""The rows of the benchmark of files of lower precision, and the training of its networks.
``python benchmarks/precision.py`` measures all of it."""

from pathlib import Path
from typing import Any

import pytest

ROW: dict[str, Any] = {"short": "vit", "model": "ViT", "contestant": "ours, int8, with the search"}
JUDGED: dict[str, Any] = {
    "size": 0.26,
    "decisions": 600,
    "changed": 2,
    "score": 0.0312,
    "quality": -0.01,
    "reference": 0.98,
    "budget": "pass",
    "beyond": [],
}


@pytest.mark.parametrize(
    ("found", "line"),
    [
        pytest.param(
            {**JUDGED, "time": 0.5}, "| 0.50 | 0.26 | 2 of 600 | 0.0312 | 0.970 of 0.980 | yes |", id="within"
        ),
        pytest.param(
            {**JUDGED, "box": 3.5, "time": 0.5, "large_time": 0.4, "budget": "error", "beyond": ["changed"]},
            "| 0.50 (0.40 at 224) | 0.26 | 2 of 600 | 3.5, 0.0312 | 0.970 of 0.980 | no: changed |",
            id="too few to tell, at two sides",
        ),
        pytest.param(
            JUDGED, "| not timed | 0.26 | 2 of 600 | 0.0312 | 0.970 of 0.980 | yes |", id="to be timed later"
        ),
        pytest.param({"failed": "no such layer"}, "| | | | | | no file: no such layer |", id="no file"),
    ],
)
def test_a_row_says_what_was_measured(found: dict[str, Any], line: str) -> None:
    from lowered.report import table

    head, rule, told = table([{**ROW, **found}])
    assert told == f"| ViT | ours, int8, with the search {line}"
    assert head.count("|") == rule.count("|") == told.count("|")


def test_a_curve_shows_what_ships() -> None:
    from lowered.report import curve

    tried = {"decisions": 1477, "share": 0.0192, "confidence": 0.975, "score": 0.0994, "size": 0.309}
    counts = (9, 18, False), (43, 3, True), (46, 3, True)
    files = [{**tried, "kept": kept, "changed": changed, "passed": ok} for kept, changed, ok in counts]
    head, rule, first, ships, last = curve({"parts": 83, "tried": files})
    assert head.startswith("| parts in float32, of 83 |")
    assert head.count("|") == rule.count("|") == first.count("|")
    assert first == "| 9 | 18 of 1,477 | 1.92 % | 97.50 % | 0.099 | 0.31 |  |"
    assert ships.startswith("| **43** |")
    assert ships.endswith("| **ships** |")
    assert last.startswith("| 46 |")


@pytest.mark.slow
def test_training_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lowered import networks

    def train(steps: int) -> tuple[Path, str]:
        course = networks.Course(steps, batch=2, side=64, rate=1e-3, narrow=False)
        monkeypatch.setattr(networks, "COURSES", {"mobilenet": course})
        monkeypatch.setattr(networks, "SAVE_EVERY", 1)
        monkeypatch.setattr(networks, "HELD_OUT", 1)
        place = networks.trained("mobilenet", "mobilenet_v3_small", {}, tmp_path)
        return place / "mobilenet_v3_small.pth", capsys.readouterr().out

    file, told = train(1)
    assert "step 1 of 1" in told
    assert "top 1 on held-out pictures" in told
    assert train(2) == (file, "")  # a checkpoint that is there is trained
    file.unlink()
    file, told = train(2)
    assert file.exists()
    assert "step 2 of 2" in told
    assert "step 1 of 2" not in told
