"""The job that a source stands for: what a bundle may say, and where its checkpoint is looked for."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from contracts import manifest as made

from onnxproof.errors import CheckpointError, JobError, ModelFileError, RequestError, TrustError
from onnxproof.job.asked import inputs_of, job_to_export, job_to_validate

CANARY = "raise AssertionError('the file of a bundle was run')\n"
MakeBundle = Callable[..., Path]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def bundle(tmp_path: Path) -> MakeBundle:
    """A folder with the manifest of a job, and a builder beside it that must not be run."""

    def write(model: dict[str, Any], *, sha: str | None = None, images: str | None = None) -> Path:
        folder = tmp_path / "bundle"
        folder.mkdir()
        (folder / "evil.py").write_text(CANARY, encoding="utf-8")
        manifest = made(
            name="small",
            task="raw",
            family=model["family"],
            inputs=(),
            outputs=(),
            dims=(),
            preprocess=None,
            classes=(),
            postprocess={},
            opset=20,
            exporter="torch.export",
            simplify="none",
            checkpoint_sha256=sha,
            job={
                "name": "small",
                "model": model,
                **({} if images is None else {"validate": {"images": images}}),
            },
        )
        (folder / "manifest.json").write_text(json.dumps(manifest.to_json()), encoding="utf-8")
        return folder

    return write


def module(**table: Any) -> dict[str, Any]:
    return {"family": "module", **table}


CODE = [
    pytest.param(
        module(builder="os:system", kwargs={"command": "touch owned"}),
        "os:system(command='touch owned')",
        id="a-function-of-pythons-own",
    ),
    pytest.param(module(builder="evil.py:make"), "evil.py:make(), from {bundle}/evil.py", id="a-file-in-it"),
    pytest.param(
        {"family": "torchvision_detector", "builder": "evil.py:make"},
        "evil.py:make()",
        id="a-detectors-builder",
    ),
    pytest.param(
        {"family": "timm_classifier", "kwargs": {"checkpoint_path": "evil.pth"}},
        "the family timm_classifier's builder(checkpoint_path='evil.pth')",
        id="a-file-that-a-librarys-builder-loads",
    ),
    pytest.param(
        {"family": "timm_classifier", "kwargs": {"pretrained_cfg": {"file": "evil.pth"}}},
        "pretrained_cfg={'file': 'evil.pth'}",
        id="a-file-that-is-named-deep-inside",
    ),
]


@pytest.mark.parametrize(("model", "says"), CODE)
def test_code_that_a_bundle_names_is_refused(bundle: MakeBundle, model: dict[str, Any], says: str) -> None:
    folder = bundle(model)
    with pytest.raises(TrustError) as refused:
        job_to_validate(folder)
    said = str(refused.value)
    assert says.replace("{bundle}", str(folder)) in said
    assert all(part in said for part in (str(folder), "--trust", "trust=True"))


@pytest.mark.parametrize("onnx", [None, Path("other.onnx")])
def test_code_is_refused_before_a_disk_is_searched_for_pictures(
    bundle: MakeBundle, onnx: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bundle(module(builder="os:system"), images="/**/*")
    monkeypatch.setattr("glob.iglob", lambda *_, **__: pytest.fail("the disk was searched"))
    with pytest.raises(TrustError):
        inputs_of(folder, onnx=onnx)
    with pytest.raises(TrustError):
        job_to_validate(folder)


@pytest.mark.parametrize(("model", "says"), CODE)
def test_trust_and_a_module_of_ones_own_are_words_enough(
    bundle: MakeBundle, model: dict[str, Any], says: str
) -> None:
    folder = bundle(model)
    assert job_to_validate(folder, trust=True).job.model.builder == model.get("builder")
    assert job_to_validate(folder, has_model=True).job.model.family == model["family"]


def test_numbers_for_a_librarys_builder_are_no_code(bundle: MakeBundle) -> None:
    folder = bundle({"family": "timm_classifier", "kwargs": {"drop_rate": 0.1, "sizes": [1, 2], "x": True}})
    assert job_to_validate(folder).job.model.kwargs["drop_rate"] == 0.1


def test_a_builder_that_the_user_sets_is_the_users_word(bundle: MakeBundle) -> None:
    folder = bundle(module(builder="evil.py:make"))
    assert job_to_validate(folder, ["model.builder=mine.py:make"]).job.model.builder == "mine.py:make"


def test_a_text_that_the_bundle_hands_to_the_users_builder_is_not(bundle: MakeBundle) -> None:
    folder = bundle(module(builder="evil.py:make", kwargs={"path": "evil.pth"}))
    with pytest.raises(TrustError, match=r"mine.py:make\(path='evil.pth'\)"):
        job_to_validate(folder, ["model.builder=mine.py:make"])
    own = ["model.builder=mine.py:make", "model.kwargs.path=good.pth"]
    assert job_to_validate(folder, own).job.model.kwargs == {"path": "good.pth"}


def test_a_job_file_is_the_users_word(tmp_path: Path) -> None:
    file = tmp_path / "job.toml"
    file.write_text('name = "a"\n[model]\nfamily = "module"\nbuilder = "os:system"\n', encoding="utf-8")
    assert job_to_validate(file).job == job_to_export(file)
    assert job_to_validate(file).job.model.builder == "os:system"


def test_set_changes_a_bundles_job(bundle: MakeBundle) -> None:
    folder = bundle({"family": "yolox"})
    job = job_to_validate(folder, ["validate.effort=quick", "validate.images=*.png"]).job
    assert (job.validation.effort, job.folder) == ("quick", folder)
    with pytest.raises(JobError, match=r"unknown key validate\.efort"):
        job_to_validate(folder, ["validate.efort=quick"])


@pytest.fixture
def moved(bundle: MakeBundle, tmp_path: Path) -> Path:
    """A bundle whose checkpoint is not where it was; what it was made from is ``weights/b.pth``."""
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "a.pth").write_bytes(b"another")
    (weights / "b.pth").write_bytes(b"the right one")
    return bundle({"family": "yolox", "checkpoint": "../gone"}, sha=sha256(b"the right one"))


def test_a_missing_checkpoint_names_both_ways_out(moved: Path) -> None:
    with pytest.raises(CheckpointError) as refused:
        job_to_validate(moved)
    assert all(
        part in str(refused.value)
        for part in ("gone does not exist", "--checkpoint PATH", "--set model.checkpoint=PATH")
    )


@pytest.mark.parametrize(
    "place", [pytest.param("b.pth", id="file"), pytest.param("", id="the-right-one-of-a-folders")]
)
def test_a_moved_checkpoint_is_told_by_its_hash(moved: Path, tmp_path: Path, place: str) -> None:
    weights = tmp_path / "weights"
    for asked in (
        job_to_validate(moved, checkpoint=weights / place),
        job_to_validate(moved, [f"model.checkpoint=../weights/{place}"]),
    ):
        assert asked.job.resolve(str(asked.job.model.checkpoint)).samefile(weights / "b.pth")
        assert asked.notes == ()


def test_a_checkpoint_is_seen_from_here(moved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path / "weights")
    asked = job_to_validate(moved, checkpoint="b.pth")
    assert asked.job.resolve(str(asked.job.model.checkpoint)).samefile(tmp_path / "weights" / "b.pth")


def test_another_checkpoint_is_refused(moved: Path, tmp_path: Path) -> None:
    other = tmp_path / "weights" / "a.pth"
    with pytest.raises(CheckpointError, match=r"a.pth is not the checkpoint .* SHA-256") as refused:
        job_to_validate(moved, checkpoint=other)
    assert sha256(b"another")[:12] in str(refused.value)
    assert sha256(b"the right one")[:12] in str(refused.value)


def test_another_checkpoint_is_a_note_where_it_is_trusted(moved: Path, tmp_path: Path) -> None:
    other = tmp_path / "weights" / "a.pth"
    asked = job_to_validate(moved, checkpoint=other, trust=True)
    assert asked.job.resolve(str(asked.job.model.checkpoint)) == other
    (note,) = asked.notes
    assert "is not the checkpoint" in note
    assert "--trust" in note


def test_a_job_files_checkpoint_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "job.toml"
    file.write_text('name = "a"\n[model]\nfamily = "yolox"\ncheckpoint = "gone"\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    job = job_to_validate(file, checkpoint="here.pth").job
    assert job.resolve(str(job.model.checkpoint)) == tmp_path / "here.pth"


def test_a_model_and_a_checkpoint_are_one_too_many(moved: Path) -> None:
    with pytest.raises(RequestError, match="give one"):
        job_to_validate(moved, checkpoint="b.pth", has_model=True)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        pytest.param("m.onnx", "is a model; to judge it, give the job or the bundle", id="model"),
        pytest.param("c.pth", "is a checkpoint; give the job or the bundle", id="checkpoint"),
        pytest.param("gone.toml", "gone.toml does not exist", id="nothing"),
        pytest.param("folder", "folder is no bundle: it holds no manifest.json", id="folder"),
    ],
)
def test_what_is_no_job_says_what_it_is(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "folder").mkdir()
    for file in ("m.onnx", "c.pth"):
        (tmp_path / file).write_bytes(b"")
    with pytest.raises(RequestError, match=says):
        job_to_validate(tmp_path / name)


def test_a_bundle_without_a_job_asks_for_one(bundle: MakeBundle) -> None:
    folder = bundle({"family": "yolox"})
    document = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    (folder / "manifest.json").write_text(json.dumps({**document, "job": None}), encoding="utf-8")
    with pytest.raises(ModelFileError, match="give the job file, or the model"):
        job_to_validate(folder)


def test_export_takes_no_bundle(bundle: MakeBundle) -> None:
    with pytest.raises(JobError, match=r"is a folder, a bundle that export wrote: give the \.toml file"):
        job_to_export(bundle({"family": "yolox"}))
