"""A part of the benchmark on other libraries' architectures: healthy files pass, and faults are refused.
``python benchmarks/verdict.py`` measures all of it."""

from pathlib import Path

import pytest

DEFAULT, PLAIN = "as export makes it", "torch.onnx.export, TorchScript"

LONG = pytest.mark.long
CHOSEN = ("bert", "sequencer2d", pytest.param("densenet", marks=LONG), pytest.param("swin", marks=LONG))
"""Tokens under a mask, a recurrence, convolutions with batch norms, and windows that shift. In CI, such
convolutions are damaged in test_soundness.py, and windows are proved in test_zoo.py alone, by swin2sr."""

EXACT = 1e-4
"""What a healthy default export is exact to, in units of PyTorch's own float32 error."""


@pytest.mark.slow
@pytest.mark.parametrize("name", CHOSEN)
def test_healthy_files_of_other_libraries_pass_and_what_is_planted_is_refused(
    name: str, tmp_path: Path
) -> None:
    # These load four libraries of networks, and tests are collected without them.
    from soundness.elsewhere.catalogue import BY_NAME
    from soundness.elsewhere.measure import file_rows
    from soundness.elsewhere.report import acting, claimed, healthy

    rows = list(file_rows(BY_NAME[name], tmp_path, chosen={DEFAULT, PLAIN}.__contains__, faults=3))
    files = healthy(rows)
    assert [row.way for row in files] == [DEFAULT, PLAIN]
    for row in files:
        assert row.verdict == "pass", row
        assert row.links["function"] == "pass", row
        assert row.function <= (EXACT if row.source == "ours" else row.limit), row
    found = [row for row in acting(rows) if claimed(row)]
    assert len(found) >= 3
    assert [row for row in found if row.verdict == "pass"] == []


def test_a_rate_has_its_interval() -> None:
    pytest.importorskip("matplotlib")
    from soundness.elsewhere.report import rate

    # Wilson's interval of 1 in 100: 0.18 % to 5.45 %. The rule of three: 3 / 400.
    assert rate(1, 100) == "1 of 100 (1.00%; 0.18% to 5.45%)"
    assert rate(0, 400) == "0 of 400 (at most 0.75%)"
    assert rate(0, 0) == "none of none"


@pytest.mark.slow
def test_a_file_that_its_exporter_wrote_wrong_is_told_from_a_false_alarm(tmp_path: Path) -> None:
    """TorchScript writes Mamba's loop over the steps as often as the example has steps."""
    from soundness.elsewhere.catalogue import BY_NAME
    from soundness.elsewhere.measure import file_rows
    from soundness.elsewhere.report import healthy, wrong

    rows = list(file_rows(BY_NAME["mamba"], tmp_path, chosen=PLAIN.__eq__))
    assert [(row.verdict, row.own) for row in rows] == [("fail", float("inf"))]
    assert wrong(rows) == rows
    assert healthy(rows) == []
