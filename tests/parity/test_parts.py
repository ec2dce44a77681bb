"""A sweep that is cut in three, measured in three processes and merged gives the same parity.json."""

import json
import multiprocessing
import pickle
from pathlib import Path

import onnx
import pytest

from onnxproof.export.make import make_graph
from onnxproof.export.model import build_model
from onnxproof.job import Job, load_job
from onnxproof.steps.planning import plan_of
from onnxproof.validate.checks import LINKS
from onnxproof.validate.sweep import measure, merge
from onnxproof.validate.verdict import Verdict
from onnxproof.validate.verify import open_trial, validate_files, verdicts_of
from onnxproof.wrappers.family import WrappedModel

CONFIG = Path(__file__).parents[2] / "configs" / "digits-classifier.toml"
SMALL = ("validate.effort=quick", "validate.threads=1")
PARTS = 3


def loaded() -> tuple[Job, WrappedModel]:
    job = load_job(CONFIG, SMALL)
    return job, build_model(job)[0]


def measure_part(part: int, file: Path, target: Path) -> None:
    """Measure every third case, in a process of its own."""
    job, model = loaded()
    trial = open_trial(model, (file,), plan_of(job, model))
    target.write_bytes(pickle.dumps(measure(trial.on(*trial.cases[part::PARTS]))))


def written(verdict: Verdict) -> bytes:
    """The document, all links in it. The link ``pipeline`` is taken once, on the merged figures."""
    assert {one.link for one in verdict.links if one.status == "pass"} == {*LINKS}
    assert verdict.pipeline is not None
    assert verdict.pipeline.decisions > 0
    return json.dumps(verdict.to_json()).encode()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    job, model = loaded()
    file = tmp_path_factory.mktemp("parts") / "model.onnx"
    onnx.save(make_graph(job, model).proto, file)
    return file


@pytest.mark.slow
def test_three_processes_in_any_order_give_the_same_document(file: Path, tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    targets = [tmp_path / str(part) for part in range(PARTS)]
    for part, target in enumerate(targets):
        process = spawn.Process(target=measure_part, args=(part, file, target))
        process.start()
        process.join()
        assert process.exitcode == 0
    job, model = loaded()
    plan = plan_of(job, model)
    whole = written(validate_files(model, (file,), plan)[0])
    trial = open_trial(model, (file,), plan)
    assert len(trial.cases) > PARTS
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        parts = [pickle.loads(targets[part].read_bytes()) for part in order]
        (verdict,) = verdicts_of(model, (file,), plan, trial, merge(parts))
        assert written(verdict) == whole
