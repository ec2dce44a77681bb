"""Functions that torch.export cannot follow for every size, in others that give the same.

- ``torch.linspace`` takes its number of steps for a constant.
- ``torch.istft`` asks whether the windows cover the signal, which goes by a tensor's values.
- ``fill_diagonal_`` takes the sizes of a matrix for constants, as adaptive pooling does with the size of an
  axis that it is to leave as it is (None).
- opt_einsum, which ``torch.einsum`` asks if it is installed, reads the sizes as Python numbers to compare
  what each order of a product costs. The order changes what a product costs, not what it is. So it is chosen
  by the sizes of the example.

They are used while torch.export captures. The links compare the file with the module as it is.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

LINSPACE = torch.linspace
ISTFT = torch.istft
FILL_DIAGONAL = Tensor.fill_diagonal_

POOLS = {
    how: [getattr(functional, f"adaptive_{how}_pool{axes}d") for axes in (1, 2, 3)] for how in ("avg", "max")
}
"""The functions of adaptive pooling, by how they pool, and in order of the number of axes."""


@contextlib.contextmanager
def followable() -> Iterator[None]:
    """Inside, the functions have their stand-ins."""
    places: list[tuple[Any, str, Any]] = [
        (torch, "linspace", linspace),
        (torch, "istft", istft),
        (torch.functional, "istft", istft),
        (Tensor, "istft", istft),
        (Tensor, "fill_diagonal_", fill_diagonal_),
    ]
    for name, pools in POOLS.items():
        places += ((functional, f"adaptive_{name}_pool{axes}d", pooled(pools, axes)) for axes in (1, 2, 3))
    parser: Any = sys.modules.get("opt_einsum.parser")
    if parser is not None:
        shape_of = parser.get_shape
        places.append((parser, "get_shape", lambda one: tuple(map(_of_example, shape_of(one)))))
    before = [getattr(owner, name) for owner, name, _ in places]
    try:
        for owner, name, function in places:
            setattr(owner, name, function)
        yield
    finally:
        for (owner, name, _), function in zip(places, before, strict=True):
            setattr(owner, name, function)


def _of_example(size: Any) -> Any:
    """The number that a symbol has in the example. Returns a size without one as it is."""
    hint = size.node.hint if isinstance(size, torch.SymInt) else None
    return size if hint is None else int(hint)


def linspace(start: Any, end: Any, steps: Any, **options: Any) -> Tensor:
    """Counted from both ends, as PyTorch does (aten/src/ATen/native/cpu/RangeFactoriesKernel.cpp)."""
    dtype = options.get("dtype") or torch.get_default_dtype()
    if not isinstance(steps, torch.SymInt) or not dtype.is_floating_point or options.get("out") is not None:
        made: Tensor = LINSPACE(start, end, steps, **options)
        return made
    at = torch.arange(steps, dtype=dtype, device=options.get("device"))
    gap = (end - start) / torch.sym_max(steps - 1, 1)
    # Of one step, the start.
    return torch.where((at < steps // 2) | (at < 1), start + at * gap, end - (steps - 1 - at) * gap)


def istft(
    input: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> Tensor:
    """Frames by inverse Fourier transforms, windowed, added up where they overlap, and divided by what the
    squares of the windows add up to there."""
    if return_complex:
        made: Tensor = ISTFT(
            *(input, n_fft, hop_length, win_length, window, center, normalized, onesided, length, True)
        )
        return made
    hop, width = hop_length or n_fft // 4, win_length or n_fft
    if window is None:
        window = torch.ones(width, dtype=input.real.dtype, device=input.device)
    left = (n_fft - width) // 2
    window = functional.pad(window, (left, n_fft - width - left))
    columns = input if input.dim() == 3 else input.unsqueeze(0)
    # Of a whole input, PyTorch reads one half.
    frames = torch.fft.irfft(columns, n_fft, dim=1, norm="ortho" if normalized else "backward")
    count = frames.shape[-1]
    whole = n_fft + hop * (count - 1)
    squares = window.square()[None, :, None].expand(1, n_fft, count)
    signal, cover = (
        functional.fold(one, (1, whole), (1, n_fft), stride=(1, hop))[:, 0, 0]
        for one in (frames * window[None, :, None], squares)
    )
    first = n_fft // 2 if center else 0
    last = whole - first if length is None else first + length
    signal = signal[:, first:last] / cover[:, first:last]
    if length is not None:
        signal = functional.pad(signal, (0, length - signal.shape[-1]))
    return signal if input.dim() == 3 else signal[0]


def fill_diagonal_(self: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """The diagonal of a matrix is a view."""
    if self.dim() != 2 or wrap:
        filled: Tensor = FILL_DIAGONAL(self, fill_value, wrap)
        return filled
    self.diagonal().fill_(fill_value)
    return self


def pooled(pools: Sequence[Callable[..., Any]], axes: int) -> Callable[..., Any]:
    """Adaptive pooling of the axes that have a size to pool to, as if the others were channels.

    ``pools`` are those of 1 to 3 axes.
    """

    def pool(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        sizes = output_size if isinstance(output_size, tuple | list) else (output_size,) * axes
        first = input.dim() - axes
        kept = [first + at for at, size in enumerate(sizes) if size is None]
        if return_indices or not any(isinstance(input.shape[axis], torch.SymInt) for axis in kept):
            return pools[axes - 1](input, output_size, *([return_indices] if return_indices else []))
        rest = [axis for axis in range(first, input.dim()) if axis not in kept]
        if not rest:
            return input
        order = [*range(first), *kept, *rest]
        laid = input.permute(order)
        rows = laid.flatten(0, -len(rest) - 1)
        made = pools[len(rest) - 1](rows, [sizes[axis - first] for axis in rest])
        whole = made.reshape(*laid.shape[: -len(rest)], *made.shape[1:])
        return whole.permute([order.index(axis) for axis in range(input.dim())])

    return pool
