"""A checkpoint without a job: ``init`` writes one, and ``export`` runs the same."""

import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from torchvision import models

import onnxproof
from onnxproof.finding.draft import draft

Refuse = Callable[..., None]
Run = Callable[..., CompletedProcess[str]]

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
SMALL = (
    *("--set", "dims.batch=1", "--set", "dims.height=64", "--set", "dims.width=64"),
    *("--set", "export.exporter=torchscript", "--set", "export.simplify=none"),
    *("--set", "validate.effort=quick", "--set", "validate.threads=1"),
)


@pytest.mark.parametrize(
    ("given", "size", "why"),
    [
        pytest.param(("dims.height=112", "dims.width=112"), 128, "in the same ratio", id="half-as-large"),
        pytest.param(("dims.height=112..224",), 256, "does it still fit", id="several-sizes"),
        pytest.param(("dims.width=112", "predict.size=112"), 112, "given with --set", id="given-itself"),
        pytest.param(("dims.batch=1",), 256, "as torchvision prepares", id="no-side"),
    ],
)
def test_the_size_of_pictures_follows_the_sides_that_are_given(
    tmp_path: Path, given: tuple[str, ...], size: int, why: str
) -> None:
    torch.save(models.squeezenet1_1(num_classes=3).state_dict(), tmp_path / "net.pt")
    made = draft(tmp_path / "net.pt", set=given)
    assert made.job.predict.size == size
    (line,) = [line for line in made.text.splitlines() if line.startswith("size = ")]
    assert why in line


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: the demo's checkpoint, called best.pt, with pictures beside it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run" / "images").mkdir(parents=True)
    for name in ("digits-colormap.json", "norm_stats.json"):
        shutil.copy(DIGITS / "yolox" / name, tmp_path / "run")
    shutil.copy(DIGITS / "yolox" / "yolox_nano.pth", tmp_path / "run" / "best.pt")
    shutil.copy(DIGITS / "images" / "scene-01.png", tmp_path / "run" / "images")
    return tmp_path


def test_the_job_says_where_each_value_comes_from(place: Path, run: Run) -> None:
    ran = run("init", "run/best.pt", "--set", "dims.height=64..96 step 32", "--set", "export.opset=18")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines()[-1] == "next: onnxproof export run.toml"
    text = (place / "run.toml").read_text(encoding="utf-8")
    document = tomllib.loads(text)
    assert document["model"] == {
        "family": "yolox",
        "task": "detection",
        "variant": "nano",
        "checkpoint": "run/best.pt",
    }
    assert (document["dims"]["height"], document["export"]) == ("64..96 step 32", {"opset": 18})
    assert document["validate"] == {"images": "run/images/*.png", "effort": "quick"}
    without = [line for line in text.splitlines() if "=" in line and "  # " not in line]
    assert without == []
    assert text.count("# given with --set") == 2
    onnxproof.load_job(place / "run.toml")


def test_the_job_is_seen_from_its_own_folder(place: Path, run: Run) -> None:
    (place / "jobs").mkdir()
    assert run("init", "run", "--out", "jobs/mine.toml").returncode == 0
    job = onnxproof.load_job("jobs/mine.toml")
    assert (job.name, job.model.checkpoint) == ("run", "../run")
    assert job.resolve("../run/best.pt").is_file()


@pytest.mark.parametrize("arguments", [(), ("--out", "run.toml")], ids=["by-default", "named"])
def test_a_file_that_is_there_stays(place: Path, refuse: Refuse, arguments: tuple[str, ...]) -> None:
    (place / "run.toml").write_text("mine", encoding="utf-8")
    before = contents(place)
    refuse("init", "run/best.pt", *arguments, says=["run.toml is there already", "--out"])
    assert contents(place) == before


def test_a_job_that_would_not_run_is_not_written(place: Path, refuse: Refuse) -> None:
    before = contents(place)
    refuse("init", "run/best.pt", "--set", "model.variant=tiny", says=["does not fit yolox_tiny"])
    refuse("init", "run/best.pt", "--out", "gone/job.toml", says=["gone is no folder", "--out"])
    refuse("init", "run/best.pt", "--json", "--set", "dims.depth=3", says=["dims.depth"])
    assert contents(place) == before


def test_networks_that_fit_alike_are_asked_for(place: Path, refuse: Refuse, run: Run) -> None:
    timm = pytest.importorskip("timm")
    network = timm.create_model("tf_efficientnet_b0", pretrained=False, num_classes=3)
    torch.save(network.state_dict(), place / "net.pth")
    refuse(
        "init",
        "net.pth",
        says=["do not tell which variant", "tf_efficientnet_b0", "--set model.variant=NAME"],
    )
    assert run("init", "net.pth", "--set", "model.variant=tf_efficientnet_b0").returncode == 0


def test_a_network_with_arguments_is_told_by_its_name(place: Path, refuse: Refuse) -> None:
    refuse(
        *("init", DIGITS / "classifier"),
        says=[
            "names mobilenet_v2, and the tensors are not those",
            "features.2.conv.0.0.weight is [64, 16, 1, 1], there [96, 16, 1, 1] and ",
            "--set model.kwargs.NAME=VALUE, where NAME is one of width_mult, inverted_residual_setting",
        ],
    )


def test_export_runs_what_init_would_write(place: Path, run: Run) -> None:
    ran = run("export", "run/best.pt", "--json", *SMALL)
    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)
    assert document["bundle"] == "dist/run"
    assert run("init", "run/best.pt", *SMALL).returncode == 0
    written = onnxproof.load_job("run.toml")
    assert written == draft("run/best.pt", set=SMALL[1::2]).job
    made = document["manifest"]["job"]
    assert made["dims"] == {name: str(dim) for name, dim in written.dims.items()}
    assert made["model"]["checkpoint"] == "../../run/best.pt"
    assert "no job is given: family yolox" in document["parity"]["notes"][0]


@pytest.mark.slow
def test_a_checkpoint_that_decides_nothing_is_simplified_and_compared_once(place: Path) -> None:
    stages: list[str] = []

    def note(stage: str, done: int, total: int) -> None:
        del done, total
        if stages[-1:] != [stage]:
            stages.append(stage)

    shapes = [one for one in SMALL[1::2] if not one.startswith("export.simplify")]
    bundle = onnxproof.export("run/best.pt", set=[*shapes, "validate.score_threshold=0.999"], progress=note)
    assert bundle.verdict is not None
    checks = {check.name: check for check in bundle.verdict.checks}
    assert (checks["decisions"].status, bundle.manifest.simplify) == ("error", "onnxsim")
    assert "decided nothing on any picture" in checks["decisions"].reason
    assert sum(stage == "simplify" for stage in stages) == 1
    assert sum(stage.startswith("compare ") and " cases, " in stage for stage in stages) == 1


def test_a_model_is_no_checkpoint(place: Path, refuse: Refuse) -> None:
    (place / "model.onnx").write_bytes(b"")
    refuse("export", "model.onnx", says=["is a model, not a job", "or a checkpoint"])
    refuse("init", "gone.pth", says=["gone.pth does not exist"])


def test_init_and_export_in_python(place: Path) -> None:
    torch.save(models.resnet18(num_classes=3).state_dict(), "resnet18.pth")
    made = onnxproof.init("resnet18.pth", out="mine.toml", set=["name=mine"])
    assert made.file == Path("mine.toml")
    assert onnxproof.load_job("mine.toml") == made.job
    assert (made.job.name, made.job.wrapper.normalize) == ("mine", "imagenet")
