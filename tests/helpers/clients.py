"""What the tests of runtimes beyond Python share: their tools, and a model with each dtype."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from contracts import contract
from kits import bundle
from once import Once
from onnx import helper

import onnxproof
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.validate.golden.kit import PLAIN

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "examples" / "clients"
REQUIRED = "ONNXPROOF_CLIENTS"
"""The environment variable with the clients that must be run, for example "node browser"."""

WEB = CLIENTS / "node_modules" / "onnxruntime-web"


def need(client: str, tools: Mapping[str, object]) -> None:
    """Skip the test if a tool is not here, or fail it if the client must be run."""
    missing = ", ".join(name for name, found in tools.items() if not found)
    if missing and client in os.environ.get(REQUIRED, "").split():
        pytest.fail(f"the client {client} must be run, and there is no {missing}")
    if missing:
        pytest.skip(f"the client {client}: there is no {missing}; .ci/clients installs it")


EVERY = contract(
    name="every-dtype",
    inputs=(
        *(TensorSpec(f'an "{dtype}", whole', dtype, ("batch", 3), (0, 1)) for dtype in PLAIN),
        TensorSpec("a scalar", "float32", (), (0, 1)),
    ),
    outputs=(
        *(TensorSpec(f'out "{dtype}"', dtype, ("batch", 3)) for dtype in PLAIN),
        TensorSpec("out", "float32", ()),
    ),
    dims=(Dim("batch", 1, 4),),
)
"""An input and an output of each dtype, a scalar, and names that JSON escapes."""


def returned(inputs: Mapping[str, Any], *_: Any) -> dict[str, Any]:
    """What a model returns that returns its inputs."""
    return {spec.name: array for spec, array in zip(EVERY.outputs, inputs.values(), strict=True)}


def kit_of_every_dtype(once: Once) -> Path:
    """The kit of a model that returns its inputs; not to be written to."""

    def make(folder: Path) -> None:
        def values(specs: Sequence[TensorSpec]) -> list[onnx.ValueInfoProto]:
            return [
                helper.make_tensor_value_info(
                    spec.name, helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), spec.shape
                )
                for spec in specs
            ]

        nodes = [
            helper.make_node("Identity", [one.name], [other.name])
            for one, other in zip(EVERY.inputs, EVERY.outputs, strict=True)
        ]
        graph = helper.make_graph(nodes, "every", values(EVERY.inputs), values(EVERY.outputs))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        made = bundle(folder / "bundle", EVERY, model=model.SerializeToString(), network=returned)
        onnxproof.kit(made, out=folder / "kit")

    return once("the kit of every dtype", make) / "kit"
