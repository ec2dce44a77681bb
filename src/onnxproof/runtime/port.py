"""An input or output as an ONNX file declares it."""

from dataclasses import dataclass
from typing import Any, Self

from numpy.typing import NDArray

from onnxproof.errors import RequestError

Array = NDArray[Any]

NUMBERS = "biufc"
"""The kinds of NumPy's dtypes that convert to one another."""

_DTYPES = {
    "float": "float32",
    "double": "float64",
    "float16": "float16",
    "bool": "bool",
    "string": "string",
    **{f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
"""NumPy's names for ONNX Runtime's element types; "string" is fed as NumPy's str."""


def conversion(array: Array, dtype: str) -> str:
    """What to do about an array of another dtype, in words."""
    return f'convert it with array.astype("{dtype}")' if array.dtype.kind in NUMBERS else "give numbers"


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output as the file declares it.

    ``dtype`` is NumPy's name, or ONNX Runtime's if NumPy has none (bfloat16, a sequence, a map). An axis is
    an int if it is fixed, a name if it is dynamic, and None if it is dynamic without a name.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]

    @classmethod
    def of(cls, node: Any) -> Self:
        """Read ONNX Runtime's ``NodeArg``."""
        kind = str(node.type)
        inner = kind.removeprefix("tensor(").removesuffix(")") if kind.startswith("tensor(") else kind
        axes = tuple(axis if isinstance(axis, int) else axis or None for axis in node.shape or ())
        return cls(node.name, _DTYPES.get(inner, inner), axes)

    def __str__(self) -> str:
        axes = ", ".join("?" if axis is None else str(axis) for axis in self.shape)
        return f"{self.dtype}[{axes}]"

    def to_json(self) -> dict[str, Any]:
        """A JSON object: name, dtype and shape (null for a nameless dynamic axis)."""
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}

    def check(self, array: Array) -> None:
        """Raise RequestError if an array has another dtype, rank or fixed size than the input."""
        alike = array.dtype.name == self.dtype or (array.dtype.kind in "UO" and self.dtype == "string")
        fits = array.ndim == len(self.shape) and all(
            got == axis for got, axis in zip(array.shape, self.shape, strict=True) if isinstance(axis, int)
        )
        if fits and alike:
            return
        got = f"{array.dtype.name}{list(array.shape)}"
        advice = [] if alike else [self._conversion(array)]
        if not fits:
            advice.append("reshape, pad or cut the array to these axes")
        raise RequestError(f"input {self.name}: got {got}, expected {self}: {', and '.join(advice)}")

    def _conversion(self, array: Array) -> str:
        """How an array gets the input's dtype."""
        if self.dtype == "string":
            return "give texts (an array of NumPy's dtype str)"
        if self.dtype not in _DTYPES.values():
            return "NumPy has no such dtype, so this input cannot be fed"
        return conversion(array, self.dtype)
