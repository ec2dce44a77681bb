"""Who works on many pictures, as a value."""

import os
from dataclasses import dataclass
from os import PathLike
from typing import get_type_hints

from onnxproof.errors import RequestError
from onnxproof.system.signatures import argument

MOST_WORKERS = 1024


@dataclass(frozen=True, slots=True)
class Workers:
    """Who works on many pictures.

    ``count`` processes of this machine (None: as many as there are cores, and as memory allows), or those of
    the Dask scheduler at the address ``dask``. Results are kept in the folder ``resume``, where a run that
    was stopped goes on; None for a folder that goes with the run. Raises RequestError for a count below 1,
    and if both a count and a scheduler are given.
    """

    count: int | None = None
    dask: str | None = None
    resume: str | PathLike[str] | None = None

    def __post_init__(self) -> None:
        for name, stated in get_type_hints(type(self)).items():
            argument(name, getattr(self, name), stated)
        if self.count is not None and not 1 <= self.count <= MOST_WORKERS:
            raise RequestError(f"--workers {self.count}: expected 1 to {MOST_WORKERS}")
        if self.count is not None and self.dask is not None:
            raise RequestError(
                "--workers counts processes of this machine, --dask takes a cluster's: give one"
            )

    @property
    def asked(self) -> bool:
        """Whether anything was asked for."""
        return self != EVERYONE


EVERYONE = Workers()
"""As many processes of this machine as there are cores, and as memory allows."""


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
