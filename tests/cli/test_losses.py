"""Nothing of the user's is lost, at a target or beside it, and no command writes over what it reads."""

import json
import os
import resource
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import onnx
import pytest
from commands import run_here
from keys import private
from onnx import numpy_helper
from PIL import Image

from onnxproof.validate.bisect.repro import BISECTION_KEYS, is_own

Run = Callable[..., CompletedProcess[str]]
Refuse = Callable[..., None]

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "examples" / "digits"

VERDICT = json.dumps({"format": 2, "verdict": "pass", "model_sha256": "0", "checks": []})
"""What an older run left."""


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(autouse=True)
def _no_capture(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused is refused before the slow part. The fixtures that export come first."""
    request.getfixturevalue("small_bundle")

    def capture(*_: object) -> None:
        raise AssertionError("the request was found wrong only after capture had begun")

    monkeypatch.setattr("onnxproof.pipeline.ladder_for", capture)


@pytest.fixture
def own_job(small_job: Path, tmp_path: Path) -> Path:
    """A copy of the small job, named as its checkpoint's folder is, in a folder of its own."""
    folder = tmp_path / "mine"
    shutil.copytree(small_job.parent, folder)
    job = folder / "small.toml"
    text = job.read_text(encoding="utf-8").replace('name = "small"', 'name = "model"')
    job.write_text(text, encoding="utf-8")
    return job


@pytest.mark.parametrize("linked", [False, True], ids=["itself", "through-a-link"])
def test_a_job_named_as_its_checkpoints_folder(
    refuse: Refuse, own_job: Path, tmp_path: Path, *, linked: bool
) -> None:
    out, before = own_job.parent, contents(own_job.parent)
    if linked:
        out = tmp_path / "dist"
        out.mkdir()
        (out / "model").symlink_to(own_job.parent / "model")
    refuse("export", own_job, "--out", out, says=(str(own_job.parent / "model"), "--out"))
    assert contents(own_job.parent) == before


@pytest.mark.parametrize("name", ["notes.txt", "photo.png", "data/x.csv"])
def test_a_folder_of_anyones(refuse: Refuse, small_job: Path, tmp_path: Path, name: str) -> None:
    file = tmp_path / "small" / name
    file.parent.mkdir(parents=True)
    file.write_text("precious", encoding="utf-8")
    entry = name.partition("/")[0]
    refuse(
        *("export", small_job, "--out", tmp_path),
        says=(str(tmp_path / "small"), f"is no bundle that onnxproof wrote (it holds {entry})", "--out"),
    )
    assert contents(tmp_path) == {f"small/{name}": b"precious"}


def test_a_file_of_the_users_in_a_bundle(refuse: Refuse, small_job: Path, older_bundle: Path) -> None:
    (older_bundle / "quantised.onnx").write_bytes(b"precious")
    before = contents(older_bundle)
    refuse(
        "export", small_job, "--out", older_bundle.parent, says=("did not write (quantised.onnx)", "--out")
    )
    assert contents(older_bundle) == before


def test_pictures_in_the_bundle_that_would_be_replaced(
    refuse: Refuse, small_job: Path, small_bundle: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "small"
    shutil.copytree(small_bundle, bundle)
    before = contents(bundle)
    refuse(
        *("export", small_job, "--out", tmp_path, "--set", f"validate.images={bundle}/pictures/*.png"),
        says=("would be replaced", "is read from it", "--out"),
    )
    assert contents(bundle) == before


def test_every_export_is_recognised_as_a_bundle(small_bundle: Path, demo_bundle: Path) -> None:
    from onnxproof.export.bundle import why_kept

    assert why_kept(small_bundle) is None
    assert why_kept(demo_bundle) is None
    assert (demo_bundle / "parity.json").is_file()
    assert list((demo_bundle / "pictures").iterdir())


@pytest.fixture
def picture(small_job: Path, tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    shutil.copy(small_job.parent / "pictures" / "0.png", tmp_path / "photos" / "0.png")
    return tmp_path / "photos" / "0.png"


def test_predict_does_not_draw_over_its_picture(
    refuse: Refuse, small_bundle: Path, picture: Path, tmp_path: Path
) -> None:
    before = contents(picture.parent)
    (tmp_path / "link").symlink_to(picture.parent)
    for folder in (picture.parent, picture.parent / ".." / "photos", tmp_path / "link"):
        refuse(
            *("predict", small_bundle, picture, "--draw", folder),
            says=("0.png", "would be overwritten", "--draw"),
        )
    assert contents(picture.parent) == before


def test_predict_does_not_draw_over_another_picture(
    refuse: Refuse, small_bundle: Path, picture: Path, tmp_path: Path
) -> None:
    other = tmp_path / "others"
    other.mkdir()
    Image.new("RGB", (8, 8)).save(other / "0.png")
    before = contents(other)
    refuse(
        *("predict", small_bundle, picture, "--draw", other),
        says=(str(other / "0.png"), "was not drawn by onnxproof", "--draw"),
    )
    assert contents(other) == before


def test_predict_draws_over_its_own_drawings(
    run: Run, refuse: Refuse, small_bundle: Path, picture: Path, tmp_path: Path
) -> None:
    drawn = tmp_path / "drawn"
    for _ in range(2):
        assert run("predict", small_bundle, picture, "--draw", drawn).returncode == 0
    assert sorted(contents(drawn)) == ["0.png"]
    refuse(
        *("predict", small_bundle, drawn / "0.png", "--draw", drawn),
        says=("would be overwritten", "--draw"),
    )


def test_pictures_of_one_name_are_drawn_apart(
    run: Run, small_bundle: Path, picture: Path, tmp_path: Path
) -> None:
    other = tmp_path / "more" / "0.png"
    other.parent.mkdir()
    Image.new("RGB", (64, 64), "red").save(other)
    drawn = tmp_path / "drawn"
    assert run("predict", small_bundle, picture, other, "--draw", drawn).returncode == 0
    sizes = {}
    for file in drawn.iterdir():
        with Image.open(file) as image:
            sizes[file.name] = image.size
    assert sizes == {"0.png": (96, 96), "0-2.png": (64, 64)}


@pytest.mark.parametrize("row", [False, True], ids=["frame", "rows"])
def test_a_request_does_not_draw_over_its_pictures(
    refuse: Refuse, small_bundle: Path, picture: Path, tmp_path: Path, *, row: bool
) -> None:
    """The drawing of the first would lie where the second is read from."""
    later = picture.parent / "1.png"
    shutil.copy(picture, later)
    picture.rename(picture.parent / "x.png")
    (picture.parent / "0.png").hardlink_to(later)
    data = [str(picture.parent / "x.png"), str(later)]
    request = {"input_data": {"columns": ["image"], "data": [[text] for text in data] if row else data}}
    file = tmp_path / "request.json"
    file.write_text(json.dumps(request), encoding="utf-8")
    before = contents(picture.parent)
    refuse(
        *("predict", small_bundle, "--request", file, "--draw", picture.parent),
        says=("would be overwritten", "--draw"),
    )
    assert contents(picture.parent) == before


def test_raw_outputs_do_not_replace_what_is_read(
    refuse: Refuse, small_bundle: Path, picture: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    shutil.copytree(small_bundle, folder)
    np.savez(folder / "in.npz", input=np.zeros((1, 3, 64, 64), np.float32))
    (folder / "hard.npz").hardlink_to(folder / "in.npz")
    (folder / "weights.bin").write_bytes(b"external data of another model")
    (folder / "notes.npz").write_text("of last night's run")
    np.savez(folder / "data.npz", images=np.zeros(3))
    with zipfile.ZipFile(folder / "best.pt", "w") as archive:
        archive.writestr("best/data.pkl", b"a checkpoint is a ZIP archive, too")
    before, bundle = contents(folder), folder
    for given, out in [
        ((picture,), folder / "model.onnx"),
        ((picture,), folder / "manifest.json"),
        (("--input", f"input={folder / 'in.npz'}"), folder / "in.npz"),
        (("--input", folder / "in.npz"), folder / "hard.npz"),
        ((picture,), picture),
    ]:
        refuse(*("predict", bundle, *given, "--out", out), says=(str(out), "would be overwritten", "--out"))
    for other in ("weights.bin", "notes.npz", "best.pt", "data.npz"):
        refuse(
            "predict",
            bundle,
            picture,
            "--out",
            folder / other,
            says=(other, "is no .npz file of onnxproof's", "--out"),
        )
    refuse("predict", bundle, picture, "--out", folder, says=("it is a folder", "--out"))
    assert contents(folder) == before


def test_raw_outputs_go_to_a_device(run: Run, small_bundle: Path, picture: Path) -> None:
    ran = run("predict", small_bundle, picture, "--out", os.devnull)
    assert (ran.returncode, ran.stderr) == (0, ""), ran


def limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))


def test_raw_outputs_on_a_full_disk_leave_the_older_ones(
    run: Run, small_bundle: Path, picture: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out" / "out.npz"
    out.parent.mkdir()
    assert run("predict", small_bundle, picture, "--out", out).returncode == 0
    before = contents(out.parent)
    assert len(before["out.npz"]) > 1000
    ran = subprocess.run(
        [sys.executable, "-B", "-m", "onnxproof", "predict", small_bundle, picture, "--out", out],
        preexec_fn=limit_files,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2, ran
    assert f"onnxproof: {out} cannot be written (File too large)" in ran.stderr
    assert contents(out.parent) == before


@pytest.fixture
def users_folder(tmp_path: Path) -> Path:
    """A folder that holds things of the user's, and results of an earlier run."""
    folder = tmp_path / "results"
    (folder / "deep").mkdir(parents=True)
    for name in ("notes.txt", "model.onnx", "deep/x"):
        (folder / name).write_text(f"earlier {name}", encoding="utf-8")
    for name in ("parity.json", "comparison.json"):
        (folder / name).write_text(VERDICT, encoding="utf-8")
    (folder / "bisect.json").write_text(json.dumps(dict.fromkeys(BISECTION_KEYS)), encoding="utf-8")
    return folder


def test_compare_touches_its_own_file_alone(run: Run, small_bundle: Path, users_folder: Path) -> None:
    before = contents(users_folder)
    model = small_bundle / "model.onnx"
    ran = run("compare", model, model, "--effort", "quick", "--out", users_folder)
    assert ran.returncode == 0, ran.stderr
    after = contents(users_folder)
    assert [name for name in after if after[name] != before.get(name)] == ["comparison.json"]
    assert json.loads(after["comparison.json"])["verdict"] == "pass"
    assert after.keys() == before.keys()


def test_compare_refuses_a_folder_in_its_files_place_before_it_measures(
    refuse: Callable[..., None], small_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "comparison.json").mkdir()
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    refuse(
        "compare",
        small_bundle,
        broken,
        "--out",
        tmp_path,
        says=("comparison.json", "it is a folder", "--out"),
    )


def test_validate_touches_its_own_file_alone(
    run: Run, small_job: Path, small_bundle: Path, users_folder: Path
) -> None:
    before = contents(users_folder)
    model = small_bundle / "model.onnx"
    ran = run("validate", small_job, "--onnx", model, "--out", users_folder)
    assert ran.returncode == 0, ran.stderr
    after = contents(users_folder)
    assert [name for name in after if after[name] != before.get(name)] == ["parity.json"]
    assert json.loads(after["parity.json"])["verdict"] == "pass"
    assert after.keys() == before.keys()


@pytest.mark.slow
def test_bisect_touches_its_own_files_alone(run: Run, small_bundle: Path, users_folder: Path) -> None:
    model = onnx.load(small_bundle / "model.onnx")
    node = [node for node in model.graph.node if node.op_type == "Conv"][20]
    (weight,) = (tensor for tensor in model.graph.initializer if tensor.name == node.input[1])
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.01), weight.name))
    onnx.save(model, users_folder.parent / "damaged.onnx")
    before = contents(users_folder)
    damaged = users_folder.parent / "damaged.onnx"
    ran = run("bisect", small_bundle, "--onnx", damaged, "--case", "0", "--out", users_folder)
    assert ran.returncode == 1, ran
    after = contents(users_folder)
    written = {"bisect.json", "repro.npz", "repro.onnx", "repro.txt"}
    assert {name for name in after if after[name] != before.get(name)} == written
    assert before.keys() <= after.keys()
    assert all(is_own(users_folder / name) for name in written), "the next bisect would be refused"


def test_results_do_not_replace_what_is_read(
    refuse: Refuse, small_job: Path, small_bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    shutil.copy(small_bundle / "model.onnx", out / "repro.onnx")
    os.link(out / "repro.onnx", out / "comparison.json")
    os.link(out / "repro.onnx", out / "parity.json")
    before = contents(out)
    model = out / "repro.onnx"
    refuse("compare", model, small_bundle, "--out", out, says=("comparison.json", "would be overwritten"))
    for command, name in [("validate", "parity.json"), ("bisect", "repro.onnx")]:
        for source in (small_job, small_bundle):
            refuse(
                *(command, source, "--onnx", model, "--out", out),
                says=(name, "would be overwritten", "--out"),
            )
    assert contents(out) == before


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        pytest.param(("validate", "{bundle}"), "parity.json", id="validate"),
        pytest.param(("validate", "{bundle}", "{more}"), "tiny/parity.json", id="validate-many"),
        pytest.param(("check", "{model}", "--against", "{weights}"), "parity.json", id="check"),
        pytest.param(("compare", "{model}", "{model}"), "comparison.json", id="compare"),
        pytest.param(("bisect", "{bundle}"), "bisect.json", id="bisect"),
        pytest.param(("bisect", "{bundle}"), "repro.onnx", id="bisect-model"),
        pytest.param(("bisect", "{bundle}"), "repro.npz", id="bisect-arrays"),
        pytest.param(("bisect", "{bundle}"), "repro.txt", id="bisect-text"),
    ],
)
def test_results_do_not_replace_what_somebody_else_wrote(
    tmp_path: Path, small_bundle: Path, asked: tuple[str, ...], name: str
) -> None:
    """A file of the same name, of the same kind even, is left alone, and named before the work."""
    out = tmp_path / "mine"
    place = out / name
    place.parent.mkdir(parents=True)
    bundle = ROOT / "release" / "tiny"
    mine = {".json": b'{"mine": 1}', ".txt": b"my notes", ".onnx": (bundle / "model.onnx").read_bytes()}
    if place.suffix == ".npz":
        np.savez(place, mine=np.zeros(3))
    else:
        place.write_bytes(mine[place.suffix])
    before = contents(out)
    (weights,) = (DIGITS / "yolox").glob("*.pth")
    if asked[0] == "bisect":
        bundle = small_bundle
    places = {"bundle": bundle, "more": small_bundle, "model": bundle / "model.onnx", "weights": weights}
    ran = run_here([*(one.format(**places) for one in asked), "--out", str(out), "--quiet"])
    assert (ran.code, contents(out)) == (2, before), ran.printed
    assert ran.printed.count("\n") == 1, ran.printed
    assert f"{place} is there and is no " in ran.printed
    assert "of onnxproof's: move it away, or name another folder with --out" in ran.printed


def test_a_package_replaces_no_signature_and_no_bill_of_somebody_elses(tmp_path: Path) -> None:
    key, out = tmp_path / "key.pem", tmp_path / "out"
    key.write_bytes(private())
    out.mkdir()
    for suffix, flags in ((".sig", ("--sign", str(key))), (".cdx.json", ("--bom",))):
        mine = out / f"tiny.zip{suffix}"
        mine.write_text('{"mine": 1}', encoding="utf-8")
        bundle = ROOT / "release" / "tiny"
        ran = run_here(["package", str(bundle), "--out", str(out / "tiny.zip"), *flags])
        assert (ran.code, contents(out)) == (2, {mine.name: b'{"mine": 1}'}), ran.printed
        assert f"{mine} is there and is no " in ran.printed
        mine.unlink()


def test_a_plot_replaces_no_picture(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "plot.png")
    before = contents(tmp_path)
    ran = run_here(["bench", str(ROOT / "release" / "tiny"), "--plot", str(tmp_path / "plot.png")])
    assert (ran.code, contents(tmp_path)) == (2, before)
    assert "plot.png is there and is no drawing of onnxproof's" in ran.printed


@pytest.mark.parametrize("suffix", ["", ".data"])
def test_a_model_of_the_users_in_a_bundle(
    refuse: Refuse, small_job: Path, older_bundle: Path, suffix: str
) -> None:
    mine = older_bundle / f"model.onnx{suffix}"
    mine.write_bytes(b"precious")
    before = contents(older_bundle)
    said = (f"holds another {mine.name} than onnxproof wrote", "SHA-256", "delete the bundle", "move it away")
    refuse("export", small_job, "--out", older_bundle.parent, says=said)
    assert contents(older_bundle) == before


@pytest.mark.parametrize("flag", ["--html", "--junit", "--sarif", "--markdown"])
def test_a_link_that_leads_to_itself_is_not_replaced(tmp_path: Path, flag: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    bundle = str(ROOT / "release" / "tiny")
    for asked, said in ((flag, "a link that leads to itself"), ("--out", "a link that leads to itself")):
        ran = run_here(["validate", bundle, asked, str(tmp_path / "loop")])
        assert ran.code == 2, ran.printed
        assert f"{tmp_path / 'loop'}" in ran.printed
        assert said in ran.printed
    assert (tmp_path / "loop").is_symlink()


def test_a_refused_command_makes_no_folder(refuse: Refuse, small_bundle: Path, tmp_path: Path) -> None:
    missing = tmp_path / "none.onnx"
    for command in (("compare", small_bundle, missing), ("validate", small_bundle, "--onnx", missing)):
        refuse(*command, "--out", tmp_path / "new", says=("none.onnx does not exist",))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(("predict", "{bundle}", "{picture}", "--draw", "{bundle}"), id="drawings"),
        pytest.param(("predict", "{bundle}", "{picture}", "--draw", "{bundle}/new/er"), id="drawings-below"),
        pytest.param(("predict", "{bundle}", "{picture}", "--out", "{bundle}/raw.npz"), id="raw-outputs"),
        pytest.param(("package", "{bundle}", "--out", "{bundle}/x.zip"), id="package"),
        pytest.param(("package", "{bundle}", "--format", "triton", "--out", "{bundle}"), id="triton"),
        pytest.param(("bench", "{bundle}", "--plot", "{bundle}/plot.png"), id="plot"),
        pytest.param(("compare", "{bundle}", "{bundle}", "--out", "{link}"), id="comparison-by-a-link"),
        pytest.param(("predict", "{bundle}", "{picture}", "--resume", "{bundle}/j"), id="journal"),
        pytest.param(("export", "{job}", "--out", "{bundle}"), id="bundle"),
        pytest.param(("export", "{job}", "--out", "{bundle}/new", "--jobs", "1"), id="bundle-below"),
    ],
)
def test_no_command_writes_into_a_bundle(
    asked: tuple[str, ...], picture: Path, small_job: Path, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(ROOT / "release" / "tiny", tmp_path / "tiny"))
    (tmp_path / "link").symlink_to(bundle)
    before = contents(bundle)
    places = {"bundle": bundle, "picture": picture, "link": tmp_path / "link", "job": small_job}
    ran = run_here([one.format(**places) for one in asked])
    assert (ran.code, contents(bundle)) == (2, before)
    assert f"writes into the bundle {bundle}, which export would then refuse to replace" in ran.printed
    assert "name another place, outside it" in ran.printed
