"""A reader sees the old bundle or the new one, never a half, and nothing is left lying about."""

from pathlib import Path

import pytest

from onnxproof.errors import ExportError, RequestError
from onnxproof.export import bundle
from onnxproof.export.bundle import staged_folder


def contents(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in sorted(folder.iterdir())}


@pytest.mark.parametrize("can_exchange", [True, False], ids=["in-one-step", "in-two-renames"])
def test_the_new_bundle_takes_the_old_ones_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, can_exchange: bool
) -> None:
    if not can_exchange:
        monkeypatch.setattr(bundle, "_exchange", lambda one, other: False)
    target = tmp_path / "dist" / "mine"
    for text in ("first", "second"):
        with staged_folder(target) as folder:
            (folder / "model.onnx").write_text(text)
            (folder / f"only-{text}").write_text(text)
    assert contents(target) == {"model.onnx": "second", "only-second": "second"}
    assert [path.name for path in target.parent.iterdir()] == ["mine"]


def test_an_error_leaves_the_old_bundle_alone(tmp_path: Path) -> None:
    target = tmp_path / "mine"
    with staged_folder(target) as folder:
        (folder / "model.onnx").write_text("good")
    with pytest.raises(ExportError), staged_folder(target) as folder:
        (folder / "model.onnx").write_text("half")
        raise ExportError("capture failed")
    assert contents(target) == {"model.onnx": "good"}
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_old_bundle_is_whole_until_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "mine"
    with staged_folder(target) as folder:
        (folder / "model.onnx").write_text("old")
    with staged_folder(target) as folder:
        (folder / "model.onnx").write_text("new")
        assert contents(target) == {"model.onnx": "old"}
    assert contents(target) == {"model.onnx": "new"}


def test_a_bundle_can_be_read_by_others(tmp_path: Path) -> None:
    """Temporary folders are made for their owner alone; a bundle follows the umask."""
    plain = tmp_path / "plain"
    plain.mkdir()
    with staged_folder(tmp_path / "mine") as folder:
        (folder / "model.onnx").write_text("x")
    assert (tmp_path / "mine").stat().st_mode == plain.stat().st_mode


def test_a_target_that_cannot_be_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    with pytest.raises(RequestError, match="is a file"), staged_folder(file):
        pass
    with pytest.raises(RequestError, match="cannot be written"), staged_folder(file / "below"):
        pass
    assert file.read_text() == "in the way"
