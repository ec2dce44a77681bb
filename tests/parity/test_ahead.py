"""PyTorch's side of a trial, run while another process captures."""

from pathlib import Path

import torch
from torch import Tensor, nn

from onnxproof.job import Job
from onnxproof.steps.planning import plan_of
from onnxproof.validate.ahead import Ahead
from onnxproof.wrappers.wrap import wrap_for_job


class Counting(nn.Module):
    """Notes with how many threads each of its runs was computed."""

    def __init__(self, threads: list[int]) -> None:
        super().__init__()
        self.threads = threads

    def __deepcopy__(self, _: object) -> "Counting":
        return Counting(self.threads)

    def forward(self, x: Tensor) -> Tensor:
        self.threads.append(torch.get_num_threads())
        return x * 2


def ahead(threads: list[int]) -> Ahead:
    document = {
        "name": "doubled",
        "model": {"family": "module", "task": "raw"},
        "inputs": {"x": "float32[n, 3] in -1..1"},
        "dims": {"n": "1..4"},
        "validate": {"threads": 2},
    }
    job = Job.from_document(document, folder=Path(), source="the test")
    model = wrap_for_job(job, Counting(threads).eval())
    return Ahead(model, plan_of(job, model))


def test_a_leg_has_as_many_threads_ahead_as_later() -> None:
    """With another number PyTorch adds up in another order: figures would depend on what was done ahead."""
    threads: list[int] = []
    started = ahead(threads)
    threads.clear()
    assert sum(1 for _ in started.steps()) > 2
    started.prepared.truth.reference.run({"x": torch.zeros(7, 3).numpy()})
    assert set(threads) == {2}


def test_what_is_left_is_done_beside_the_next_process() -> None:
    threads: list[int] = []
    started = ahead(threads)
    next(started.steps())
    begun = len(threads)
    assert sum(1 for _ in started.steps()) > 2
    assert len(threads) > begun
    assert not list(started.steps())
