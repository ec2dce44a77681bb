"""Families that are not ours, families and heads that are one file, and what goes wrong in others' code."""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from new_files import COMPARER, HEAD, TASK, add_file
from packages import install

import onnxproof
from onnxproof.errors import JobError, OnnxproofError, RequestError
from onnxproof.export.model import build_model
from onnxproof.job import Job
from onnxproof.runtime import tasks
from onnxproof.runtime.folder import read_manifest
from onnxproof.validate import compare
from onnxproof.wrappers import families, heads
from onnxproof.wrappers.registry import get_family

PAGE = Path(__file__).parents[2] / "docs" / "families.md"


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """The fenced blocks of a page, each with the last name in backticks before it."""
    text = page.read_text(encoding="utf-8")
    for block in re.finditer(r"```\w*\n(.*?)```", text, re.DOTALL):
        names = re.findall(r"`([^`\n]+)`", text[: block.start()])
        yield names[-1] if names else "", block[1]


def test_the_documented_family_of_another_package_exports_and_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    page = dict(blocks(PAGE))
    project = tomllib.loads(page["acme-signals/pyproject.toml"])["project"]
    (points,) = project["entry-points"].items()
    assert points[0] == "onnxproof.families"
    lines = "\n".join(f"{name} = {value}" for name, value in points[1].items())
    install(
        monkeypatch,
        tmp_path / "site",
        project["name"],
        {"acme_signals.py": page["acme-signals/acme_signals.py"]},
        lines,
    )

    from onnxproof.cli import main

    monkeypatch.setattr(sys, "argv", ["onnxproof", "families"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    assert page["onnxproof families"].split() in [
        line.split() for line in capfd.readouterr().out.splitlines()
    ]
    assert "acme_signals" not in sys.modules

    (job,) = (text for text in page.values() if 'family = "acme_signals"' in text)
    (tmp_path / "signals.toml").write_text(job, encoding="utf-8")
    import acme_signals  # type: ignore[import-not-found]

    torch.manual_seed(0)
    torch.save(acme_signals.network("large", 5).state_dict(), tmp_path / "signals.pth")
    bundle = onnxproof.export(tmp_path / "signals.toml", out=tmp_path / "dist")
    assert bundle.verdict is not None
    assert bundle.verdict.passed, [check for check in bundle.verdict.checks if check.status != "pass"]
    assert (bundle.manifest.family, bundle.manifest.contract.task) == ("acme_signals", "classification")
    assert bundle.manifest.family_package == "acme-signals 1.0"
    assert read_manifest(bundle.path) == bundle.manifest
    assert onnxproof.load(bundle.path).manifest.family_package == "acme-signals 1.0"
    assert len(bundle.manifest.contract.classes) == 5
    assert bundle.verdict.to_json()["decisions"]["matched"] > 0

    drafted = onnxproof.init(tmp_path / "signals.pth", out=tmp_path / "drafted.toml").job
    assert (drafted.model.family, drafted.model.variant) == ("acme_signals", "large")
    assert str(drafted.dims["batch"]) == "1..8"

    with pytest.raises(JobError, match='"huge" is not known'):
        onnxproof.export(tmp_path / "signals.toml", out=tmp_path / "dist", set=["model.variant=huge"])


ONE_FILE = """
\"\"\"A line, and nothing else.\"\"\"

from torch import nn

from onnxproof.job import Job
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.wrappers.family import Checkpoint, WrappedModel
from onnxproof.wrappers.wrap import wrap_module


class _Line:
    name = "one_file"

    def build(self, job: Job, checkpoint: Checkpoint | None) -> WrappedModel:
        spec = TensorSpec.parse("x", "float32[batch, 4] in -1..1")
        dims = (Dim("batch", 1, 3),)
        return wrap_module(nn.Linear(4, 2), (spec,), dims, family=self.name, task=job.model.task or "raw")


FAMILY = _Line()
"""


def job(*settings: str) -> Job:
    text = 'name = "mine"\n' + "\n".join(settings)
    return Job.from_document(tomllib.loads(text), folder=Path(), source="a test")


def test_a_family_is_one_file_and_a_new_task_is_three_which_every_family_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_file(monkeypatch, families, tmp_path, "one_file", ONE_FILE)
    for package, text in ((tasks, TASK), (compare, COMPARER), (heads, HEAD)):
        add_file(monkeypatch, package, tmp_path, "points", text)
    builder = 'model.builder = "torch.nn:Linear"\nmodel.kwargs = {in_features = 4, out_features = 2}'
    inputs = 'inputs.x = "float32[batch, 4]"\ndims.batch = "1..2"'
    line = (torch.zeros(2, 4),)
    for settings, decode in (
        (('model.family = "one_file"', 'model.task = "points"'), "peaks"),
        (('model.family = "module"', 'model.task = "points"', builder, inputs), "peaks"),
        (
            (
                'model.family = "module"',
                'model.task = "points"',
                'wrapper.decode = "heatmaps"',
                builder,
                inputs,
            ),
            "heatmaps",
        ),
    ):
        model, _ = build_model(job(*settings))
        told = {"decode": decode, "outputs": ["points"], "score_threshold": 0.0}
        assert (model.contract.task, model.contract.reading.to_json()) == ("points", told)
        assert [str(spec) for spec in model.contract.outputs] == ["float32[batch, 2]"]
        assert model.module(*line)[0].shape == (2, 2)
    with pytest.raises(JobError, match='"mask" is not for the task points; there are: peaks, heatmaps'):
        build_model(
            job(
                'model.family = "module"',
                'model.task = "points"',
                'wrapper.decode = "mask"',
                builder,
                inputs,
            )
        )
    torch.manual_seed(0)
    asked = job('model.family = "one_file"', 'model.task = "points"')
    bundle = onnxproof.export(asked, out=tmp_path / "dist")
    assert bundle.verdict is not None
    assert bundle.verdict.passed, [check for check in bundle.verdict.checks if check.status != "pass"]
    assert bundle.verdict.to_json()["decisions"]["matched"] > 0
    assert (bundle.manifest.family, bundle.manifest.contract.task) == ("one_file", "points")
    assert "family_package" not in bundle.manifest.to_json()
    predictor = onnxproof.load(bundle.path)
    x = torch.ones(1, 4).numpy()
    (scores,) = predictor.run(None, {"x": x})["points"]
    assert predictor.predict(inputs={"x": x}).decisions == [at for at in (0, 1) if scores[at] > 0]


@pytest.mark.parametrize("name", heads.head_names())
def test_a_head_is_named_as_its_file(name: str) -> None:
    head = heads.get_head(name)
    assert head.name == name
    assert len(set(head.decodes)) == len(head.decodes) > 0


BROKEN = """
class Family:
    name = "toy"

    def build(self, job, checkpoint):
        {body}


FAMILY = Family()
"""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("import acme_nowhere", "raises ModuleNotFoundError at ", id="its-import-fails"),
        pytest.param("raise SystemExit(0)", "calls sys.exit(0) at ", id="it-exits-when-imported"),
        pytest.param("", "has no attribute 'FAMILY'", id="it-has-no-family"),
        pytest.param("def (", "raises SyntaxError at ", id="it-is-no-python"),
        pytest.param(BROKEN.format(body="pass").replace('"toy"', '"other"'), 'name "toy"', id="another-name"),
        pytest.param("FAMILY = 3", "is a int; expected an object", id="it-is-no-family"),
        pytest.param(BROKEN.format(body="1 / 0"), "raises ZeroDivisionError at ", id="its-build-raises"),
        pytest.param(
            BROKEN.format(body="raise SystemExit(0)"), "calls sys.exit(0) at ", id="its-build-exits"
        ),
        pytest.param(BROKEN.format(body="return None"), "built a NoneType", id="it-builds-nothing"),
        pytest.param(
            ONE_FILE.replace('"one_file"', '"toy"').replace("family=self.name, ", ""),
            'a WrappedModel of the family "module"; expected a WrappedModel of the family "toy"',
            id="it-builds-another-familys-model",
        ),
    ],
)
def test_what_goes_wrong_in_anothers_family_is_an_error_for_people_of_that_family_alone(
    text: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"acme_broken_{abs(hash(text))}"
    install(monkeypatch, tmp_path, "acme-toys", {f"{module}.py": text}, f"toy = {module}:FAMILY")
    with pytest.raises(RequestError) as refused:
        build_model(job('model.family = "toy"'))
    assert says in str(refused.value)
    assert f"acme-toys 1.0 ({module}:FAMILY)" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert get_family("module").name == "module"


def test_an_error_for_people_from_anothers_family_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = BROKEN.format(
        body="from onnxproof.errors import CheckpointError; raise CheckpointError('mend it')"
    )
    install(monkeypatch, tmp_path, "acme-toys", {"acme_people.py": text}, "toy = acme_people:FAMILY")
    with pytest.raises(OnnxproofError, match=r"^mend it$"):
        build_model(job('model.family = "toy"'))


def test_two_families_of_one_name_are_both_named_and_neither_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = BROKEN.replace("toy", "module").format(body="1 / 0")
    install(monkeypatch, tmp_path, "acme-toys", {"acme_double.py": text}, "module = acme_double:FAMILY")
    with pytest.raises(RequestError, match=r"acme-toys 1.*and by|and by.*acme-toys 1"):
        get_family("module")
    assert get_family("yolox").name == "yolox"
