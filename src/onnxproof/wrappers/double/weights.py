"""The parameters of a large module, which are widened to float64 where an operation reads them.

Held in float64 all at once they would take twice the memory of the module itself. So the module keeps its
own float32 parameters, an operation that reads one gets a float64 copy, and the copy is freed with the last
tensor that shares its memory.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._mode_utils import no_dispatch

from onnxproof.wrappers.double.dtypes import HALVES, NARROW, wide

Move = Callable[[str, NDArray[Any]], NDArray[Any]]
"""Gets the name of a tensor and its numbers in float64, and gives other numbers in their place."""

MOST_WIDENED = 2**27
"""Bytes of a module's parameters up to which it is widened as a whole: then each run is faster, and it takes
at most 256 MiB more."""

FEWEST_LENT = 2**14
"""Numbers of a parameter that is widened where it is read. Smaller ones cost more time than memory."""


@contextlib.contextmanager
def unseen() -> Iterator[None]:
    """Inside, the modes in which a module runs see no operation, and keep no tensor."""
    with torch._C.DisableTorchFunction(), no_dispatch(), torch.no_grad():
        yield


class Lent:
    """Gives a float64 copy of each of some parameters, by name, to the operations that read it.

    The parameters themselves are never written to. An operation that writes into a copy makes it stay, and
    the module reads it from then on. ``halves`` is whether one of them is in half precision.
    """

    def __init__(self, parameters: Mapping[str, Tensor], move: Move | None = None) -> None:
        self.move = move
        self.halves = any(tensor.dtype in HALVES for tensor in parameters.values())
        self._names = {id(tensor): name for name, tensor in parameters.items()}
        # By id. The parameters are held here, so that no other tensor gets an id of theirs.
        self._parameters = {id(tensor): tensor for tensor in parameters.values()}
        self._copies: dict[int, tuple[StorageWeakRef, tuple[int, ...]]] = {}
        self._owners: dict[int, int] = {}
        self._written: dict[int, Tensor] = {}

    def __contains__(self, tensor: Tensor) -> bool:
        return id(tensor) in self._parameters

    def copy_of(self, tensor: Tensor) -> Tensor:
        """The parameter in float64. It is the copy that is in use already, if there is one."""
        key = id(tensor)
        if key in self._written:
            return self._written[key]
        with unseen():
            storage = self._storage(key)
            if storage is not None:
                _, strides = self._copies[key]
                whole = torch.empty(0, dtype=torch.float64)
                return whole.set_(storage, 0, tensor.shape, strides)
            copy = wide(tensor.detach())
            if self.move is not None:
                copy = torch.from_numpy(self.move(self._names[key], copy.numpy()))
            held = copy.untyped_storage()
            self._copies[key] = StorageWeakRef(held), copy.stride()  # type: ignore[no-untyped-call]
            self._owners[held.data_ptr()] = key
            return copy

    def owner(self, tensor: Tensor) -> Tensor | None:
        """The parameter whose copy a tensor is, or is a view of. Returns None if it is no such tensor."""
        place = tensor.untyped_storage().data_ptr()
        key = self._owners.get(place)
        if key is None:
            return None
        held = self._storage(key)
        # Memory that was freed may hold another tensor by now.
        return None if held is None or held.data_ptr() != place else self._parameters[key]

    def keep(self, tensor: Tensor) -> None:
        """Keep the copy that a tensor is, or is a view of: an operation writes into it."""
        owner = self.owner(tensor)
        if owner is not None:
            self._written[id(owner)] = self.copy_of(owner)

    def replace(self, parameter: Tensor, value: Tensor) -> None:
        """Let the module read ``value`` from now on, in float64, where it reads the parameter."""
        with unseen():
            self._written[id(parameter)] = wide(value.detach())

    @property
    def written(self) -> frozenset[str]:
        """The names of the parameters that the module has replaced or written into."""
        return frozenset(self._names[key] for key in self._written)

    def _storage(self, key: int) -> Any:
        """The memory of the copy that is in use. Returns None if none is."""
        if key not in self._copies:
            return None
        storage = torch.UntypedStorage._new_with_weak_ptr(self._copies[key][0].cdata)
        if storage is None:
            del self._copies[key]
        return storage


def has_scripted_part(module: nn.Module) -> bool:
    """Whether TorchScript compiled the module, or a module in it."""
    return any(isinstance(part, torch.jit.ScriptModule) for part in module.modules())


def lendable(module: nn.Module) -> dict[str, Tensor]:
    """The parameters of a large module that are widened where they are read, by name.

    Returns none of a module with at most ``MOST_WIDENED`` bytes of parameters, or with a scripted part:
    a scripted function reads its parameters past the modes in which the module runs.
    """
    found = dict(module.named_parameters())
    size = sum(tensor.nbytes for tensor in found.values() if tensor.dtype in NARROW)
    if size <= MOST_WIDENED or has_scripted_part(module):
        return {}
    return {
        name: tensor
        for name, tensor in found.items()
        if tensor.dtype in (torch.float32, *HALVES)
        and tensor.layout == torch.strided
        and tensor.numel() >= FEWEST_LENT
    }
