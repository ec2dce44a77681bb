"""Have torch.onnx list its translations of operators without parsing their source.

For each capture torch.onnx makes a table of all translations, several hundred functions. To know the domain
of each, it parses the function's source and takes the domain from the result. That is a tenth of what a cold
capture costs. The domain is the one that the function was registered with.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any


class _Unread:
    """What stands for the parsed source of a function: it is parsed if more than the domain is asked for."""

    def __init__(self, function: Any, parse: Callable[[Any], Any]) -> None:
        self.domain = function.opset.domain
        self._parsed: Callable[[], Any] = lambda: parse(function)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parsed(), name)


@contextlib.contextmanager
def sources_unread() -> Iterator[None]:
    """Inside, the source of a translation is parsed only where it is used.

    Does nothing if this version of onnxscript keeps its functions in another way.
    """
    try:
        from onnxscript import values  # noqa: PLC0415 - heavy, as a capture is

        traced: Any = values.TracedOnnxFunction
        parsed = traced.function_ir
        parse = parsed.fget
    except (ImportError, AttributeError):
        yield
        return
    traced.function_ir = property(lambda function: _Unread(function, parse))
    try:
        yield
    finally:
        traced.function_ir = parsed
