"""The ``config.pbtxt`` of a model in a repository of NVIDIA's Triton Inference Server.

Its form is protobuf's text of ``inference.ModelConfig`` (model_config.proto of Triton's repository "common").
"""

import json

from onnxproof.errors import RequestError
from onnxproof.runtime.manifest import Manifest
from onnxproof.tensors import TensorSpec, dims_by_name

BACKEND = "onnxruntime"
DTYPES = {
    **{f"{sign}int{bits}": f"TYPE_{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "float16": "TYPE_FP16",
    "bfloat16": "TYPE_BF16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
    "bool": "TYPE_BOOL",
    "string": "TYPE_STRING",
}
"""Triton's element types by NumPy's names."""


def triton_config(manifest: Manifest) -> str:
    """The configuration of a bundle's model, as protobuf's text.

    Triton batches requests if the first axis of every input and output is one named dimension that takes each
    size from 1; its largest size is then the largest batch. Otherwise a request has the axes of the file.
    Raises RequestError if a dtype is not among Triton's.
    """
    contract = manifest.contract
    batch = _largest_batch(manifest)
    lines = [
        f"name: {_text(contract.name)}",
        f"backend: {_text(BACKEND)}",
        f"max_batch_size: {batch}",
    ]
    for kind, specs in (("input", contract.inputs), ("output", contract.outputs)):
        for spec in specs:
            axes = spec.shape[1:] if batch else spec.shape
            dims = ", ".join(str(axis) if isinstance(axis, int) else "-1" for axis in axes)
            lines += [
                f"{kind} {{",
                f"  name: {_text(spec.name)}",
                f"  data_type: {_dtype(spec)}",
                f"  dims: [ {dims} ]",
                "}",
            ]
    if batch > 1:
        lines.append("dynamic_batching { }")
    if manifest.model_sha256 is not None:
        lines.append(
            f'parameters {{ key: "model_sha256" value {{ string_value: {_text(manifest.model_sha256)} }} }}'
        )
    return "\n".join(lines) + "\n"


def _largest_batch(manifest: Manifest) -> int:
    """The largest batch that Triton may make; 0 if it must not make any."""
    contract = manifest.contract
    specs = (*contract.inputs, *contract.outputs)
    first = {spec.shape[0] if spec.shape else 1 for spec in specs}
    axis = first.pop()
    if first or not isinstance(axis, str) or any(len(spec.shape) < 2 for spec in specs):
        return 0
    dim = dims_by_name(contract.dims).get(axis)
    return dim.max if dim is not None and dim.min == 1 and dim.multiple == 1 else 0


def _dtype(spec: TensorSpec) -> str:
    if spec.dtype not in DTYPES:
        raise RequestError(f"{spec.name} is {spec.dtype}, which Triton does not have: export another dtype")
    return DTYPES[spec.dtype]


def _text(text: str) -> str:
    """A text as protobuf quotes it, whose escapes for ASCII are JSON's. Others stay as they are, in UTF-8."""
    return json.dumps(text, ensure_ascii=False)
