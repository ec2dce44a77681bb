"""Model files and bundles that predict, inspect and validate cannot use."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import onnx
import pytest

Refuse = Callable[..., None]
Run = Callable[..., CompletedProcess[str]]
Damage = Callable[[Path], None]


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the small bundle, to be damaged."""
    copy = tmp_path / "bundle"
    shutil.copytree(small_bundle, copy)
    return copy


@pytest.fixture
def picture(small_job: Path) -> Path:
    return small_job.parent / "pictures" / "0.png"


def remove(file: Path) -> None:
    file.unlink()


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def text(file: Path) -> None:
    file.write_text("version https://git-lfs.github.com/spec/v1\n", encoding="utf-8")


def metadata(value: str) -> Damage:
    def write(file: Path) -> None:
        model = onnx.load(file)
        model.metadata_props[0].value = value
        onnx.save(model, file)

    return write


DAMAGES = [
    pytest.param(remove, ("holds no model.onnx", "give a bundle", ".onnx file"), id="no-model"),
    pytest.param(truncate, ("cannot be loaded", "whole", "Export it again"), id="half-a-model"),
    pytest.param(empty, ("cannot be loaded", "whole", "Export it again"), id="no-bytes"),
    pytest.param(text, ("cannot be loaded", "a Git LFS pointer", "git lfs pull"), id="text-named-onnx"),
    pytest.param(metadata("{"), ("model.onnx", "metadata", "export"), id="metadata-cut-short"),
    pytest.param(metadata("{}"), ("format", "export"), id="metadata-of-no-format"),
    pytest.param(
        metadata('{"format": 2}'), ("format is 2, expected 1", "export"), id="metadata-from-the-future"
    ),
    pytest.param(
        metadata('{"format": 1}'), ("not one that onnxproof wrote", "export"), id="metadata-with-keys-gone"
    ),
    pytest.param(metadata("[]"), ("no JSON object", "export"), id="metadata-of-another-form"),
]


@pytest.mark.parametrize(("damage", "parts"), DAMAGES)
@pytest.mark.parametrize("flags", [pytest.param((), id="table"), pytest.param(("--json",), id="json")])
def test_predict_refuses_a_bundle(
    refuse: Refuse,
    bundle: Path,
    picture: Path,
    damage: Damage,
    parts: tuple[str, ...],
    flags: tuple[str, ...],
) -> None:
    damage(bundle / "model.onnx")
    refuse("predict", bundle, picture, *flags, says=(str(bundle), *parts))


@pytest.mark.parametrize(("damage", "parts"), DAMAGES)
def test_inspect_refuses_a_bundle(
    refuse: Refuse, bundle: Path, damage: Damage, parts: tuple[str, ...]
) -> None:
    damage(bundle / "model.onnx")
    refuse("inspect", bundle, says=(str(bundle), *parts))


@pytest.mark.parametrize("command", ["predict", "inspect", "validate"])
def test_a_path_that_is_not_there(refuse: Refuse, tmp_path: Path, picture: Path, command: str) -> None:
    file = tmp_path / ("no.toml" if command == "validate" else "no.onnx")
    pictures = (picture,) if command == "predict" else ()
    refuse(command, file, *pictures, says=(str(file), "does not exist", "give "))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
@pytest.mark.parametrize(
    ("command", "flags"), [("inspect", ()), ("check", ("--against", "x")), ("export", ())]
)
def test_what_is_no_file(refuse: Refuse, tmp_path: Path, command: str, flags: tuple[str, ...]) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    refuse(command, pipe, *flags, says=(f"{pipe} is a pipe, not a file: give ",))
    refuse(command, os.devnull, *flags, says=(f"{os.devnull} is a device, not a file: give ",))


@pytest.mark.parametrize("command", ["predict", "inspect", "validate"])
def test_a_folder_that_is_no_bundle(refuse: Refuse, tmp_path: Path, picture: Path, command: str) -> None:
    pictures = (picture,) if command == "predict" else ()
    refuse(command, tmp_path, *pictures, says=(str(tmp_path), "no", "bundle"))


@pytest.mark.parametrize("command", ["predict", "inspect"])
@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        pytest.param("opset", "twenty", 'opset is "twenty"', id="broken"),
        pytest.param("checkpoint_sha256", "0" * 64, "differ in checkpoint_sha256", id="of-another-model"),
    ],
)
def test_a_manifest_that_is_not_the_models_is_noted(
    run: Run, bundle: Path, picture: Path, command: str, key: str, value: str, says: str
) -> None:
    arguments = (bundle, picture) if command == "predict" else (bundle,)
    before = run(command, *arguments, "--json")
    document = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    (bundle / "manifest.json").write_text(json.dumps({**document, key: value}), encoding="utf-8")
    ran = run(command, *arguments, "--json")
    assert (before.returncode, before.stderr) == (0, "")
    assert (ran.returncode, ran.stdout) == (0, before.stdout)
    assert ran.stderr.startswith(f"note: {bundle}"), ran.stderr
    assert says in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_validate_of_a_lone_model_says_what_it_needs(refuse: Refuse, bundle: Path) -> None:
    refuse("validate", bundle / "model.onnx", says=("model.onnx is a model", "give the job", "--onnx"))


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        pytest.param(
            ("--map", "a=b"), ("--map is for a file from elsewhere", "--onnx FILE"), id="its-own-file"
        ),
        pytest.param(("--onnx", "MODEL", "--map", "a"), ("--map a: expected FILE_NAME=NAME",), id="no-pair"),
        pytest.param(
            ("--onnx", "MODEL", "--map", "a=input"), ("--map a=input: the file has no",), id="no-such-name"
        ),
    ],
)
def test_validate_refuses_names_that_are_not_there(
    refuse: Refuse, bundle: Path, small_job: Path, flags: tuple[str, ...], says: tuple[str, ...]
) -> None:
    model = str(bundle / "model.onnx")
    refuse("validate", small_job, *(model if flag == "MODEL" else flag for flag in flags), says=says)


def test_validate_refuses_a_bundle_without_its_model(refuse: Refuse, bundle: Path) -> None:
    (bundle / "model.onnx").unlink()
    refuse("validate", bundle, says=(str(bundle / "model.onnx"), "does not exist", "export"))


@pytest.mark.parametrize(
    ("damage", "advice"),
    [
        pytest.param(truncate, "whole", id="half"),
        pytest.param(empty, "whole", id="no-bytes"),
        pytest.param(text, "git lfs pull", id="text"),
    ],
)
def test_validate_refuses_a_file_that_is_no_onnx(
    refuse: Refuse, small_job: Path, bundle: Path, damage: Damage, advice: str
) -> None:
    file = bundle / "model.onnx"
    damage(file)
    refuse("validate", small_job, "--onnx", file, says=(str(file), "cannot be loaded", advice))


def test_validate_refuses_an_onnx_that_is_not_there(refuse: Refuse, small_job: Path, tmp_path: Path) -> None:
    file = tmp_path / "no.onnx"
    refuse("validate", small_job, "--onnx", file, says=(str(file), "does not exist", "--onnx"))


def test_validate_refuses_a_job_that_was_not_exported(
    refuse: Refuse, small_job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refuse("validate", small_job, says=("dist/small/model.onnx", "does not exist", "export the job first"))


def test_validate_refuses_an_override_that_fits_no_bundle(refuse: Refuse, bundle: Path) -> None:
    refuse("validate", bundle, "--set", "validate.efort=quick", says=("manifest.json", "validate.efort"))


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        pytest.param("{", ("manifest.json", "is no JSON", "export the model again"), id="cut-short"),
        pytest.param("[]", ("no JSON object", "export"), id="of-another-form"),
        pytest.param('{"format": 9}', ("format is 9, expected 1", "export"), id="from-the-future"),
    ],
)
def test_validate_refuses_a_manifest(
    refuse: Refuse, bundle: Path, content: str, parts: tuple[str, ...]
) -> None:
    (bundle / "manifest.json").write_text(content, encoding="utf-8")
    refuse("validate", bundle, says=parts)


def moved(bundle: Path, checkpoint: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    manifest["job"]["model"]["checkpoint"] = str(checkpoint)
    (bundle / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def test_validate_refuses_another_checkpoint_than_the_bundles(
    refuse: Refuse, bundle: Path, model_folder: Path
) -> None:
    import torch

    file = model_folder / "yolox_nano.pth"
    state = torch.load(file, weights_only=True)
    torch.save(state | {min(state): state[min(state)] + 1}, file)
    moved(bundle, model_folder)
    refuse("validate", bundle, says=(str(file), "not the checkpoint", "SHA-256", "export the job again"))


def test_validate_refuses_a_bundle_whose_checkpoint_is_gone(
    refuse: Refuse, bundle: Path, tmp_path: Path
) -> None:
    moved(bundle, tmp_path / "gone")
    refuse("validate", bundle, says=(str(tmp_path / "gone"), "does not exist"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(["--score-threshold", "2"], "not in the range 0<=x<=1", id="a-score-above-1"),
        pytest.param(["--score-threshold", "-0.1"], "not in the range 0<=x<=1", id="a-score-below-0"),
        pytest.param(["--iou-threshold", "1.5"], "not in the range 0<=x<=1", id="an-iou-above-1"),
        pytest.param(["--score-threshold", "high"], "not a valid float", id="a-score-in-words"),
        pytest.param(["--scores", "0.5"], "No such option", id="no-such-flag"),
    ],
)
def test_a_flag_that_cannot_be(
    run: Run, small_bundle: Path, picture: Path, arguments: list[str], says: str
) -> None:
    usage_error(run("predict", small_bundle, picture, *arguments), says)


def test_a_threshold_that_is_no_number(refuse: Refuse, small_bundle: Path, picture: Path) -> None:
    wanted = ("--score-threshold", "nan")
    refuse("predict", small_bundle, picture, *wanted, says=("score_threshold is NaN", "from 0 to 1"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(["prove"], "there is no command 'prove'; there are: export", id="no-such-command"),
        pytest.param(["export"], "Missing argument 'JOB|CHECKPOINT'", id="export-without-a-job"),
        pytest.param(["predict", "dist"], "Missing argument 'IMAGE...'", id="predict-without-a-picture"),
        pytest.param(["export", "a.toml", "--out"], "requires an argument", id="a-flag-without-its-value"),
        pytest.param(
            ["export", "a.toml", "--junit", ""],
            "the argument after --junit is empty",
            id="an-empty-path",
        ),
        pytest.param(["export", "a.toml", "--html="], "--html= is without a value", id="an-empty-value"),
    ],
)
def test_a_command_line_that_is_incomplete(run: Run, arguments: list[str], says: str) -> None:
    usage_error(run(*arguments), says)


def usage_error(ran: CompletedProcess[str], says: str) -> None:
    assert (ran.returncode, ran.stdout) == (2, "")
    _, _, message = ran.stderr.rpartition("Error: ")
    assert says in message, ran.stderr
    assert message.count("\n") == 1, ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.slow
def test_a_file_that_decides_by_another_threshold_than_its_job_fails(
    run: Run, small_job: Path, bundle: Path, tmp_path: Path
) -> None:
    """Chosen for one verdict with --set, another threshold is no fault of the file."""
    job = tmp_path / "stricter.toml"
    job.write_text(
        f'extends = "{small_job.as_posix()}"\nname = "stricter"\n[validate]\nscore_threshold = 0.6\n'
    )
    ran = run("validate", job, "--onnx", bundle / "model.onnx")
    assert ran.returncode == 1, ran
    assert "fail: metadata 1 (limit 0): the file decides by score_threshold 0.45 unless told another" in (
        " ".join(ran.stdout.split())
    )
    ran = run("validate", small_job, "--onnx", bundle / "model.onnx", "--set", "validate.score_threshold=0.6")
    assert ran.returncode == 0, ran
    assert "the file decides by score_threshold 0.45 unless told another" in " ".join(ran.stdout.split())
