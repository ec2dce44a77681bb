"""What the verdict's notes say of a job that gives more classes than there are, or one name for several."""

from collections.abc import Sequence

import pytest
from torch import nn

from onnxproof.job.of_module import module_job
from onnxproof.steps.opening import wrapped_for


def notes(classes: Sequence[str] = (), set: Sequence[str] = ()) -> str:
    """The notes on a classifier of three classes."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
    job = module_job(
        "small",
        inputs={"x": "float32[batch, 4] in 0..1"},
        dims={"batch": "1..2"},
        arguments={},
        task="classification",
        picture=None,
        classes=classes,
        set=set,
        source="the test",
    )
    return "\n".join(wrapped_for(job, module).notes)


@pytest.mark.parametrize(
    ("top_k", "told"),
    [(99, True), (4, True), (3, False), (1, False), (None, False)],
    ids=["far-too-many", "one-too-many", "all", "one", "not-given"],
)
def test_more_classes_to_decide_on_than_there_are_are_told(top_k: int | None, told: bool) -> None:
    found = notes(set=() if top_k is None else (f"validate.top_k={top_k}",))
    assert (f"validate.top_k = {top_k}, and the model has 3 classes: all are decided on" in found) == told


def test_classes_of_one_name_are_told() -> None:
    assert 'model.classes names 2 classes "crane"' in notes(["crane", "crane", "maillot"])
    assert "model.classes" not in notes(["crane", "heron", "maillot"])
