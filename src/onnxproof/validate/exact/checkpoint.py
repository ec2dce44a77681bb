"""The checkpoint's tensors, and its batch norms.

No framework is imported: the tensors come as NumPy arrays.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def as_pairs(numbers: Array) -> Array:
    """Complex numbers as their real and imaginary parts along a last axis: [..., 2]."""
    return np.stack([numbers.real, numbers.imag], axis=-1)


@dataclass(frozen=True, slots=True, eq=False)
class Norm:
    """A batch norm in evaluation mode, x * gain + shift for each channel, in float64.

    ``gain`` is gamma / sqrt(var + eps) and ``shift`` beta - mean * gain (as in export/fold.py); all are [C].
    """

    name: str
    mean: Array
    beta: Array
    gain: Array
    spread: Array
    scaling: frozenset[str]
    shifting: frozenset[str]

    @property
    def names(self) -> frozenset[str]:
        """The checkpoint's tensors that the norm is made of."""
        return self.scaling | self.shifting

    @property
    def factors(self) -> tuple[tuple[str, Array], ...]:
        """The vectors that exporters compute of a norm, each with its name."""
        return (
            ("gain", self.gain),
            ("deviation", self.spread),
            ("1 / deviation", 1 / self.spread),
            ("variance + eps", self.spread**2),
        )

    def at(self, channels: Array) -> Self:
        """The norm at some of its channels."""
        mean, beta, gain, spread = (one[channels] for one in (self.mean, self.beta, self.gain, self.spread))
        return replace(self, mean=mean, beta=beta, gain=gain, spread=spread)

    def bias(self, before: Array | float) -> Array:
        """The bias of a convolution with this norm folded in. ``before`` is its bias without the norm."""
        folded: Array = (before - self.mean) * self.gain + self.beta
        return folded

    def terms(self, before: Array | float) -> Array:
        """The size of the numbers that ``bias`` adds up; its rounding error is proportional to it."""
        size: Array = (np.abs(before) + np.abs(self.mean)) * np.abs(self.gain) + np.abs(self.beta)
        return size


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """A model's floating-point tensors by name, and the epsilon of each norm with running statistics.

    Tensors in half precision are held in float32; ``half_of`` names the dtype of each. ``rounded_to`` is a
    dtype of half precision to which the file may round them. A complex tensor is held as pairs along a last
    axis, as a file holds it.
    """

    tensors: Mapping[str, Array]
    epsilons: Mapping[str, float]
    half_of: Mapping[str, str] = field(default_factory=dict)
    rounded_to: str = "float32"

    @property
    def halves(self) -> frozenset[str]:
        """The dtypes of half precision in which the model holds tensors, or the file may."""
        return frozenset((*self.half_of.values(), self.rounded_to)) - {"float32"}

    @classmethod
    def of(cls, module: Any, rounded_to: str = "float32") -> Self:
        """The parameters and buffers that a PyTorch module saves. They share its memory if possible."""
        tensors = {}
        halves: dict[str, str] = {}
        for name, tensor in module.state_dict().items():
            # A module may save values of other types beside its tensors, a dtype for one.
            if not hasattr(tensor, "detach"):
                continue
            if tensor.is_complex():
                tensors[name] = as_pairs(tensor.detach().cpu().resolve_conj().numpy())
            elif tensor.is_floating_point():
                plain = tensor.detach().cpu()
                if plain.dtype.itemsize == 2:
                    halves[name] = str(plain.dtype).removeprefix("torch.")
                tensors[name] = (plain.float() if plain.element_size() < 4 else plain).numpy()
        epsilons = {
            name: float(layer.eps)
            for name, layer in module.named_modules()
            if getattr(layer, "running_var", None) is not None and hasattr(layer, "eps")
        }
        return cls(tensors, epsilons, halves, rounded_to)

    def norms(self) -> Iterator[Norm]:
        """The batch norms, of any class with the tensors of PyTorch's and an eps."""
        for name, epsilon in self.epsilons.items():
            keys = {part: f"{name}.{part}" if name else part for part in ("running_mean", "running_var")}
            keys |= {part: f"{name}.{part}" if name else part for part in ("weight", "bias")}
            found = {
                part: self.tensors[key].astype(np.float64)
                for part, key in keys.items()
                if key in self.tensors
            }
            if "running_mean" not in found or "running_var" not in found:
                continue
            spread = np.sqrt(found["running_var"] + epsilon)
            yield Norm(
                name,
                found["running_mean"],
                found.get("bias", np.zeros_like(spread)),
                found.get("weight", np.ones_like(spread)) / spread,
                spread,
                frozenset(keys[part] for part in ("weight", "running_var") if part in found),
                frozenset(keys[part] for part in ("bias", "running_mean") if part in found),
            )
