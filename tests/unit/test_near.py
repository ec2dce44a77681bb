"""Wrong names suggest near ones, by one function."""

from pathlib import Path

import pytest

from onnxproof.errors import JobError, RequestError
from onnxproof.job import Job
from onnxproof.runtime.tasks import get_task
from onnxproof.text import meant, near

KNOWN = ("export", "validate", "predict", "score_threshold")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        pytest.param("exprot", ("export",), id="letters-exchanged"),
        pytest.param("Score-Threshold", ("score_threshold",), id="case-and-dash"),
        pytest.param("xyz", (), id="none-near"),
    ],
)
def test_the_nearest_name_is_found(name: str, found: tuple[str, ...]) -> None:
    assert near(name, KNOWN) == found
    assert meant(name, KNOWN) == (f'; did you mean "{found[0]}"?' if found else "")


def test_a_task_suggests_a_near_one() -> None:
    with pytest.raises(RequestError, match='did you mean "detection"'):
        get_task("detections")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        pytest.param({"wraper": {}}, 'did you mean "wrapper"', id="section"),
        pytest.param({"wrapper": {"normalise": "clip"}}, 'did you mean "normalize"', id="key"),
        pytest.param({"wrapper": {"normalize": "imagnet"}}, 'did you mean "imagenet"', id="value"),
        pytest.param({"export": {"exporter": "torchscrpt"}}, 'did you mean "torchscript"', id="choice"),
    ],
)
def test_a_job_suggests_near_names(table: dict[str, object], says: str) -> None:
    with pytest.raises(JobError, match=says):
        Job.from_document(
            {"name": "net", "model": {"family": "yolox"}, **table}, folder=Path(), source="net.toml"
        )
