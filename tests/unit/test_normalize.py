"""Normalisations by name, in a job."""

from pathlib import Path
from typing import Any

import pytest

from onnxproof.errors import JobError
from onnxproof.job import Job
from onnxproof.normalizations import NORMALIZATIONS, in_words, name_of


def job_with(**wrapper: Any) -> Job:
    document = {"name": "net", "model": {"family": "yolox"}, "wrapper": wrapper}
    return Job.from_document(document, folder=Path(), source="net.toml")


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_a_name_gives_both(name: str) -> None:
    assert job_with(normalize=name).wrapper.normalization() == NORMALIZATIONS[name]
    assert name_of(*NORMALIZATIONS[name]) == name


def test_numbers_stay_as_they_are_given() -> None:
    given = job_with(mean=[0.1, 0.2, 0.3]).wrapper.normalization()
    assert given == ((0.1, 0.2, 0.3), None)
    assert name_of((0.1, 0.2, 0.3), (1.0, 1.0, 1.0)) is None


def test_a_normalisation_is_told_in_numbers_and_by_its_name() -> None:
    assert in_words(*NORMALIZATIONS["inception"]) == "mean [0.5, 0.5, 0.5], std [0.5, 0.5, 0.5] (inception)"
    odd = in_words((0.30000001192092896, 0.2, 0.1), (1.0, 1.0, 0.25))
    assert odd == "mean [0.3, 0.2, 0.1], std [1, 1, 0.25]"


@pytest.mark.parametrize("key", ["mean", "std"])
def test_a_name_and_numbers_are_refused(key: str) -> None:
    with pytest.raises(JobError, match=rf'wrapper.normalize = "clip" with wrapper.{key}: leave one'):
        job_with(normalize="clip", **{key: [1.0, 1.0, 1.0]})


def test_another_name_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(JobError, match=r'wrapper\.normalize = "imagnet".*"imagenet", "clip", "inception"'):
        job_with(normalize="imagnet")
