"""Write the verdict into a bundle, and golden cases: what PyTorch answered to a few cases of the verdict."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from onnxproof.contract import Contract
from onnxproof.export.finish import add_metadata
from onnxproof.runtime.folder import GOLDEN_FILE, MODEL_FILE, PARITY_FILE, data_of
from onnxproof.runtime.manifest import GOLDEN_KEY, Manifest
from onnxproof.runtime.session import VERSION
from onnxproof.source import sha256_of
from onnxproof.system.files import write_bytes, write_json
from onnxproof.validate.ahead import Ahead, Kept
from onnxproof.validate.golden.choose import record
from onnxproof.validate.golden.file import fitting, pack
from onnxproof.validate.golden.golden import About, Golden
from onnxproof.validate.golden.held import told_of
from onnxproof.validate.legs.leg import Arrays, Truth
from onnxproof.validate.verdict import Verdict

LEAST_BUDGET = 10**6
"""Bytes that golden cases may take in any bundle."""

SHARE = 0.1
"""The share of a larger model's bytes that they may take."""

MOST_BUDGET = 2**24
"""Bytes that they may take in the largest."""

RATIOS = ("ratio_rms", "ratio_max")
"""The checks that pass beyond their limit if each node is within its rounding bound."""


def write_verdict(ahead: Ahead, verdict: Verdict, manifest: Manifest, folder: Path) -> Verdict:
    """Write ``golden.npz`` and ``parity.json`` into a bundle's ``folder``. Returns the verdict there.

    It has a note if there are no golden cases. The arguments are those of ``record_golden``.
    """
    not_recorded = record_golden(ahead, verdict, manifest, folder)
    verdict = noted(verdict, not_recorded, folder)
    write_json(folder / PARITY_FILE, verdict.to_json())
    return verdict


def record_golden(ahead: Ahead, verdict: Verdict, manifest: Manifest, folder: Path) -> tuple[str, ...]:
    """Write ``golden.npz`` into a bundle's ``folder``, beside the model that the ``verdict`` is on.

    ``manifest`` is the one in the model's metadata. The answers are those of the verdict; nothing is run for
    them. Returns a note if there are no golden cases, which says why.
    """
    truth = ahead.prepared.truth
    if truth.unsteady is not None:
        return (f"no golden cases are recorded: {truth.unsteady}",)
    about = about_golden(truth, verdict, manifest, ahead.plan.settings.providers)

    def holds(inputs: Arrays) -> bool:
        return all(leg.holds(inputs) for leg in _legs(truth))

    golden = record(ahead.plan, truth, about, rough_fields(verdict), holds)
    return write_golden(golden, ahead.plan.contract, folder)


def about_golden(truth: Truth, verdict: Verdict, manifest: Manifest, providers: tuple[str, ...]) -> About:
    """Where golden cases come from. ``manifest`` is the one in the model's metadata."""
    return About(
        model_sha256=verdict.model_sha256,
        metadata_sha256=hashlib.sha256(manifest.to_metadata().encode()).hexdigest(),
        verdict=verdict.status,
        links={one.link: one.status for one in verdict.links},
        versions={"onnxruntime": VERSION, "numpy": np.__version__},
        providers=providers,
        reference=truth.reference.name,
        oracle=None if truth.oracle is None else truth.oracle.name,
        oracle_missing=dict(truth.oracle_missing),
    )


def noted(verdict: Verdict, notes: tuple[str, ...], folder: Path) -> Verdict:
    """The verdict on the model in a ``folder``, which may have told of its golden cases since."""
    return replace(verdict, notes=(*verdict.notes, *notes), model_sha256=sha256_of(folder / MODEL_FILE))


def write_golden(golden: Golden, contract: Contract, folder: Path) -> tuple[str, ...]:
    """Write ``golden.npz`` beside a model, and into the model's metadata which cases these are.

    Nothing else of the model changes. Returns a note if not one case fits.
    """
    file = folder / MODEL_FILE
    size = sum(path.stat().st_size for path in (file, data_of(file)) if path.exists())
    budget = min(max(LEAST_BUDGET, int(SHARE * size)), MOST_BUDGET)
    cases = fitting(golden, contract, budget)
    if not cases:
        return (
            f"no golden cases are recorded: the answers to not one case fit in {budget / 1e6:.1f} MB, so "
            "onnxproof selftest cannot run; declare smaller sizes in [dims], which are recorded first",
        )
    add_metadata(file, GOLDEN_KEY, told_of(cases))
    about = replace(golden.about, model_sha256=sha256_of(file))
    write_bytes(folder / GOLDEN_FILE, pack(replace(golden, about=about, cases=cases), contract))
    return ()


def _legs(truth: Truth) -> tuple[Kept, ...]:
    return tuple(leg for leg in (truth.reference, truth.oracle) if isinstance(leg, Kept))


def rough_fields(verdict: Verdict) -> dict[str, float]:
    """The fields that the runtime computes less well than PyTorch, each node within its rounding bound.

    By name, how many times PyTorch's error they err.
    """
    found: dict[str, float] = {}
    for check in verdict.checks:
        value = check.value
        if check.name not in RATIOS or check.status != "pass" or value is None or check.limit is None:
            continue
        if check.field is not None and not value <= check.limit:
            found[check.field] = max(found.get(check.field, 1.0), value)
    return found
