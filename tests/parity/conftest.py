"""Comparisons run on one thread: the sums are the same every time, and noisy neighbours matter less."""

import pytest


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch
    from warm import import_exporters

    torch.set_num_threads(1)
    import_exporters()
