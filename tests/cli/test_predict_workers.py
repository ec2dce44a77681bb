"""predict by several processes: the same lines in the same order, and a run that goes on where it stopped."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import onnx
import pytest

import onnxproof
from onnxproof.many import chunks
from onnxproof.many.predicting import predict_task
from onnxproof.runtime.folder import model_file
from onnxproof.source import sha256_of

Refuse = Callable[..., None]
Run = Callable[..., CompletedProcess[str]]


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pictures a chunk, so that five pictures are three chunks."""
    cut = chunks.chunks_of
    monkeypatch.setattr("onnxproof.many.predicting.chunks_of", lambda pictures, key: cut(pictures, key, 2))


def test_workers_print_the_lines_of_one_process(
    small_bundle: Path, pictures_folder: Path, run: Run, small_chunks: None, tmp_path: Path
) -> None:
    names = sorted(pictures_folder.glob("*.png"))
    names[1].write_bytes(b"no picture")
    ran = run(
        "predict", small_bundle, pictures_folder, "--jsonl", "--workers", "2", "--resume", tmp_path / "work"
    )
    assert ran.returncode == 2
    assert f"onnxproof: 1 of {len(names)} pictures cannot be used, see the answer\n" in ran.stderr
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [line["image"] for line in lines] == [str(name) for name in names]
    assert [line.get("error", {}).get("type") for line in lines] == [
        "PictureError" if at == 1 else None for at in range(len(names))
    ]
    predictor = onnxproof.load(small_bundle, threads=1)
    for name, line in zip(names, lines, strict=True):
        if "error" not in line:
            assert line == {"image": str(name), **json.loads(json.dumps(predictor.predict(name).to_json()))}
    # Again in the same folder: nothing is left to be done, and the lines are the same.
    done = {file: file.stat().st_mtime_ns for file in (tmp_path / "work").rglob("*")}
    again = run(
        "predict", small_bundle, pictures_folder, "--jsonl", "--workers", "1", "--resume", tmp_path / "work"
    )
    assert (again.returncode, again.stdout) == (2, ran.stdout)
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "work").rglob("*")} == done


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(("--workers", "0"), "--workers 0: expected 1 to", id="none"),
        pytest.param(("--workers", "2", "--draw", "drawn"), "do not go with --draw", id="drawings"),
        pytest.param(("--workers", "2", "--json"), "--jsonl", id="one-document"),
        pytest.param(("--workers", "2", "--dask", "tcp://host:1"), "give one", id="both"),
        pytest.param(("--resume", "pictures"), "holds files and no journal.json", id="a-folder-of-others"),
    ],
)
def test_what_workers_cannot_do_is_refused(
    small_bundle: Path,
    pictures_folder: Path,
    refuse: Refuse,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    says: str,
) -> None:
    monkeypatch.chdir(pictures_folder.parent)
    refuse("predict", small_bundle, "pictures", *arguments, says=[says])


def test_a_package_that_is_missing_is_named(
    small_bundle: Path, pictures_folder: Path, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    for name in ("fsspec", "distributed"):
        monkeypatch.setitem(sys.modules, name, None)
    refuse("predict", small_bundle, "memory://bucket/*.png", says=["pip install 'onnxproof[fsspec]'"])
    dask = ("--dask", "tcp://host:1")
    refuse("predict", small_bundle, pictures_folder, *dask, says=["pip install 'onnxproof[dask]'"])


def test_pictures_in_a_bucket_are_read_through_fsspec(
    small_bundle: Path, pictures_folder: Path, run: Run
) -> None:
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    for file in pictures_folder.glob("*.png"):
        system.pipe(f"/predict/{file.name}", file.read_bytes())
    remote = run("predict", small_bundle, "memory://predict", "--jsonl")
    local = run("predict", small_bundle, pictures_folder, "--jsonl")
    assert remote.returncode == 0, remote.stderr
    found, wanted = ([json.loads(line) for line in ran.stdout.splitlines()] for ran in (remote, local))
    assert [Path(line.pop("image")).name for line in found] == [
        Path(line.pop("image")).name for line in wanted
    ]
    assert found == wanted


@pytest.mark.parametrize("flags", [(), ("--no-checksums",)])
def test_workers_take_a_changed_model_only_if_they_are_told_to(
    small_bundle: Path, pictures_folder: Path, run: Run, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(small_bundle, bundle)
    model = onnx.load(bundle / "model.onnx")
    model.doc_string = "changed"
    onnx.save(model, bundle / "model.onnx")
    ran = run("predict", bundle, pictures_folder, "--jsonl", "--workers", "1", *flags)
    assert ran.returncode == (0 if flags else 2), ran.stderr
    assert ("another SHA-256" in ran.stderr) == (not flags)
    assert bool(ran.stdout.splitlines()) == bool(flags)


def test_a_worker_reads_each_file_once_for_its_checksum(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = predict_task(small_bundle, sha256_of(model_file(small_bundle)), {}, 1, "json", checksums=True)
    read: list[str] = []

    def noted(file: Path) -> str:
        read.append(file.name)
        return sha256_of(file)

    monkeypatch.setattr("onnxproof.many.predicting.sha256_of", noted)
    task.open()
    assert read == ["model.onnx"]
