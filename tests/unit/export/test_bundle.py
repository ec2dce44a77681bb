"""A reader sees the old bundle or the new one, and nothing but a bundle of onnxproof's own is replaced."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from onnxproof.errors import ExportError, RequestError
from onnxproof.export.bundle import BUNDLE, BUNDLE_FILES, why_kept
from onnxproof.runtime.drawings import drawing_names, is_drawing, save_drawing
from onnxproof.system import files, own_folder
from onnxproof.system.own_folder import signed, staged_folder

MANIFEST = {
    "format": 1,
    "name": "mine",
    "task": "raw",
    "family": "module",
    "versions": {"onnxproof": "0.1.0"},
}


VERDICT = json.dumps({"format": 2, "verdict": "pass", "model_sha256": "0", "checks": []})


def write_bundle(folder: Path, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_text(text)
    told = {**MANIFEST, "model_sha256": hashlib.sha256(text.encode()).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(told))
    (folder / "pictures").mkdir()
    save_drawing(Image.new("RGB", (8, 8)), folder / "pictures" / "a.png")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def replace(target: Path, text: str = "new", inputs: tuple[Path, ...] = ()) -> None:
    with staged_folder(target, BUNDLE, inputs) as folder:
        write_bundle(folder, text)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """An older bundle."""
    write_bundle(tmp_path / "mine", "old")
    return tmp_path / "mine"


@pytest.mark.parametrize("can_exchange", [True, False], ids=["in-one-step", "in-three-renames"])
def test_the_new_bundle_takes_the_old_ones_place(
    target: Path, monkeypatch: pytest.MonkeyPatch, *, can_exchange: bool
) -> None:
    if not can_exchange:
        monkeypatch.setattr(files, "exchange", lambda one, other: False)
    (target / "parity.json").write_text(VERDICT)
    for text in ("first", "second"):
        replace(target, text)
    assert (target / "model.onnx").read_text() == "second"
    assert not (target / "parity.json").exists()
    assert [path.name for path in target.parent.iterdir()] == ["mine"]


def test_an_error_leaves_the_old_bundle_alone(target: Path) -> None:
    before = contents(target)
    with pytest.raises(ExportError), staged_folder(target, BUNDLE) as folder:
        (folder / "model.onnx").write_text("half")
        raise ExportError("capture failed")
    assert contents(target) == before
    assert [path.name for path in target.parent.iterdir()] == ["mine"]


def test_the_old_bundle_is_whole_until_the_block_ends(target: Path) -> None:
    before = contents(target)
    with staged_folder(target, BUNDLE) as folder:
        write_bundle(folder, "new")
        assert contents(target) == before
    assert (target / "model.onnx").read_text() == "new"


def test_a_bundle_can_be_read_by_others(tmp_path: Path) -> None:
    """A bundle follows the umask, as any folder does."""
    plain = tmp_path / "plain"
    plain.mkdir()
    replace(tmp_path / "mine")
    assert (tmp_path / "mine").stat().st_mode == plain.stat().st_mode


def test_a_target_that_cannot_be_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    with pytest.raises(RequestError, match="is a file"), staged_folder(file, BUNDLE):
        pass
    with pytest.raises(RequestError, match="cannot be written"), staged_folder(file / "below", BUNDLE):
        pass
    assert file.read_text() == "in the way"


def test_an_empty_folder_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".DS_Store").write_bytes(b"of a file manager")
    replace(tmp_path / "mine")
    assert (tmp_path / "mine" / "model.onnx").read_text() == "new"


def no_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def anothers_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"manifest_version": 3, "name": "an extension"}')


def broken_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("[" * 100_000)


def no_model(folder: Path) -> None:
    (folder / "model.onnx").unlink()


def a_file_more(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")


def a_folder_more(folder: Path) -> None:
    (folder / "runs").mkdir()


def a_hidden_file_more(folder: Path) -> None:
    (folder / ".git").mkdir()


def a_folder_of_a_files_name(folder: Path) -> None:
    (folder / "parity.json").mkdir()


def another_model(folder: Path) -> None:
    (folder / "model.onnx").write_text("of the user's own")


def weights_of_another(folder: Path) -> None:
    (folder / "model.onnx.data").write_text("of the user's own")


def golden_of_another(folder: Path) -> None:
    (folder / "golden.npz").write_text("of the user's own")


def a_verdict_that_is_none(folder: Path) -> None:
    (folder / "parity.json").write_text('{"mine": 1}')


def a_picture_more(folder: Path) -> None:
    Image.new("RGB", (8, 8)).save(folder / "pictures" / "notes.png")


def a_drawing_that_was_changed(folder: Path) -> None:
    Image.open(folder / "pictures" / "a.png").convert("L").save(folder / "pictures" / "a.png")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (no_manifest, "is no bundle that onnxproof wrote (it holds model.onnx, pictures)"),
        (anothers_manifest, "is no bundle that onnxproof wrote (it holds manifest.json, model.onnx"),
        (broken_manifest, "is no bundle that onnxproof wrote"),
        (no_model, "is no bundle that onnxproof wrote (it holds manifest.json, pictures)"),
        (a_file_more, "holds what onnxproof did not write (notes.txt)"),
        (a_folder_more, "holds what onnxproof did not write (runs)"),
        (a_hidden_file_more, "holds what onnxproof did not write (.git)"),
        (a_folder_of_a_files_name, "holds what onnxproof did not write (parity.json)"),
        (a_picture_more, "holds what onnxproof did not write (pictures/notes.png)"),
        (another_model, "holds another model.onnx than onnxproof wrote (its SHA-256 is not that in manifest"),
        (weights_of_another, "holds another model.onnx.data than onnxproof wrote"),
        (golden_of_another, "holds another golden.npz than onnxproof wrote"),
        (a_verdict_that_is_none, "holds what onnxproof did not write (parity.json)"),
        (a_drawing_that_was_changed, "holds what onnxproof did not write (pictures/a.png)"),
    ],
)
@pytest.mark.parametrize("when", ["before", "during"])
@pytest.mark.parametrize("linked", [False, True], ids=["itself", "through-a-link"])
def test_what_is_not_onnxproofs_is_named_and_left_alone(
    target: Path, change: Callable[[Path], None], says: str, when: str, *, linked: bool
) -> None:
    given = target
    if linked:
        given = target.parent / "link"
        given.symlink_to(target)
    if when == "before":
        change(target)
    before = contents(target)
    with pytest.raises(RequestError) as refused, staged_folder(given, BUNDLE) as folder:
        assert when == "during"
        write_bundle(folder, "new")
        change(target)
        before = contents(target)
    assert f"{target} {says}" in str(refused.value)
    assert "--out" in str(refused.value)
    assert contents(target) == before
    assert {path.name for path in target.parent.iterdir()} == ({"mine", "link"} if linked else {"mine"})


def test_what_comes_between_the_last_look_and_the_swap_is_put_back(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap = files.swap

    def swap_late(staged: Path, place: Path) -> None:
        if not (place / "notes.txt").exists() and not (staged / "notes.txt").exists():
            a_file_more(place)
        swap(staged, place)

    monkeypatch.setattr(own_folder, "swap", swap_late)
    with pytest.raises(RequestError, match=r"notes\.txt"):
        replace(target)
    assert (target / "notes.txt").read_text() == "mine"
    assert (target / "model.onnx").read_text() == "old"
    assert [path.name for path in target.parent.iterdir()] == ["mine"]


@pytest.mark.parametrize("name", [".", "manifest.json", "pictures/a.png", "pictures/none/../a.png"])
def test_a_bundle_that_an_input_lies_in_is_left_alone(target: Path, name: str) -> None:
    (target.parent / "link").symlink_to(target)
    before = contents(target)
    for given in (target / name, target.parent / "link" / name):
        with pytest.raises(RequestError, match=r"would be replaced, and .* is read from it"):
            replace(target, inputs=(given,))
    assert contents(target) == before
    replace(target, inputs=(target.parent, target.parent / "other"))


def test_links_in_a_bundle_lose_their_names_alone(target: Path) -> None:
    far = target.parent / "far"
    shutil.move(target / "pictures", far)
    a_file_more(far)
    (target / "pictures").symlink_to(far)
    shutil.move(target / "model.onnx", far)
    (target / "model.onnx").symlink_to(far / "model.onnx")
    replace(target)
    assert sorted(contents(far)) == ["a.png", "model.onnx", "notes.txt"]


def test_every_file_of_a_bundle_is_its_own(target: Path) -> None:
    for name in BUNDLE_FILES:
        if not (target / name).exists():
            (target / name).write_text("")
    assert why_kept(target) is None


def test_a_bundles_files_as_export_wrote_them_are_replaced(target: Path) -> None:
    """Each is told by its SHA-256; an empty file holds nothing to lose."""
    told = json.loads((target / "manifest.json").read_text())
    for name, key in (("model.onnx.data", "data_sha256"), ("golden.npz", "golden_sha256")):
        (target / name).write_bytes(name.encode())
        told[key] = hashlib.sha256(name.encode()).hexdigest()
    (target / "manifest.json").write_text(json.dumps(told))
    (target / "parity.json").write_text(VERDICT)
    assert why_kept(target) is None
    (target / "model.onnx").write_bytes(b"")
    replace(target)
    assert (target / "model.onnx").read_text() == "new"


@pytest.mark.parametrize("below", ["", "net", "a/net"], ids=["the-target", "its-parent", "above-it"])
def test_a_link_that_leads_to_itself_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "mine").symlink_to("mine")
    with pytest.raises(RequestError, match="mine is a link that leads to itself"):
        replace(tmp_path / "mine" / below)
    assert (tmp_path / "mine").is_symlink()


def test_a_drawing_is_told_from_other_pictures(tmp_path: Path) -> None:
    drawing, other = Image.new("RGB", (8, 8), "red"), tmp_path / "other.png"
    drawing.save(other)
    save_drawing(drawing, tmp_path / "drawn.png")
    save_drawing(drawing, tmp_path / "drawn.png")
    assert is_drawing(tmp_path / "drawn.png")
    assert not is_drawing(other)
    with pytest.raises(FileExistsError, match="was not drawn by onnxproof"):
        save_drawing(drawing, other)
    (tmp_path / "text.png").write_text("no picture")
    assert not is_drawing(tmp_path / "text.png")
    assert not is_drawing(tmp_path / "none.png")
    assert not is_drawing(tmp_path)


def test_a_file_is_no_drawing_where_a_package_asks_for_a_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replaced(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'pi_heif'")

    monkeypatch.setattr(Image, "open", replaced)
    (tmp_path / "text.png").write_text("no picture")
    assert not is_drawing(tmp_path / "text.png")


def test_drawings_get_names_of_their_own() -> None:
    pictures = [Path("a/x.png"), Path("b/x.jpg"), Path("c/X.png"), Path("x-2.png"), Path("y.png")]
    assert drawing_names(pictures) == ("x.png", "x-2.png", "X-3.png", "x-2-2.png", "y.png")


def test_no_drawing_is_called_as_another_folder() -> None:
    """The frames of a video are drawn into a folder that is called as the video, without the suffix."""
    names = drawing_names([Path("...mp4"), Path("..mp4"), Path(".."), Path("picture.jpg")])
    assert names == ("picture.png", "picture-2.png", "picture-3.png", "picture-4.png")


def test_a_mounted_folder_is_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: True)
    with (
        pytest.raises(RequestError, match="where a disk is mounted"),
        staged_folder(tmp_path / "mine", BUNDLE),
    ):
        raise AssertionError("found too late")


@pytest.mark.parametrize("ending", ["\n", "\r\n"], ids=["as-written", "as-git-checks-out"])
def test_a_readme_that_export_wrote_is_replaced(target: Path, ending: str) -> None:
    (target / "README.md").write_bytes(signed("# mine\n\ntext\n", "export").replace("\n", ending).encode())
    replace(target)
    assert (target / "model.onnx").read_text() == "new"


SIGNED = signed("# mine\n", "export")


@pytest.mark.parametrize(
    "text",
    ["# my notes\n", SIGNED.replace("mine", "mine, with notes"), SIGNED + "more\n"],
    ids=["another", "edited", "added-to"],
)
def test_a_readme_that_somebody_wrote_is_kept(target: Path, text: str) -> None:
    (target / "README.md").write_text(text)
    with pytest.raises(RequestError, match=r"did not write \(README\.md\)"):
        replace(target)
    assert (target / "README.md").read_text() == text
