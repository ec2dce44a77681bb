"""Pictures that cannot be used: found before capture by export, and before any output by predict."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from PIL import Image

Refuse = Callable[..., None]
Run = Callable[..., CompletedProcess[str]]
Damage = Callable[[Path], None]


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def text(file: Path) -> None:
    file.write_text("no picture", encoding="utf-8")


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[60:90] = b"\x00" * 30
    file.write_bytes(content)


DAMAGES = [
    pytest.param(truncate, id="half-a-png"),
    pytest.param(empty, id="no-bytes"),
    pytest.param(text, id="text"),
    pytest.param(flip, id="damaged-in-the-middle"),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_export_refuses_a_picture_that_cannot_be_read(
    refuse_export: Refuse, pictures_folder: Path, damage: Damage
) -> None:
    broken = pictures_folder / "0.png"
    damage(broken)
    refuse_export(*images(pictures_folder), says=(str(broken), "cannot be read", "whole", "PNG, JPEG"))


@pytest.mark.parametrize("number", range(5), ids=lambda number: f"picture-{number}-of-5-is-broken")
def test_export_opens_every_picture_that_the_job_names(
    refuse_export: Refuse, pictures_folder: Path, number: int
) -> None:
    truncate(pictures_folder / f"{number}.png")
    refuse_export(*images(pictures_folder), says=(f"{number}.png", "cannot be read"))


def test_export_opens_what_it_draws_also_where_it_does_not_validate(
    refuse_export: Refuse, pictures_folder: Path
) -> None:
    truncate(pictures_folder / "3.png")
    refuse_export("--no-validate", *images(pictures_folder), says=("3.png", "cannot be read"))


@pytest.mark.parametrize(
    "flags", [pytest.param((), id="sweep"), pytest.param(("--no-validate",), id="drawing")]
)
def test_export_refuses_a_picture_that_cannot_be_fitted(
    refuse_export: Refuse, pictures_folder: Path, flags: tuple[str, ...]
) -> None:
    Image.new("RGB", (640, 64)).save(pictures_folder / "0.png")
    refuse_export(
        *(*flags, *images(pictures_folder), "--set", "predict.resize=crop"),
        says=("640x64", "64..96 step 32", 'resize = "letterbox"'),
    )


@pytest.mark.parametrize(
    "flags", [pytest.param((), id="sweep"), pytest.param(("--no-validate",), id="drawing")]
)
def test_export_refuses_a_pattern_that_names_nothing(
    refuse_export: Refuse, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    pattern = f"{tmp_path}/no/*.png"
    refuse_export(*flags, "--set", f"validate.images={pattern}", says=(pattern, "names no file"))


def test_validate_refuses_a_picture_before_its_sweep(
    refuse: Refuse,
    small_job: Path,
    small_bundle: Path,
    pictures_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def sweep(*_: object, **__: object) -> None:
        raise AssertionError("the request was found wrong only after the sweep had begun")

    # By its name the package's function would be found, not the folder.
    monkeypatch.setattr(importlib.import_module("onnxproof.validate.verify"), "measure", sweep)
    truncate(pictures_folder / "4.png")
    model = small_bundle / "model.onnx"
    wanted = ("validate", small_job, "--onnx", model, *images(pictures_folder))
    refuse(*wanted, says=("4.png", "cannot be read"))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("flags", [pytest.param((), id="table"), pytest.param(("--json",), id="json")])
def test_predict_refuses_a_picture_that_cannot_be_read(
    refuse: Refuse, small_bundle: Path, pictures_folder: Path, damage: Damage, flags: tuple[str, ...]
) -> None:
    broken = pictures_folder / "0.png"
    damage(broken)
    refuse(
        "predict", small_bundle, broken, *flags, says=(str(broken), "cannot be read", "whole", "PNG, JPEG")
    )


def test_predict_refuses_a_picture_that_is_not_there(
    refuse: Refuse, small_bundle: Path, tmp_path: Path
) -> None:
    file = tmp_path / "no.png"
    refuse("predict", small_bundle, file, says=(str(file), "does not exist"))


def test_predict_refuses_a_folder_without_pictures(
    refuse: Refuse, small_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "none").mkdir()
    refuse("predict", small_bundle, tmp_path / "none", says=(str(tmp_path / "none"), "holds no picture"))


def test_json_of_good_pictures_is_not_cut_short_by_a_bad_one(
    run: Run, small_bundle: Path, pictures_folder: Path
) -> None:
    truncate(pictures_folder / "1.png")
    pictures = [pictures_folder / "0.png", pictures_folder / "1.png"]
    ran = run("predict", small_bundle, *pictures, "--json")
    assert ran.returncode == 2
    good, bad = json.loads(ran.stdout)
    assert "boxes" in good
    assert "1.png" in bad["error"]["message"]
    assert "cannot be read" in bad["error"]["message"]


def images(folder: Path) -> tuple[str, str]:
    return "--set", f"validate.images={folder}/*.png"
