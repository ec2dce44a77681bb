"""Turns any module into one that returns a flat tuple of tensors, and finds out what these are."""

import dataclasses
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from onnxproof.errors import JobError, RequestError
from onnxproof.seeded import draw
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.usercode import no_exit, told
from onnxproof.wrappers.family import Outputs

SINGLE_OUTPUT = "output"
"""The name of a module's only output. Of several without names, each is called this and its position:
``output_0``, ``output_1``."""

PROBE_SEED = 0


class Flattened(nn.Module):
    """A module that takes its inputs in the job's order and returns its outputs in a flat tuple.

    An input whose name is one of ``forward``'s parameters is passed by name, others by position.
    """

    def __init__(self, module: nn.Module, inputs: Sequence[str]) -> None:
        super().__init__()
        self.module = module
        parameters = inspect.signature(module.forward).parameters
        positional_only = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)
        self.keywords = tuple(
            name if name in parameters and parameters[name].kind not in positional_only else None
            for name in inputs
        )

    def forward(self, *inputs: Tensor) -> Outputs:
        """The module's output tensors, in the order of ``flatten``. A parameter among them is detached."""
        found = (tensor for _, tensor in flatten(self._call(inputs)))
        return tuple(tensor.detach() if tensor.requires_grad else tensor for tensor in found)

    def names(self, inputs: Sequence[Tensor]) -> tuple[str, ...]:
        """The outputs' names, found by running the module on ``inputs``."""
        found = tuple(name for name, _ in flatten(self._call(inputs)))
        if not found:
            raise JobError(
                "the module returns no tensor, so there is nothing to export: return one from forward"
            )
        return found

    def _call(self, inputs: Sequence[Tensor]) -> Any:
        named = {
            keyword: value
            for keyword, value in zip(self.keywords, inputs, strict=True)
            if keyword is not None
        }
        plain = [value for keyword, value in zip(self.keywords, inputs, strict=True) if keyword is None]
        return self.module(*plain, **named)


def flatten(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors in nested dicts, dataclasses, tuples and lists, each with a name.

    A name consists of keys, field names and positions in a sequence, joined by "_". A tensor that is returned
    alone is called ``output``. Values that are not tensors, such as None, are left out.
    """
    if isinstance(value, Tensor):
        yield name or SINGLE_OUTPUT, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from flatten(item, f"{name}_{key}" if name else str(key))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from flatten(getattr(value, field.name), f"{name}_{field.name}" if name else field.name)
    elif isinstance(value, tuple) and hasattr(value, "_fields"):  # a namedtuple
        yield from flatten(dict(zip(value._fields, value, strict=True)), name)
    elif isinstance(value, tuple | list):
        alone = len(value) == 1
        for index, item in enumerate(value):
            yield from flatten(item, name if alone else f"{name or SINGLE_OUTPUT}_{index}")


def describe_outputs(
    flattened: Flattened, inputs: Sequence[TensorSpec], dims: Sequence[Dim]
) -> tuple[TensorSpec, ...]:
    """The specs of the module's outputs, found by running the module.

    It is run at the smallest sizes, and again with each free dim one step larger. An output's axis is

    - fixed, if its size never changes;
    - named after a dim, if it changes with that dim alone and has its size;
    - named after the output and its position, otherwise.

    Raises JobError if the module does not run on the inputs, or if the number of tensors or of axes depends
    on the sizes.
    """
    free = [dim for dim in dims if not dim.fixed]
    smallest = {dim.name: dim.min for dim in dims}
    # Only one dim is larger in each run, which shows the axes that depend on that dim.
    runs = [smallest, *({**smallest, dim.name: dim.min + dim.multiple} for dim in free)]
    try:
        with torch.no_grad(), no_exit("the module's forward"):
            names = flattened.names(_probe(inputs, smallest))
            forms = [[_form(tensor) for tensor in flattened(*_probe(inputs, sizes))] for sizes in runs]
    except RequestError:
        raise
    except Exception as error:
        # The module's own code runs here, and may raise any type.
        reason = told(error)
        listed = ", ".join(f"{spec.name}: {spec}" for spec in inputs)
        raise JobError(f"the module does not run on the declared inputs ({listed}): it {reason}") from error
    if any(len(form) != len(names) for form in forms):
        raise JobError(
            f"the module returns {len(names)} tensors at the smallest sizes, another number at larger ones: "
            "an ONNX file always returns the same number"
        )
    return tuple(
        _output_spec(name, [form[index] for form in forms], free) for index, name in enumerate(names)
    )


def _form(tensor: Tensor) -> tuple[str, tuple[int, ...]]:
    return str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)


def _probe(inputs: Sequence[TensorSpec], sizes: Mapping[str, int]) -> list[Tensor]:
    random = np.random.default_rng(PROBE_SEED)
    return [torch.from_numpy(draw(spec, sizes, random)) for spec in inputs]


def _output_spec(name: str, forms: Sequence[tuple[str, tuple[int, ...]]], free: Sequence[Dim]) -> TensorSpec:
    """The spec of an output. ``forms`` are its dtype and shape at the smallest sizes, then with each free dim
    one step larger."""
    (dtype, smallest), *larger = forms
    if any(len(shape) != len(smallest) for _, shape in larger):
        raise JobError(
            f"the number of axes of the output {name} depends on the inputs' sizes, and ONNX cannot declare "
            "that: return a tensor with a fixed number of axes"
        )
    axes: list[int | str] = []
    for position, size in enumerate(smallest):
        followed = [dim for dim, (_, shape) in zip(free, larger, strict=True) if shape[position] != size]
        if not followed:
            axes.append(size)
            continue
        dim = followed[0]
        grown = larger[free.index(dim)][1][position]
        alone = len(followed) == 1 and (size, grown) == (dim.min, dim.min + dim.multiple)
        axes.append(dim.name if alone else f"{name}_axis_{position}")
    return TensorSpec(name, dtype, tuple(axes))
