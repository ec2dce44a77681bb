"""Job files: what they accept, and how an error names the key, its value and what is allowed."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from onnxproof.errors import JobError
from onnxproof.job import Job, load_job
from onnxproof.tensors import Dim, TensorSpec

CONFIGS = Path(__file__).parents[2] / "configs"
MINIMAL = 'name = "mine"\nmodel.family = "yolox"\n'

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a job file and returns its path."""

    def write_job(text: str) -> Path:
        file = tmp_path / "job.toml"
        file.write_text(text, encoding="utf-8")
        return file

    return write_job


def reload(job: Job) -> Job:
    return Job.from_document(job.to_json(), folder=job.folder, source="again")


def refusal(file: Path, *overrides: str) -> str:
    with pytest.raises(JobError) as caught:
        load_job(file, overrides)
    return str(caught.value)


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.toml")), ids=lambda file: file.stem)
def test_bundled_config_survives_json(file: Path) -> None:
    job = load_job(file)
    assert reload(job) == job


def test_there_are_bundled_configs() -> None:
    assert list(CONFIGS.glob("*.toml"))


def test_minimal_job_takes_the_documented_defaults(write: Write) -> None:
    job = load_job(write(MINIMAL))
    assert (job.export.exporter, job.export.opset, job.export.simplify) == ("auto", 20, "onnxsim")
    assert (job.wrapper.decode, job.wrapper.input_dtype, job.wrapper.scale_input) == (
        "auto",
        "float32",
        False,
    )
    assert (job.validation.score_threshold, job.validation.iou_threshold) == (None, None)
    assert job.validation.providers == ("CPUExecutionProvider",)
    assert (job.dims, job.inputs) == ({}, {})


def test_a_threshold_that_is_not_given_stays_the_tasks_own_in_a_bundles_job(write: Write) -> None:
    document = load_job(write(MINIMAL)).to_json()
    assert "score_threshold" not in document["validate"]
    assert "task" not in document["model"]


def test_everything_in_a_job_survives_json(write: Write) -> None:
    job = load_job(
        write(
            MINIMAL
            + """
            model.kwargs = {depth = 3, sizes = [[1, 2], [3]]}
            wrapper.mean = [0, 0.5, 1]
            wrapper.std = [1, 1, 0.25]
            validate.providers = ["CPUExecutionProvider", "CUDAExecutionProvider"]
            [dims]
            batch = 4
            height = "64..640 step 32"
            width = "320 step 32"
            [inputs]
            tokens = "int64[batch, 7] in 0..1234567"
            """
        )
    )
    assert job.dims["width"] == Dim("width", 320, 320, 32)
    assert job.inputs["tokens"] == TensorSpec("tokens", "int64", ("batch", 7), (0, 1234567))
    assert job.wrapper.mean == (0.0, 0.5, 1.0)
    assert reload(job) == job


def test_paths_start_at_the_job_file(write: Write, tmp_path: Path) -> None:
    job = load_job(write(MINIMAL))
    assert job.resolve("weights/a.pth") == tmp_path / "weights" / "a.pth"
    assert job.resolve("/weights/a.pth") == Path("/weights/a.pth")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        pytest.param(
            "export.opsets = 18",
            ["unknown key export.opsets = 18", "exporter", "simplify", 'did you mean "opset"'],
            id="a-typo-in-a-section",
        ),
        pytest.param(
            "[validat]\nseed = 1",
            ["unknown key validat", "allowed here", "wrapper", 'did you mean "validate"'],
            id="a-typo-in-a-sections-name",
        ),
        pytest.param("zzz = 1", ["unknown key zzz = 1", "allowed here", "export"], id="nothing-is-close"),
        pytest.param("[validation]", ["unknown key validation", '"validate"'], id="the-codes-own-name"),
        pytest.param('folder = "/tmp"', ["unknown key folder"], id="the-folder-is-not-the-jobs-to-say"),
        pytest.param(
            'export.opset = "20"',
            ['export.opset = "20": expected a whole number'],
            id="a-string-for-a-number",
        ),
        pytest.param(
            "export.opset = 20.0",
            ["export.opset = 20.0: expected a whole number"],
            id="a-float-for-an-integer",
        ),
        pytest.param("export.opset = 3", ["export.opset = 3", "7"], id="below-the-least-opset"),
        pytest.param(
            "wrapper.scale_input = 1", ["wrapper.scale_input = 1: expected true or false"], id="1-for-true"
        ),
        pytest.param(
            'wrapper.input_dtype = "int8"',
            ['wrapper.input_dtype = "int8"', "float32", "uint8"],
            id="a-choice-lists-the-choices",
        ),
        pytest.param("wrapper.mean = [0.5, 0.5]", ["wrapper.mean"], id="two-channels-of-three"),
        pytest.param(
            "wrapper.mean = [0, 0, 0]\nwrapper.std = [0, 1, 1]",
            ["wrapper.std.0 = 0.0", "expected a number above 0"],
            id="nothing-is-divided-by-0",
        ),
        pytest.param("wrapper.mean = [nan, 0, 0]", ["wrapper.mean.0 = nan", "finite"], id="nan-is-no-mean"),
        pytest.param(
            "validate.threads = true", ["validate.threads = true: expected a whole"], id="true-is-none"
        ),
        pytest.param(
            "validate.providers = []",
            ["validate.providers = []: expected at least 1 value"],
            id="no-provider",
        ),
        pytest.param(
            'validate.providers = ["A", "B", "A"]',
            ['validate.providers names "A" twice: leave one out'],
            id="a-provider-twice",
        ),
        pytest.param(
            'validate.optimization = ["all", "all"]',
            ['validate.optimization names "all" twice'],
            id="a-level-twice",
        ),
        pytest.param("validate.seed = -1", ["validate.seed = -1", "0"], id="seeds-have-no-sign"),
        pytest.param("validate.threads = 0", ["validate.threads = 0", "1"], id="no-threads"),
        pytest.param(
            "validate.threads = 999999",
            ["validate.threads = 999999", "1024"],
            id="more-threads-than-memory-holds",
        ),
        pytest.param("validate.score_threshold = 1.5", ["score_threshold = 1.5", "1"], id="no-probability"),
        pytest.param("validate.iou_threshold = nan", ["iou_threshold = nan"], id="nan-is-no-threshold"),
        pytest.param("predict.size = 0", ["predict.size = 0"], id="pictures-have-pixels"),
        pytest.param(
            'predict.filter = "bilinear"', ["predict.filter", "pillow-bilinear"], id="whose-bilinear"
        ),
        pytest.param("predict.padding = [1, 2]", ["predict.padding"], id="a-colour-has-three-channels"),
        pytest.param(
            'dims.height = "640..64"', ["dimension height", '"64..640"'], id="dims-swapped-shows-the-order"
        ),
        pytest.param("dims.height = 1.5", ["dimension height", '"1..8"'], id="dims-of-another-type"),
        pytest.param("dims.batch = true", ["dimension batch", '"1..8"'], id="dims-true-is-no-size"),
        pytest.param('inputs.x = "float32"', ["tensor x", "dtype[axes]"], id="inputs-without-axes"),
        pytest.param("inputs.x = 3", ["tensor x", "dtype[axes]"], id="inputs-of-another-type"),
        pytest.param("model = 3", ["model"], id="a-value-for-a-section"),
    ],
)
def test_refusal_names_key_value_and_what_is_allowed(write: Write, line: str, words: list[str]) -> None:
    text = MINIMAL.replace('model.family = "yolox"\n', "") if line.startswith("model =") else MINIMAL
    file = write(text + line)
    message = refusal(file)
    for word in (str(file), *words):
        assert word in message


def test_every_mistake_is_named_at_once(write: Write) -> None:
    message = refusal(write(MINIMAL + 'export.opset = "x"\nwrapper.decode = 1'))
    assert "export.opset" in message
    assert "wrapper.decode" in message


@pytest.mark.parametrize("key", ["name", "model"])
def test_missing_key_is_named(write: Write, key: str) -> None:
    lines = [line for line in MINIMAL.splitlines() if not line.startswith(key)]
    assert f"the key {key} is missing" in refusal(write("\n".join(lines)))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("", id="empty"),
        pytest.param("..", id="the-folder-above"),
        pytest.param("a/b", id="a-path"),
        pytest.param("a b", id="a-space"),
        pytest.param(".hidden", id="a-hidden-folder"),
        pytest.param("-rf", id="an-option"),
        pytest.param("a\\nb", id="a-line-break"),
        pytest.param("mine\\n", id="a-line-break-at-the-end"),
    ],
)
def test_name_is_a_plain_folder_name(write: Write, name: str) -> None:
    assert "name = " in refusal(write(MINIMAL.replace("mine", name)))


@pytest.mark.parametrize("name", ["digits-yolox", "v1.2_final", "7"])
def test_name_may_have_dots_dashes_and_digits(write: Write, name: str) -> None:
    assert load_job(write(MINIMAL.replace("mine", name))).name == name


def test_missing_file(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "nowhere.toml")


def test_folder_for_a_file(tmp_path: Path) -> None:
    assert str(tmp_path) in refusal(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"name: mine\n", id="yaml"),
        pytest.param(b"name = 'a'\nname = 'b'\n", id="a-key-twice"),
        pytest.param(b"\xff\xfe\x00", id="not-even-text"),
    ],
)
def test_no_toml(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "job.toml"
    file.write_bytes(content)
    assert str(file) in refusal(file)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        pytest.param("export.opset=18", {"export": {"opset": 18}}, id="a-number"),
        pytest.param("export.opset = 18", {"export": {"opset": 18}}, id="spaces-around-the-sign"),
        pytest.param("wrapper.scale_input=true", {"wrapper": {"scale_input": True}}, id="a-truth-value"),
        pytest.param("wrapper.mean=[0, 0, 1]", {"wrapper": {"mean": [0.0, 0.0, 1.0]}}, id="an-array"),
        pytest.param('export.target="barracuda"', {"export": {"target": "barracuda"}}, id="a-quoted-string"),
        pytest.param("validate.effort=quick", {"validate": {"effort": "quick"}}, id="a-bare-word"),
        pytest.param("validate.score_threshold=1", {"validate": {"score_threshold": 1.0}}, id="1-for-1.0"),
        pytest.param("dims.width=64..96 step 32", {"dims": {"width": "64..96 step 32"}}, id="a-bare-range"),
        pytest.param("dims.batch=1..8", {"dims": {"batch": "1..8"}}, id="it-replaces-what-is-there"),
        pytest.param("name=other", {"name": "other"}, id="outside-any-section"),
        pytest.param(
            "model.kwargs.depth.first=3", {"model": {"kwargs": {"depth": {"first": 3}}}}, id="makes-tables"
        ),
        pytest.param("validate.images=a=b.png", {"validate": {"images": "a=b.png"}}, id="a-second-sign"),
        pytest.param("model.variant=", {"model": {"variant": ""}}, id="nothing-is-an-empty-word"),
    ],
)
def test_override(write: Write, override: str, expected: Mapping[str, Any]) -> None:
    document = load_job(write(MINIMAL + 'dims.batch = "2"'), [override]).to_json()
    for key, value in expected.items():
        found = document[key]
        assert found == value if not isinstance(value, dict) else value.items() <= found.items()


def test_later_overrides_win(write: Write) -> None:
    assert load_job(write(MINIMAL), ["export.opset=18", "export.opset=19"]).export.opset == 19


@pytest.mark.parametrize(
    ("override", "words"),
    [
        pytest.param("export.opset", ["--set export.opset", "section.key=value"], id="no-value"),
        pytest.param("=18", ["section.key=value"], id="no-key"),
        pytest.param("export..opset=18", ["section.key=value"], id="an-empty-part"),
        pytest.param("name.first=1", ["name is a value, not a section"], id="a-key-below-a-value"),
        pytest.param("export.opsett=18", ["unknown key export.opsett", '"opset"'], id="schema-still-holds"),
        pytest.param(
            "export.opset=high", ['export.opset = "high": expected a whole number'], id="type-still-holds"
        ),
    ],
)
def test_bad_override(write: Write, override: str, words: list[str]) -> None:
    message = refusal(write(MINIMAL), override)
    for word in words:
        assert word in message


def test_job_is_frozen(write: Write) -> None:
    job = load_job(write(MINIMAL))
    with pytest.raises(ValueError, match="frozen"):
        job.name = "other"


STRUCTURED = """
[inputs]
image = "float32[batch, 3]"
batch.boxes = "float32[n, 4]"
batch.inner = { labels = "int64[n]" }
levels = ["float32[batch, 8]", "float32[batch, 16] in -1..1"]
"masks[0]" = "bool[batch]"

[arguments]
deep = true
mode = "bilinear"
batch.sizes = [1, 2]
"""

FLAT = {
    "image": "image",
    "batch.boxes": "batch_boxes",
    "batch.inner.labels": "batch_inner_labels",
    "levels[0]": "levels_0",
    "levels[1]": "levels_1",
    "masks[0]": "masks_0",
}


def test_inputs_in_lists_and_tables_have_places_and_names(write: Write) -> None:
    job = load_job(write(MINIMAL + STRUCTURED))
    assert {place: spec.name for place, spec in job.inputs.items()} == FLAT
    assert job.inputs["levels[1]"] == TensorSpec("levels_1", "float32", ("batch", 16), (-1, 1))
    assert job.arguments == {"deep": True, "mode": "bilinear", "batch": {"sizes": [1, 2]}}
    assert reload(job) == job


def test_a_part_of_an_input_can_be_set(write: Write) -> None:
    sets = ["inputs.batch.boxes=int64[n, 2]", "inputs.levels[0]=float32[batch, 4]", "arguments.deep=false"]
    file = write(MINIMAL + STRUCTURED.replace("levels = [", '"levels[0]" = "bool[]"\nold = ['))
    job = load_job(file, sets)
    assert str(job.inputs["batch.boxes"]) == "int64[n, 2]"
    assert str(job.inputs["levels[0]"]) == "float32[batch, 4]"
    assert job.arguments["deep"] is False


def test_names_that_would_be_the_same_are_told_apart(write: Write) -> None:
    job = load_job(write(MINIMAL + '[inputs]\na_b = "bool[]"\na.b = "bool[]"\n'))
    assert {place: spec.name for place, spec in job.inputs.items()} == {"a_b": "a_b", "a.b": "a_b_2"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        pytest.param("inputs.x = []", ["x is empty"], id="an-empty-list"),
        pytest.param('inputs.x = ["float32"]', ["tensor x_0", "dtype[axes]"], id="an-item-without-axes"),
        pytest.param('inputs."x[" = "bool[]"', ['"x["', "images[0]"], id="no-place"),
        pytest.param("arguments.when = 2020-01-01", ["arguments.when is a date", "a number"], id="a-date"),
        pytest.param(
            'inputs.z = "complex64[n]"',
            ["tensor z is complex64", "view_as_real", "float32[..., 2]"],
            id="complex",
        ),
    ],
)
def test_refused_inputs_and_arguments_say_what_is_expected(write: Write, line: str, words: list[str]) -> None:
    message = refusal(write(MINIMAL + line))
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param("", {"resize": "letterbox", "size": 256}, id="the-family-goes-before-the-default"),
        pytest.param(
            'predict.resize = "stretch"', {"resize": "stretch", "size": 256}, id="the-job-goes-first"
        ),
        pytest.param(
            "predict.padding = 0",
            {"resize": "letterbox", "size": 256, "padding": (0, 0, 0)},
            id="a-grey-is-a-colour",
        ),
    ],
)
def test_how_pictures_are_fitted(write: Write, line: str, expected: Mapping[str, Any]) -> None:
    job = load_job(write(MINIMAL + line))
    assert job.predict.fit(resize="letterbox") == expected
    again = Job.from_document(job.to_json(), folder=job.folder, source="the manifest")
    assert again.predict.fit(resize="letterbox") == expected
