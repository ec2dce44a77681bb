"""What is measured on some of many pictures, and how it is sent and kept."""

import dataclasses
import importlib
import io
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from onnxproof.errors import RequestError
from onnxproof.runtime.remote import Place, seen_from
from onnxproof.validate.cases import Case, case_or_reason
from onnxproof.validate.dataset.metrics import MEASURES, Measure
from onnxproof.validate.dataset.run import NamedPicture, labelled_case, measure_labelled
from onnxproof.validate.interface import interface_differences
from onnxproof.validate.sweep import measure, measure_replica
from onnxproof.validate.tally import Tally
from onnxproof.validate.trial import Trial

PLAIN = frozenset(
    {
        *(("collections", name) for name in ("Counter", "OrderedDict")),
        *(("pathlib", name) for name in ("PosixPath", "WindowsPath")),
        *(("builtins", name) for name in ("set", "frozenset", "slice", "complex")),
        *(("numpy", name) for name in ("ndarray", "dtype")),
        *(("numpy._core.multiarray", name) for name in ("_reconstruct", "scalar")),
        *(("numpy.core.multiarray", name) for name in ("_reconstruct", "scalar")),
        ("numpy._core.numeric", "_frombuffer"),
        ("numpy.core.numeric", "_frombuffer"),
    }
)
"""What a tally is made of beside our own dataclasses: nothing that runs anything."""


@dataclass(frozen=True, slots=True)
class About:
    """What was compared, and where: it has to be the same wherever a chunk is measured.

    ``legs`` are the candidates' names, ``interfaces`` how the file's inputs and outputs differ from the
    declared ones. ``oracle_missing`` is as in ``Truth``; ``unsteady`` too. ``versions`` are those of the
    packages that compute. ``processor`` tells what kernels PyTorch chooses by.
    """

    legs: tuple[str, ...]
    interfaces: tuple[tuple[str, ...], ...]
    reference: str
    oracle: str | None
    oracle_missing: tuple[tuple[str, str], ...]
    unsteady: str | None
    versions: tuple[tuple[str, str], ...]
    processor: str

    @classmethod
    def of(cls, trial: Trial, versions: Mapping[str, str], processor: str) -> "About":
        """What a trial compares on this machine."""
        truth = trial.truth
        return cls(
            tuple(leg.name for leg in trial.candidates),
            tuple(interface_differences(trial.contract, leg) for leg in trial.candidates),
            truth.reference.name,
            None if truth.oracle is None else truth.oracle.name,
            tuple(truth.oracle_missing.items()),
            truth.unsteady,
            tuple(versions.items()),
            processor,
        )


@dataclass(slots=True)
class Measured:
    """What was measured on ``pictures`` pictures: a tally for each candidate.

    ``unread`` has the pictures that cannot be used, and for each the reason. ``measures`` are what the
    reference and each candidate decided, if the pictures are labelled.
    """

    about: About
    tallies: tuple[Tally, ...]
    pictures: int
    unread: dict[str, str]
    measures: tuple[Measure, ...] = ()


def measure_pictures(trial: Trial, about: About, pictures: Sequence[Place], folder: str = "") -> Measured:
    """Compare all candidates on some pictures, each preprocessed as ``predict`` does it.

    A case is called by its picture's path as it is given; relative paths start at ``folder``. Raises as
    ``sweep.measure`` does.
    """
    cases, unread = cases_of(trial, pictures, folder)
    tallies = measure(trial.on(*cases)) if cases else _empty(trial)
    return Measured(about, tallies, len(cases), unread)


def measure_labels(
    lowered: Trial, about: About, pictures: Sequence[NamedPicture], classes: tuple[str, ...]
) -> Measured:
    """As ``measure_pictures`` on labelled pictures, with a trial of ``lowered_trial``.

    Raises as ``measure_labelled`` does.
    """
    _, tallies, measures = measure_labelled(lowered, pictures, classes)
    return Measured(about, tallies, len(pictures), {}, tuple(measures))


def measure_again(
    trial: Trial,
    about: About,
    pictures: Sequence[Place | NamedPicture],
    leg: int,
    count: int,
    folder: str = "",
) -> Measured:
    """Compare one candidate on ``count`` inputs next to each picture's own."""
    cases, unread = cases_of(trial, pictures, folder)
    tallies = _empty(trial)
    for case in cases:
        for replica in range(1, count + 1):
            measure_replica(trial, replace(case, replica=replica), (leg,), tallies)
    return Measured(about, tallies, len(cases), unread)


def cases_of(
    trial: Trial, pictures: Sequence[Place | NamedPicture], folder: str = ""
) -> tuple[list[Case], dict[str, str]]:
    """A case for each picture that can be used, and why the others cannot, by their names."""
    spec = trial.contract.preprocess
    assert spec is not None
    cases: list[Case] = []
    unread: dict[str, str] = {}
    for picture in pictures:
        if isinstance(picture, NamedPicture):
            cases.append(labelled_case(picture, trial.contract)[0])
            continue
        found = case_or_reason(seen_from(folder, picture), spec, trial.contract.dims)
        if isinstance(found, str):
            unread[str(picture)] = found
        else:
            cases.append(replace(found, name=str(picture)))
    return cases, unread


def _empty(trial: Trial) -> tuple[Tally, ...]:
    missing = trial.truth.oracle_missing
    return tuple(Tally.of(trial.contract, oracle_missing=missing) for _ in trial.candidates)


def encoded(measured: Measured) -> bytes:
    """What was measured, as bytes for ``decoded``."""
    return pickle.dumps(measured, protocol=pickle.HIGHEST_PROTOCOL)


def decoded(content: bytes) -> Measured:
    """The inverse of ``encoded``. The bytes can name no code to run.

    Raises RequestError if they hold anything else than what was measured.
    """
    try:
        found = _Reader(io.BytesIO(content)).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, TypeError, ValueError) as error:
        raise RequestError(
            f"what was kept of a chunk cannot be read ({error}): begin in a new folder"
        ) from error
    if not isinstance(found, Measured):
        raise RequestError("what was kept of a chunk is something else: begin in a new folder")
    return found


class _Reader(pickle.Unpickler):
    """Reads our own dataclasses and plain values, and refuses all other names."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in PLAIN:
            return super().find_class(module, name)
        if module.startswith("onnxproof."):
            found = getattr(importlib.import_module(module), name, None)
            if isinstance(found, type) and (dataclasses.is_dataclass(found) or found in MEASURES.values()):
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is no value")
