"""Bundles with golden cases that need no model, and a host that answers the kits of them."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from contracts import contract, manifest
from numpy.typing import NDArray

from onnxproof.contract import Contract
from onnxproof.tensors import Dim, Field, TensorSpec
from onnxproof.validate.cases import Case, materialise
from onnxproof.validate.golden.file import pack
from onnxproof.validate.golden.golden import About, Floors, Golden, GoldenCase
from onnxproof.validate.legs.leg import Answer, Arrays

ERROR = 1e-6
"""Of PyTorch and of a healthy host, m."""

TWO = contract(
    name="two",
    inputs=(TensorSpec("x", "float32", ("batch", 4), (0, 1)), TensorSpec("flags", "bool", ("batch", 2))),
    outputs=(TensorSpec("y", "float32", ("batch", 4)), TensorSpec("z", "float32", ("batch", 4))),
    dims=(Dim("batch", 1, 4),),
    fields=(Field("y", "value", "m"), Field("z", "other", "m")),
)
"""Two outputs of one shape."""

CASES = (("one", 1), ("two", 2), ("two again", 2))
"""The names and the batches of the golden cases."""

Array = NDArray[Any]
Host = Callable[[Mapping[str, Array]], dict[str, Array]]
Network = Callable[..., dict[str, Array]]
"""``network(inputs, error, dtype)`` is what a model computes, off by an error, in a dtype."""


def computed(inputs: Arrays, error: float = ERROR, dtype: str = "float32") -> dict[str, Array]:
    """What the model computes, m, each number off by ``error`` or by its opposite."""
    rows = inputs["x"].astype(np.float64) + inputs["flags"].sum(axis=1, keepdims=True)
    off = error * np.where(np.arange(4) % 2, 1, -1)
    whole = rows.sum(axis=1, keepdims=True)
    return {"y": (rows + whole + off).astype(dtype), "z": (2 * rows - whole - off).astype(dtype)}


def golden_case(name: str, seed: int, batch: int, declared: Contract, network: Network) -> GoldenCase:
    case = Case(name, {"batch": batch}, "noise", seed)
    inputs = materialise(case, declared.inputs, None)
    reference = Answer(network(inputs, -ERROR), {})
    return GoldenCase(case, inputs, reference, Answer(network(inputs, 0.0, "float64"), {}))


def bundle(
    folder: Path,
    declared: Contract = TWO,
    *,
    verdict: str = "pass",
    model: bytes = b"a model",
    network: Network = computed,
) -> Path:
    """A bundle of a model that ``network`` stands for; the file may be a few bytes."""
    folder.mkdir(parents=True)
    parts = {key: getattr(declared, key) for key in ("name", "inputs", "outputs", "dims", "fields")}
    told = manifest(**parts, versions={"onnxproof": "0.1.0"})
    (folder / "model.onnx").write_bytes(model)
    about = About(
        hashlib.sha256(model).hexdigest(),
        hashlib.sha256(told.to_metadata().encode()).hexdigest(),
        verdict,
        {"function": "pass"},
        {"onnxruntime": "1.31.1"},
        ("CPUExecutionProvider",),
        "torch-float32",
        "torch-float64",
        {},
    )
    cases = (golden_case(name, seed, batch, declared, network) for seed, (name, batch) in enumerate(CASES))
    content = pack(Golden(about, Floors({}, {}, {}), tuple(cases)), declared)
    (folder / "golden.npz").write_bytes(content)
    sums = {"model_sha256": about.model_sha256, "golden_sha256": hashlib.sha256(content).hexdigest()}
    document = {**told.to_json(), **sums}
    (folder / "manifest.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


def answered(kit: Path, outputs: Path, host: Host = computed, **more: Any) -> Path:
    """What a host writes that runs the cases of a kit, and knows no more of it than its README says."""
    index = json.loads((kit / "kit.json").read_text(encoding="utf-8"))
    outputs.mkdir()
    cases = []
    for case in index["cases"]:
        given = {
            one["name"]: np.fromfile(kit / one["file"], np.dtype(one["dtype"])).reshape(one["shape"])
            for one in case["inputs"]
        }
        told = []
        for name, array in host(given).items():
            file = f"case{case['case']}-{name}"
            (outputs / file).write_bytes(array.tobytes())
            told.append({"name": name, "dtype": array.dtype.name, "shape": list(array.shape), "file": file})
        cases.append({"case": case["case"], "outputs": told})
    runtime = {"name": "engine", "version": "2.0", "provider": "npu"}
    document = {"format": 1, "kit": index["kit"], "runtime": runtime, **more, "cases": cases}
    (outputs / "outputs.json").write_text(json.dumps(document), encoding="utf-8")
    return outputs


def edit(file: Path, change: Callable[[Any], object]) -> None:
    """Change a JSON document on the disk."""
    document = json.loads(file.read_text(encoding="utf-8"))
    change(document)
    file.write_text(json.dumps(document), encoding="utf-8")
