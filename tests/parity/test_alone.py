"""Two legs of PyTorch in two threads compute as they do alone: the default dtype is the process's."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from onnxproof.job import Job
from onnxproof.steps.planning import plan_of
from onnxproof.validate.cases import materialise
from onnxproof.validate.legs.leg import Leg
from onnxproof.validate.legs.pytorch import OracleLeg, TorchLeg
from onnxproof.wrappers.attention import without_fast_path
from onnxproof.wrappers.control_flow import unfolded
from onnxproof.wrappers.wrap import wrap_for_job

JOB = {
    "name": "thirds",
    "model": {"family": "module", "task": "raw"},
    "inputs": {"x": "float32[batch, 3] in 0..1"},
    "dims": {"batch": "1..3"},
}


class Thirds(nn.Module):
    """Adds a third, made in the default dtype, at each of many steps."""

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(50):
            x = x + torch.full((3,), 1 / 3)
        return x


def test_legs_in_two_threads() -> None:
    job = Job.from_document(JOB, folder=Path(), source="the test")
    model = wrap_for_job(job, Thirds().eval())
    plan = plan_of(job, model)
    arrays = materialise(plan.cases[0], model.contract.inputs, None)
    legs: list[Leg] = [TorchLeg(model, 1), OracleLeg(model, 1), OracleLeg(model, 1)]
    alone = [leg.run(arrays).outputs for leg in legs]
    together = threading.Barrier(len(legs))

    def many(at: int) -> bool:
        together.wait()
        return all(
            np.array_equal(value, alone[at][name])
            for _ in range(20)
            for name, value in legs[at].run(arrays).outputs.items()
        )

    compiler = torch.compile
    with ThreadPoolExecutor(len(legs)) as pool:
        assert list(pool.map(many, range(len(legs)))) == [True] * len(legs)
    assert torch.get_default_dtype() == torch.float32
    assert torch.compile is compiler


Sets = Callable[[], AbstractContextManager[None]]


@pytest.mark.parametrize("inside", [without_fast_path, unfolded])
def test_what_one_thread_sets_another_does_not_put_back(
    inside: Callable[[], AbstractContextManager[None]],
) -> None:
    before = torch.backends.mha.get_fastpath_enabled(), torch.compile
    first, may = threading.Event(), threading.Event()

    def holds() -> None:
        with inside():
            first.set()
            assert may.wait(30)

    def follows() -> None:
        assert first.wait(30)
        threading.Timer(0.2, may.set).start()  # the other leaves while this one waits or is inside
        with inside():
            time.sleep(0.4)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(holds), pool.submit(follows)]:
            done.result()
    assert (torch.backends.mha.get_fastpath_enabled(), torch.compile) == before
