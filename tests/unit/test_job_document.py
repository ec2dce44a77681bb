"""What a job file takes from the one that it extends, and the jobs of its matrix."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from onnxproof.errors import JobError
from onnxproof.job import load_job
from onnxproof.job.asked import files_read, job_to_export, job_to_validate
from onnxproof.job.matrix import load_jobs, read_jobs

BASE = """
name = "digits"
[model]
family = "yolox"
variant = "nano"
checkpoint = "weights/best.pt"
builder = "nets.py:make"
[export]
opset = 18
[validate]
images = "pictures/*.png"
"""

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file below the folder of the test, and returns its path."""

    def write_file(name: str, text: str) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    return write_file


def refusal(file: Path, *overrides: str) -> str:
    with pytest.raises(JobError) as caught:
        load_jobs(file, overrides)
    return str(caught.value)


def names(file: Path, *overrides: str) -> list[str]:
    return [job.name for job in load_jobs(file, overrides)]


def test_a_file_takes_what_it_does_not_say_from_the_one_that_it_extends(write: Write) -> None:
    write("base.toml", BASE)
    write("middle.toml", 'extends = "base.toml"\nexport.simplify = "none"\nexport.opset = 19\n')
    job = load_job(write("own.toml", 'extends = "middle.toml"\nname = "own"\nexport.opset = 20\n'))
    assert (job.name, job.export.opset, job.export.simplify) == ("own", 20, "none")
    assert (job.model.variant, job.model.checkpoint) == ("nano", "weights/best.pt")


def test_overrides_lie_on_top(write: Write) -> None:
    write("base.toml", BASE)
    job = load_job(write("own.toml", 'extends = "base.toml"\nexport.opset = 20\n'), ["export.opset=21"])
    assert job.export.opset == 21


def test_paths_start_at_the_file_that_names_them(write: Write, tmp_path: Path) -> None:
    write("shared/base.toml", BASE)
    own = write("jobs/own.toml", 'extends = "../shared/base.toml"\nvalidate.images = "mine/*.png"\n')
    job = load_job(own)
    shared = (tmp_path / "shared").resolve()
    assert job.resolve(str(job.model.checkpoint)) == shared / "weights/best.pt"
    assert job.model.builder == f"{shared / 'nets.py'}:make"
    assert job.resolve(str(job.validation.images)) == own.parent / "mine/*.png"


def test_what_is_no_path_stays_as_it_is(write: Write) -> None:
    text = BASE.replace("nets.py:make", "package.nets:make").replace("weights/best.pt", "~/best.pt")
    write("shared/base.toml", text)
    job = load_job(write("jobs/own.toml", 'extends = "../shared/base.toml"\n'))
    assert (job.model.builder, job.model.checkpoint) == ("package.nets:make", "~/best.pt")


def test_paths_in_the_matrix_of_another_folder_start_there_too(write: Write, tmp_path: Path) -> None:
    write("shared/base.toml", BASE + '[matrix]\nmodel.checkpoint = ["one/best.pt", "two/best.pt"]\n')
    jobs = load_jobs(write("jobs/own.toml", 'extends = "../shared/base.toml"\n'))
    shared = (tmp_path / "shared").resolve()
    assert [job.model.checkpoint for job in jobs] == [
        str(shared / "one/best.pt"),
        str(shared / "two/best.pt"),
    ]
    assert [job.name for job in jobs] == ["digits-checkpoint_one", "digits-checkpoint_two"]


def test_a_circle_is_refused(write: Write) -> None:
    write("a.toml", 'extends = "b.toml"\n')
    write("b.toml", 'extends = "c.toml"\n')
    said = refusal(write("c.toml", 'extends = "a.toml"\n'))
    assert "extends itself" in said
    assert [said.index(f"{name}.toml ->") for name in "cab"] == sorted(
        said.index(f"{name}.toml ->") for name in "cab"
    )


def test_a_missing_base_names_the_file_that_extends_it(write: Write) -> None:
    said = refusal(write("own.toml", 'extends = "gone.toml"\n'))
    assert "gone.toml, which " in said
    assert "own.toml extends, does not exist" in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(f"x = {'[' * 20_000}{']' * 20_000}", "is nested too deeply", id="lists"),
        pytest.param(f"x = {'[' * 150}{']' * 150}", "is nested too deeply", id="lists-that-the-parser-takes"),
        pytest.param(f"{'a.' * 2000}b = 1", "is nested too deeply", id="tables"),
        pytest.param(f"x = {'9' * 6000}", "a number of more than 4,300 digits", id="digits"),
    ],
)
def test_what_python_cannot_hold_is_refused(write: Write, text: str, says: str) -> None:
    said = refusal(write("own.toml", f"{BASE}[arguments]\n{text}\n"))
    assert "own.toml cannot be read" in said
    assert says in said
    override = f"arguments.{text.replace(' = ', '=')}"
    with pytest.raises(JobError, match=f"--set arguments.*{says}|no job is nested deeper"):
        load_jobs(write("base.toml", BASE), [override])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes and devices in folders")
@pytest.mark.parametrize("other", ["/dev/zero", "pipe"])
def test_a_base_without_an_end_is_not_read(write: Write, tmp_path: Path, other: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    said = refusal(write("own.toml", f'extends = "{other}"\n'))
    assert f"{other}, which " in said
    assert "extends, cannot be read: it is a pipe or a device" in said


@pytest.mark.parametrize(
    ("override", "says"),
    [
        pytest.param('name="x"\nname="y"', "expected one value", id="two-keys"),
        pytest.param('name="x"\n[model]', "expected one value", id="a-table-behind-it"),
        pytest.param("extends=other.toml", "--set extends=…: a job file says that itself", id="extends"),
        pytest.param("matrix={a=[1]}", "--set matrix=…: a job file says that itself", id="matrix"),
    ],
)
def test_an_override_is_one_value_of_a_job(write: Write, override: str, says: str) -> None:
    assert says in refusal(write("base.toml", BASE), override)


def test_an_override_may_take_several_lines(write: Write) -> None:
    texts = ['name = """\nx"""', "model.kwargs={sizes = [\n1,\n2]}"]
    job = load_job(write("base.toml", BASE), texts)
    assert (job.name, job.model.kwargs) == ("x", {"sizes": [1, 2]})


@pytest.mark.parametrize("value", ["1", '""', '["a.toml"]'])
def test_extends_is_one_path(write: Write, value: str) -> None:
    assert "expected the path of a job file" in refusal(write("own.toml", f"extends = {value}\n"))


def test_a_mistake_says_which_files_were_merged(write: Write) -> None:
    write("base.toml", BASE + "iou = 1\n")
    said = refusal(write("own.toml", 'extends = "base.toml"\n'))
    assert "own.toml (extends " in said
    assert "unknown key validate.iou" in said


def test_a_misspelt_key_of_a_file_is_guessed(write: Write) -> None:
    assert 'did you mean "extends"?' in refusal(
        write("own.toml", BASE.replace("\nname", '\nextend = "b"\nname'))
    )


def test_nobody_writes_over_a_file_that_is_extended(write: Write) -> None:
    base = write("base.toml", BASE)
    own = write("own.toml", 'extends = "base.toml"\n')
    assert base in files_read(own, None)


def test_a_matrix_makes_a_job_for_each_combination(write: Write) -> None:
    file = write("job.toml", BASE + '[matrix]\nexport.opset = [18, 20]\nmodel.variant = ["nano", "tiny"]\n')
    assert names(file) == [
        "digits-opset_18-variant_nano",
        "digits-opset_18-variant_tiny",
        "digits-opset_20-variant_nano",
        "digits-opset_20-variant_tiny",
    ]
    assert [(job.export.opset, job.model.variant) for job in load_jobs(file)] == [
        (18, "nano"),
        (18, "tiny"),
        (20, "nano"),
        (20, "tiny"),
    ]
    assert read_jobs(file)[2].axes == (("export.opset", "20"), ("model.variant", "nano"))


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ('"export.opset" = [18]', ["opset_18"]),
        ("export.fold_batch_norms = [true, false]", ["fold_batch_norms_true", "fold_batch_norms_false"]),
        ('validate.providers = [["A"], ["B", "A"]]', ["providers_A", "providers_B_A"]),
        ('dims.height = ["64..96 step 32", 64]', ["height_64..96-step-32", "height_64"]),
        (
            "dims = [{height = 64, width = 64}, {height = 96, width = 96}]",
            ["height_64-width_64", "height_96-width_96"],
        ),
        (
            "dims.size = [1]\npredict.size = [8]",
            ["dims.size_1-predict.size_8"],
        ),
    ],
    ids=["quoted", "flags", "lists", "texts", "keys-that-change-together", "keys-of-one-name"],
)
def test_a_name_says_the_values(write: Write, matrix: str, expected: list[str]) -> None:
    file = write("job.toml", f"{BASE}[matrix]\n{matrix}\n")
    assert names(file) == [f"digits-{one}" for one in expected]


def test_a_table_of_values_is_merged_into_the_jobs_own(write: Write) -> None:
    text = BASE + '[dims]\nbatch = "1..2"\n[matrix]\ndims = [{height = 64}]\n'
    (job,) = load_jobs(write("job.toml", text))
    assert {name: str(dim) for name, dim in job.dims.items()} == {"batch": "1..2", "height": "64"}


def test_combinations_can_be_left_out(write: Write) -> None:
    matrix = """
    [matrix]
    export.opset = [17, 18]
    export.exporter = ["torchscript", "torch.export"]
    exclude = [{export.opset = 17, "export.exporter" = "torch.export"}]
    """
    assert names(write("job.toml", BASE + matrix)) == [
        "digits-opset_17-exporter_torchscript",
        "digits-opset_18-exporter_torchscript",
        "digits-opset_18-exporter_torch.export",
    ]


def test_an_override_of_a_key_that_varies_fixes_it(write: Write) -> None:
    file = write("job.toml", BASE + '[matrix]\nexport.opset = [18, 20]\nmodel.variant = ["nano", "tiny"]\n')
    assert names(file, "export.opset=20") == ["digits-opset_20-variant_nano", "digits-opset_20-variant_tiny"]
    assert load_job(file, ["export.opset=20", "model.variant=tiny"]).name == "digits-opset_20-variant_tiny"
    assert names(file, "matrix.model.variant=['x']", "name=mine") == [
        "mine-opset_18-variant_x",
        "mine-opset_20-variant_x",
    ]


def test_a_base_may_have_the_matrix(write: Write) -> None:
    write("base.toml", BASE + "[matrix]\nexport.opset = [18, 20]\n")
    file = write("own.toml", 'extends = "base.toml"\nname = "own"\n[matrix]\n"export.opset" = [21]\n')
    assert names(file) == ["own-opset_21"]


def test_one_wrong_combination_leaves_the_others(write: Write) -> None:
    matrix = '[matrix]\nexport.opset = [17, 18]\nexport.exporter = ["torch.export"]\n'
    wrong, right = read_jobs(write("job.toml", BASE + matrix))
    assert right.job is not None
    assert (wrong.name, wrong.job) == ("digits-opset_17-exporter_torch.export", None)
    assert "writes opset 18 and later" in str(wrong.error)


def test_where_one_job_is_expected_a_matrix_says_what_to_do(write: Write) -> None:
    file = write("job.toml", BASE + '[matrix]\nexport.opset = [18, 20]\nmodel.variant = ["nano", "tiny"]\n')
    with pytest.raises(
        JobError, match=r"makes 4 jobs.*\(export\.opset, model\.variant\) with --set KEY=VALUE"
    ):
        load_job(file, ["validate.seed=1"])


@pytest.mark.parametrize(
    ("matrix", "says"),
    [
        ("matrix = 1", "expected a table of keys and lists"),
        ("[matrix]", "is empty"),
        ("[matrix]\nexport.opset = 18", "matrix.export.opset = 18: expected a list of values"),
        ("[matrix]\nexport.opset = []", "expected a list of values"),
        ('[matrix]\nname = ["a", "b"]', "does not vary name"),
        ("[matrix]\nexport.opset = [18, 18]", "2 jobs of the matrix are named digits-opset_18"),
        ("[matrix]\nexport.opsett = [18]", "unknown key export.opsett"),
        ("[matrix]\nexport.opset = [18]\nexclude = 1", "expected a list of tables"),
        (
            "[matrix]\nexport.opset = [18]\nexclude = [{export.opsett = 1}]",
            "the matrix does not vary; it varies",
        ),
        ("[matrix]\nexport.opset = [18]\nexclude = [{export.opset = 18}]", "excludes all"),
        (f"[matrix]\nmodel.variant = ['{'x' * 200}']", "characters; expected at most 200"),
        (f"[matrix]\nvalidate.seed = {list(range(1001))}", "makes 1001 jobs; expected at most 1000"),
    ],
)
def test_a_matrix_that_is_none_is_refused(write: Write, matrix: str, says: str) -> None:
    text = f"{matrix}\n{BASE}" if matrix.startswith("matrix") else f"{BASE}{matrix}\n"
    assert says in refusal(write("job.toml", text))


def test_a_bundle_in_one_file_is_named_as_one(tmp_path: Path) -> None:
    archive = tmp_path / "digits.zip"
    archive.write_bytes(b"PK\x03\x04\xff")
    for ask in (job_to_validate, job_to_export, load_job):
        with pytest.raises(JobError, match=r"digits\.zip is a bundle in one file, .* unpack it") as told:
            ask(archive)
        # export takes no bundle's folder
        assert "give the job's .toml file. To validate the bundle, unpack it" in str(told.value)


def test_a_byte_order_mark_is_no_part_of_a_job(write: Write) -> None:
    """As some editors write it."""
    assert names(write("job.toml", f"\ufeff{BASE}")) == ["digits"]


def test_other_encodings_are_told(tmp_path: Path) -> None:
    file = tmp_path / "job.toml"
    file.write_text(BASE, encoding="utf-16")
    assert "is no text in UTF-8" in refusal(file)


@pytest.mark.parametrize(("length", "fits"), [(200, True), (201, False)])
def test_a_name_is_a_folders(write: Write, length: int, fits: bool) -> None:
    name = "a" * length
    file = write("job.toml", BASE.replace('"digits"', f'"{name}"'))
    if fits:
        assert names(file) == [name]
    else:
        assert "expected up to 200 letters" in refusal(file)
