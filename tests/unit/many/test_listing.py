"""Pictures by path and by URL. A local path never imports fsspec."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from onnxproof.cli import _pictures
from onnxproof.errors import MissingPackageError, PictureError, RequestError
from onnxproof.many.chunks import chunks_of
from onnxproof.many.listing import pictures_named, several
from onnxproof.runtime import read_picture
from onnxproof.runtime.remote import RemotePicture

fsspec = pytest.importorskip("fsspec")


def png(value: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (3, 2), (value, 0, 0)).save(stream, format="PNG")
    return stream.getvalue()


@pytest.fixture
def bucket() -> str:
    """A folder in fsspec's memory, with two pictures and a text."""
    system = fsspec.filesystem("memory")
    for name, content in {"b.png": png(2), "a.png": png(1), "notes.txt": b"no picture"}.items():
        system.pipe(f"/listing/{name}", content)
    return "memory://listing"


@pytest.mark.parametrize("end", ["", "/*.png", "/[ab].png"])
def test_a_url_names_pictures_as_a_path_does(bucket: str, end: str) -> None:
    found = pictures_named([f"{bucket}{end}"])
    assert [picture.name for picture in found] == ["a.png", "b.png"]
    assert [read_picture(picture).getpixel((0, 0)) for picture in found] == [(1, 0, 0), (2, 0, 0)]


def test_a_changed_picture_in_a_bucket_makes_another_chunk(bucket: str) -> None:
    names = [next(chunks_of(pictures_named([bucket]), "key")).name for _ in range(2)]
    assert names[0] == names[1]
    fsspec.filesystem("memory").pipe("/listing/b.png", png(99) + b" ")
    assert next(chunks_of(pictures_named([bucket]), "key")).name != names[0]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("memory://nowhere/1.png", "cannot be read"),
        ("nosuch://bucket/1.png", "cannot be read"),
        ("memory://listing/*.tif", "names no picture"),
    ],
)
def test_a_url_that_names_nothing_is_refused(bucket: str, url: str, says: str) -> None:
    with pytest.raises((PictureError, RequestError), match=says):
        pictures_named([url])


def test_a_text_is_no_url_where_it_is_not_the_users_own() -> None:
    """Requests hold paths of strangers: only what was listed as a URL is fetched."""
    with pytest.raises(PictureError, match="is a URL, and no path"):
        read_picture("memory://listing/a.png")
    with pytest.raises(PictureError, match="cannot be read"):
        read_picture(RemotePicture("memory://nowhere.png"))


def test_several_names_may_be_meant(bucket: str, tmp_path: Path) -> None:
    assert several([f"{bucket}/*.png"])
    assert several([str(tmp_path)])
    assert not several([f"{bucket}/a.png"])


def test_local_paths_import_no_fsspec(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(1))
    code = (
        "import sys; from onnxproof.many.listing import pictures_named; "
        "from onnxproof.runtime import read_picture; "
        "print(*map(read_picture, pictures_named([sys.argv[1]]))); assert 'fsspec' not in sys.modules"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "3x2" in ran.stdout


def test_lines_of_standard_input_are_no_patterns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a[1].png\n\nmemory://listing/b.png\n"))
    found = _pictures.pictures_named(["-"])
    assert found == (Path("a[1].png"), RemotePicture("memory://listing/b.png"))


@pytest.mark.parametrize("raised", [ImportError('install "aiohttp"'), ModuleNotFoundError("no aiohttp")])
def test_a_place_whose_package_is_missing_names_it(
    raised: ImportError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(fsspec.core, "url_to_fs", fail)
    monkeypatch.setattr(fsspec, "open", fail)
    for read in (lambda: pictures_named(["https://a/b.png"]), RemotePicture("https://a/b.png").read):
        with pytest.raises(MissingPackageError, match=r"needs a package that is not installed \(.*aiohttp"):
            read()
