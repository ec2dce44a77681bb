"""What the fixture ``onnx_parity`` does: judge a file by what the test hands in."""

import os
from collections.abc import Mapping
from typing import Any

import onnxproof
from onnxproof.errors import OnnxproofError, RequestError
from onnxproof.source import CheckpointPath, look_at
from onnxproof.testing.told import message_of
from onnxproof.validate.verdict import Verdict


def judged(model: Any, onnx: Any, options: Mapping[str, Any]) -> tuple[Verdict | None, str | None]:
    """The verdict, and why the test fails; the first is None if there is none, the second if it passes."""
    try:
        verdict = _verdict(model, onnx, options)
    except OnnxproofError as error:
        return None, f"{type(error).__name__}: {error}"
    subject = str(onnx if onnx is not None else model)
    return verdict, None if verdict.passed else message_of(verdict, subject)


def _verdict(model: Any, onnx: Any, options: Mapping[str, Any]) -> Verdict:
    if isinstance(model, onnxproof.Job):
        return onnxproof.validate(model, onnx=onnx, **options)
    if isinstance(model, str | os.PathLike):
        if not isinstance(look_at(model), CheckpointPath):
            return onnxproof.validate(model, onnx=onnx, **options)
        return onnxproof.check(_file(onnx), against=model, **options)
    return onnxproof.check_module(model, _file(onnx), **options)


def _file(onnx: Any) -> Any:
    if onnx is None:
        raise RequestError('no ONNX file is given: write onnx_parity(model, "model.onnx", …)')
    return onnx
