"""Copies of an exported file that are damaged on purpose, and the verdicts on them."""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import onnx
from once import Once

from onnxproof.export.model import build_model
from onnxproof.job import Job
from onnxproof.judging import plan_of
from onnxproof.pipeline import Bundle
from onnxproof.validate.verdict import Verdict
from onnxproof.validate.verify import validate_files

Damage = Callable[[onnx.ModelProto], None]


def verdicts_on(once: Once, job: Job, bundle: Bundle, damages: Mapping[str, Damage]) -> Mapping[str, Verdict]:
    """The verdicts on copies of a bundle's file, each with one of the damages, by the damages' names.

    They are made once in a run, and PyTorch runs once for all of them.
    """

    def make(folder: Path) -> None:
        files = [folder / f"{number}.onnx" for number in range(len(damages))]
        for file, damage in zip(files, damages.values(), strict=True):
            proto = onnx.load(bundle.path / "model.onnx")
            damage(proto)
            onnx.save(proto, file)
        model, _ = build_model(job)
        plan = plan_of(job, model)
        found = validate_files(model, files, plan, opset=job.export.opset, target=job.export.target)
        (folder / "verdicts.pickle").write_bytes(pickle.dumps(dict(zip(damages, found, strict=True))))

    folder = once(f"verdicts on {bundle.path} with {', '.join(damages)}", make)
    verdicts: Mapping[str, Verdict] = pickle.loads((folder / "verdicts.pickle").read_bytes())
    return verdicts
