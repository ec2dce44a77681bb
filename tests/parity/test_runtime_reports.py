"""Reports of runtimes that differ, rebuilt by benchmarks/runtimes.py: what the table says of them."""

import pytest
from runtimes import REPORTS, Report, told, verdict_of

BY_NAME = {report.name: report for report in REPORTS}


def test_reports_have_names_of_their_own() -> None:
    assert len(BY_NAME) == len(REPORTS) >= 8


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pad-fusion", "quantised-convolution"])
def test_without_optimization_the_file_is_right_whatever_a_level_makes_of_it(name: str) -> None:
    report: Report = BY_NAME[name]
    verdict = verdict_of(report, ["ort"])
    statuses = {row.level: verdict.of_leg(row.leg)[0] for row in verdict.runtimes}
    assert statuses.keys() == {"none", "basic", "extended", "all"}
    assert statuses["none"] == "pass"
    assert verdict.passed is (set(statuses.values()) == {"pass"})
    blamed = [check.reason for check in verdict.checks if check.status == "fail"]
    assert verdict.passed or any("optimizer changes what the graph computes" in reason for reason in blamed)
    page = "\n".join(told(report, verdict))
    assert report.source in page
    assert page.count("| ONNX Runtime ") == 4


@pytest.mark.slow
def test_openvino_that_is_told_to_compute_in_float32_passes() -> None:
    pytest.importorskip("onnxproof.validate.legs.openvino_runtime", reason="openvino is not installed")
    verdict = verdict_of(BY_NAME["other-processor"], ["openvino"])
    assert verdict.passed, str(verdict)
    assert verdict.runtimes[-1].leg == "openvino-cpu"
