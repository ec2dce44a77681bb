"""Bundles come from anyone: what their manifest names is not run unasked, and their checkpoint may move."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

Refuse = Callable[..., None]
Run = Callable[..., CompletedProcess[str]]
Rewrite = Callable[..., Path]

SEED = ("--set", "validate.seed=1")

BUILDER = """
from pathlib import Path
Path(__file__).with_name("ran").touch()

def make(**kwargs):
    Path(__file__).with_name("called").touch()
"""


@pytest.fixture
def rewrite(small_bundle: Path, tmp_path: Path) -> Rewrite:
    """A copy of the small bundle whose manifest's job has other keys in its table [model]."""

    def rewrite(**model: Any) -> Path:
        copy = tmp_path / "moved"
        shutil.copytree(small_bundle, copy)
        (copy / "evil.py").write_text(BUILDER, encoding="utf-8")
        document = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
        table = document["job"]["model"]
        table["checkpoint"] = os.path.relpath(small_bundle / table["checkpoint"], copy)
        table |= model
        tried = document["job"]["validate"]
        tried["images"] = os.path.relpath(small_bundle / tried["images"], copy)
        document["job"]["model"] = {key: value for key, value in table.items() if value is not None}
        (copy / "manifest.json").write_text(json.dumps(document), encoding="utf-8")
        return copy

    return rewrite


def commands(bundle: Path) -> list[tuple[str | Path, ...]]:
    model = bundle / "model.onnx"
    return [
        ("validate", bundle),
        ("bisect", bundle),
        ("compare", bundle, model),
        ("compare", model, model, "--job", bundle),
    ]


NAMES = [
    pytest.param(
        {"family": "module", "builder": "evil.py:make"}, "evil.py:make()", id="a-file-in-the-bundle"
    ),
    pytest.param(
        {"family": "module", "builder": "os:mkdir", "kwargs": {"path": "ran"}},
        "os:mkdir(path='ran')",
        id="a-function-of-pythons-own",
    ),
    pytest.param(
        {"family": "torchvision_detector", "builder": "evil.py:make", "variant": None},
        "evil.py:make()",
        id="a-detectors-builder",
    ),
]


@pytest.mark.parametrize(("model", "says"), NAMES)
@pytest.mark.parametrize("which", range(4), ids=["validate", "bisect", "compare", "compare-job"])
def test_nothing_that_a_bundle_names_is_run(
    refuse: Refuse,
    rewrite: Rewrite,
    monkeypatch: pytest.MonkeyPatch,
    model: dict[str, Any],
    says: str,
    which: int,
) -> None:
    bundle = rewrite(**model)
    monkeypatch.chdir(bundle)
    refuse(*commands(bundle)[which], says=(str(bundle), says, "--trust"))
    assert not (bundle / "ran").exists()


def test_trust_runs_it(run: Run, rewrite: Rewrite) -> None:
    bundle = rewrite(family="module", builder="evil.py:make")
    ran = run("validate", bundle, "--trust")
    assert ran.returncode == 2
    assert "made a NoneType; expected an nn.Module" in ran.stderr
    assert (bundle / "called").exists()


@pytest.mark.parametrize("command", ["predict", "inspect"])
def test_predict_and_inspect_run_nothing_ever(
    run: Run, rewrite: Rewrite, small_job: Path, command: str
) -> None:
    bundle = rewrite(family="module", builder="evil.py:make")
    pictures = (small_job.parent / "pictures" / "0.png",) if command == "predict" else ()
    assert run(command, bundle, *pictures).returncode == 0
    assert not (bundle / "ran").exists()


@pytest.mark.slow
def test_a_table_of_operators_is_for_export_alone(run: Run, rewrite: Rewrite) -> None:
    bundle = rewrite()
    document = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    document["job"]["export"] |= {"exporter": "auto", "custom_ops": "evil.py:TABLE"}
    (bundle / "manifest.json").write_text(json.dumps(document), encoding="utf-8")
    assert run("validate", bundle, *SEED).returncode == 0
    assert not (bundle / "ran").exists()


@pytest.fixture
def moved(rewrite: Rewrite) -> Path:
    return rewrite(checkpoint="gone")


@pytest.mark.parametrize("command", ["validate", "bisect"])
def test_a_missing_checkpoint_names_both_ways_out(refuse: Refuse, moved: Path, command: str) -> None:
    refuse(
        command,
        moved,
        says=("gone does not exist", "--checkpoint PATH", "--set model.checkpoint=PATH"),
    )


@pytest.mark.slow
def test_a_bundle_that_moved_is_validated(run: Run, moved: Path, small_job: Path) -> None:
    weights = small_job.parent / "model"
    for options in (
        ("--checkpoint", weights),
        ("--set", f"model.checkpoint={weights}"),
    ):
        ran = run("validate", moved, *options, *SEED, "--json")
        assert ran.returncode == 0, ran.stderr
        assert json.loads(ran.stdout)["verdict"] == "pass"


def test_a_bundle_that_moved_is_compared_by_its_checkpoint(run: Run, moved: Path, small_job: Path) -> None:
    options = ("--checkpoint", small_job.parent / "model", *SEED)
    ran = run("compare", moved, moved / "model.onnx", *options, "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["rule"] == "oracle"


@pytest.fixture
def other(model_folder: Path) -> Path:
    """A checkpoint that fits the model, and is not the one that it was made from."""
    import torch

    file = model_folder / "yolox_nano.pth"
    state = torch.load(file, weights_only=True)
    name, tensor = next((name, value) for name, value in state.items() if value.is_floating_point())
    torch.save({**state, name: tensor * 1.5}, file)
    return file


def test_another_checkpoint_is_refused(refuse: Refuse, moved: Path, other: Path) -> None:
    for arguments in (("validate", moved), ("bisect", moved), ("compare", moved, moved)):
        refuse(
            *arguments,
            "--checkpoint",
            other,
            says=(str(other), "not the checkpoint", "SHA-256", "--trust"),
        )


@pytest.mark.slow
def test_another_checkpoint_is_noted_where_it_is_trusted(run: Run, moved: Path, other: Path) -> None:
    ran = run("validate", moved, "--checkpoint", other, "--trust", *SEED, "--json")
    assert ran.returncode == 1, ran.stderr
    (note,) = (note for note in json.loads(ran.stdout)["notes"] if "not the checkpoint" in note)
    assert str(other) in note


def test_a_checkpoint_that_judges_nothing_is_refused(refuse: Refuse, small_bundle: Path, other: Path) -> None:
    model = small_bundle / "model.onnx"
    refuse("compare", model, model, "--checkpoint", other, says=("--checkpoint", "--job"))
