"""Copies of an exported file that are damaged on purpose, and the verdicts on them."""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from once import Once
from onnx import numpy_helper

from onnxproof.export.model import build_model
from onnxproof.job import Job
from onnxproof.pipeline import Bundle
from onnxproof.steps.planning import plan_of
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


def scaled(name: str, factor: float) -> Damage:
    """Scale the first weight whose name contains a text."""

    def damage(model: onnx.ModelProto) -> None:
        tensor = next(tensor for tensor in model.graph.initializer if name in tensor.name)
        values = numpy_helper.to_array(tensor) * np.float32(factor)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    return damage


def behind(output: str, operator: str, **constants: NDArray[Any]) -> Damage:
    """Apply an operator with constants to one of the outputs."""

    def damage(model: onnx.ModelProto) -> None:
        before = f"{output}_before"
        for node in model.graph.node:
            for names in (node.input, node.output):
                names[:] = [before if name == output else name for name in names]
        inputs = [before]
        for name, value in constants.items():
            inputs.append(f"{output}_{name}")
            model.graph.initializer.append(numpy_helper.from_array(value, inputs[-1]))
        model.graph.node.append(onnx.helper.make_node(operator, inputs, [output]))

    return damage


def without_the_best(model: onnx.ModelProto) -> None:
    """Each output loses its first row."""
    bounds = {"starts": np.array([1]), "ends": np.array([2**31 - 1]), "axes": np.array([0])}
    for name in ("boxes", "labels", "scores"):
        behind(name, "Slice", **bounds)(model)
