"""torch.onnx lists the same translations when it does not parse the source of each."""

import importlib
from typing import Any

import onnxscript
import pytest

from onnxproof.export.unread import sources_unread


def listed() -> dict[str, list[tuple[Any, ...]]]:
    """All translations: by operator the function, whether it takes complex numbers, and its signature."""
    registration: Any = importlib.import_module("torch.onnx._internal.exporter._registration")
    functions: dict[Any, list[Any]] = registration.ONNXRegistry.from_torchlib(20).functions
    return {
        str(operator): [(one.onnx_function, one.is_complex, str(one.signature)) for one in found]
        for operator, found in functions.items()
    }


def test_the_same_translations_are_listed_and_none_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = listed()
    parsed: list[Any] = []
    values: Any = onnxscript.values
    parse = values.TracedOnnxFunction.function_ir.fget

    def watched(function: Any) -> Any:
        parsed.append(function)
        return parse(function)

    monkeypatch.setattr(values.TracedOnnxFunction, "function_ir", property(watched))
    with sources_unread():
        assert listed() == plain
    assert len(plain) > 400
    assert not parsed


def test_what_else_is_asked_of_a_translation_is_parsed() -> None:
    functions: Any = importlib.import_module("onnxscript.function_libs.torch_lib.ops.core")
    traced = functions.aten_add
    known = traced.function_ir
    with sources_unread():
        assert traced.function_ir.domain == known.domain
        assert [one.name for one in traced.function_ir.inputs] == [one.name for one in known.inputs]
    assert type(traced.function_ir) is type(known)
