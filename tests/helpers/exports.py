"""Exports that several tests read: each is made once in a run."""

import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import onnx
from documents import mistakes
from once import Once

import onnxproof
from onnxproof.export.make import make_graph
from onnxproof.job import Job, load_job
from onnxproof.pipeline import Bundle
from onnxproof.wrappers.family import WrappedModel


def graph_of(once: Once, job: Job, model: WrappedModel) -> onnx.ModelProto:
    """What ``make_graph`` makes of a job. Jobs that differ only in how they validate share it."""
    asked = job.model_dump_json(include={"model", "wrapper", "dims", "inputs", "export"})

    def make(folder: Path) -> None:
        onnx.save(make_graph(job, model).proto, folder / "model.onnx")

    return onnx.load(once(f"graph {job.folder} {asked}", make) / "model.onnx")


def bundle_of(once: Once, job: Job | Path, overrides: Sequence[str] = (), *, validate: bool = True) -> Bundle:
    """The bundle of a job, not to be written to, with its verdict if ``validate``."""
    if isinstance(job, Path):
        job = load_job(job, overrides)

    def make(folder: Path) -> None:
        made = onnxproof.export(job, out=folder / "dist", validate=validate)
        for name in ("manifest", *(["parity"] if validate else [])):
            written = (made.path / f"{name}.json").read_text(encoding="utf-8")
            assert mistakes(name, json.loads(written)) == []
        (folder / "bundle.pickle").write_bytes(pickle.dumps(made))

    asked = job.model_dump_json(by_alias=True)
    folder = once(f"bundle {validate} {job.folder} {asked}", make)
    bundle = pickle.loads((folder / "bundle.pickle").read_bytes())
    assert isinstance(bundle, Bundle)
    return bundle
