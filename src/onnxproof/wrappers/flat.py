"""Turns any module into one that returns a flat tuple of tensors, and finds out what these are."""

import dataclasses
import inspect
import io
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from onnxproof.errors import JobError, RequestError
from onnxproof.seeded import draw
from onnxproof.structure import Place, Step, apart, name_of, place_text
from onnxproof.system.usercode import no_exit, told
from onnxproof.tensors import HALVES, Dim, TensorSpec
from onnxproof.wrappers.arguments import fit_arguments
from onnxproof.wrappers.attention import without_fast_path
from onnxproof.wrappers.double import dtypes
from onnxproof.wrappers.family import Outputs
from onnxproof.wrappers.weights import held_in, tensor_of

SINGLE_OUTPUT = "output"
"""The name of a module's only output. Of several without names, each is called this and its position:
``output_0``, ``output_1``."""

PROBE_SEED = 0

NO_KERNEL = re.compile(
    r"not implemented for '(Half|BFloat16)'|Low precision dtypes not supported"
    r"|Unsupported dtype (Half|BFloat16)"
)
OTHER_DTYPE = re.compile(r"dtype|scalar type|should be the same")
"""What PyTorch says of operations that are not done in half precision, and of operands of two dtypes."""

SHOWN = 8
"""How many values that are no tensors a note names."""


class Flattened(nn.Module):
    """A module that takes its inputs in the job's order and returns its outputs in a flat tuple.

    ``inputs`` are the places of the inputs in ``forward``'s arguments, and ``constants`` plain values that it
    gets besides (arguments.py). ``kept`` are the places of the outputs; before they are known, all tensors
    are returned. ``written`` are the numbers of the inputs that the module writes into: it gets copies of
    these. ``widens`` says whether outputs in half precision are returned in float32.
    """

    def __init__(
        self,
        module: nn.Module,
        inputs: Sequence[str],
        constants: Mapping[str, Any] = MappingProxyType({}),
        *,
        widens: bool = False,
    ) -> None:
        super().__init__()
        self.widens = widens
        self.module = module
        self.arguments = fit_arguments(module.forward, inputs, constants)
        self.kept: tuple[Place, ...] = ()
        self.written: frozenset[int] = frozenset()

    def forward(self, *inputs: Tensor) -> Outputs:
        """The module's output tensors, in the order of ``flatten``. A parameter among them is detached."""
        found = dict(self.returned(inputs).tensors)
        kept = [found[place] for place in self.kept or found if place in found]
        return tuple(tensor.detach() if tensor.requires_grad else tensor for tensor in kept)

    def returned(self, inputs: Sequence[Tensor]) -> "Returned":
        """What the module returns for ``inputs``."""
        given = [one.clone() if number in self.written else one for number, one in enumerate(inputs)]
        plain, named = self.arguments.fill(given)
        found = take_apart(self.module(*plain, **named))
        return found.widened() if self.widens else found


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Returned:
    """What a module returned: its tensors, and the types of other values, each with its place."""

    tensors: tuple[tuple[Place, Tensor], ...]
    others: tuple[tuple[Place, str], ...] = ()

    def widened(self) -> "Returned":
        """The same with tensors in half precision in float32."""
        tensors = ((place, one.float() if one.dtype in dtypes.HALVES else one) for place, one in self.tensors)
        return Returned(tuple(tensors), self.others)

    @property
    def note(self) -> str | None:
        """What is left out of the file, in one sentence. Returns None if nothing is."""
        if not self.others:
            return None
        named = [f"{place_text(place) or SINGLE_OUTPUT} ({kind})" for place, kind in self.others]
        more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
        return (
            f"the module returns values that are no tensors, and the file does not: "
            f"{', '.join(named[:SHOWN])}{more}"
        )


def flatten(value: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors that a module returned, each with the name of its output.

    A name consists of keys, field names and positions in a sequence, joined by "_". A tensor that is returned
    alone is called ``output``. Values that are not tensors, such as None, are left out.
    """
    found = take_apart(value).tensors
    return zip(apart(map(name_of, (place for place, _ in found))), (one for _, one in found), strict=True)


def take_apart(value: Any) -> Returned:
    """The tensors in nested dicts, sequences, dataclasses and other objects with attributes.

    Of a list or tuple of one, the position is left out of the place.
    """
    return _take_apart(value, (), ())


def _take_apart(value: Any, place: Place, around: tuple[int, ...]) -> Returned:
    if isinstance(value, Tensor):
        return Returned(((place or (SINGLE_OUTPUT,), value),))
    items = None if id(value) in around else _items(value)
    if items is None:
        return Returned((), ((place, "None" if value is None else type(value).__name__),))
    steps = [_inside(place, key) for key, _ in items]
    parts = [_take_apart(item, at, (*around, id(value))) for at, (_, item) in zip(steps, items, strict=True)]
    tensors = tuple(entry for part in parts for entry in part.tensors)
    if not tensors:
        return Returned((), ((place, type(value).__name__),))
    # What an object holds besides its tensors is not what the module returns.
    others = () if _is_opaque(value) else tuple(entry for part in parts for entry in part.others)
    return Returned(tensors, others)


def _inside(place: Place, key: Step | None) -> Place:
    if key is None:
        return place
    return (*(place or (SINGLE_OUTPUT,)), key) if isinstance(key, int) else (*place, key)


_SEQUENCES = (tuple, list, deque, Iterator)

_SYMBOLS = (torch.SymInt, torch.SymFloat, torch.SymBool)
"""What sizes, and numbers that follow from them, are while torch.export captures."""

_NO_CONTAINERS = (
    *(str, bytes, int, float, complex, type, io.IOBase),
    *(np.ndarray, nn.Module, torch.Size, torch.Generator, *_SYMBOLS),
)


def _items(value: Any) -> list[tuple[Step | None, Any]] | None:
    """The parts of a value with their keys; no key for the only item of a sequence.

    Returns None for a value that has no parts, or none in order.
    """
    if isinstance(value, _NO_CONTAINERS) or inspect.isroutine(value):
        return None
    if isinstance(value, Mapping):
        return [(key if type(key) is int else str(key), item) for key, item in value.items()]
    if dataclasses.is_dataclass(value):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    if isinstance(value, tuple) and hasattr(value, "_fields"):  # a namedtuple
        return list(zip(value._fields, value, strict=True))
    if isinstance(value, _SEQUENCES):
        items = list(value)
        return [(None if len(items) == 1 else at, item) for at, item in enumerate(items)]
    attributes = _attributes(value)
    return list(attributes.items()) if attributes else None


def _attributes(value: Any) -> Mapping[str, Any]:
    """The public attributes of an object, those of a class with slots too."""
    slots = [vars(kind).get("__slots__", ()) for kind in type(value).__mro__]
    names = [name for slot in slots for name in ((slot,) if isinstance(slot, str) else slot)]
    held = {name: getattr(value, name) for name in names if hasattr(value, name)}
    held |= getattr(value, "__dict__", {})
    return {name: item for name, item in held.items() if not name.startswith("_")}


def _is_opaque(value: Any) -> bool:
    """Whether the parts of a value are its attributes."""
    known = isinstance(value, (*_SEQUENCES, Mapping)) or dataclasses.is_dataclass(value)
    return not known


def describe_outputs(
    flattened: Flattened, inputs: Sequence[TensorSpec], dims: Sequence[Dim]
) -> tuple[tuple[TensorSpec, ...], str | None]:
    """The specs of the module's outputs, found by running the module, and a note on what it returns besides.

    It is run at the smallest sizes, and again with each free dim one step larger. An output's axis is

    - fixed, if its size never changes;
    - named after a dim, if it changes with that dim alone and has its size;
    - named after the output and its position, otherwise.

    Notes in ``flattened`` which outputs there are, and which inputs the module writes into. Raises JobError
    if the module does not run on the inputs, if an output cannot be in a file, or if the number of tensors or
    of axes depends on the sizes.
    """
    free = [dim for dim in dims if not dim.fixed]
    smallest = {dim.name: dim.min for dim in dims}
    # Only one dim is larger in each run, which shows the axes that depend on that dim.
    runs = [smallest, *({**smallest, dim.name: dim.min + dim.multiple} for dim in free)]
    try:
        with torch.no_grad(), without_fast_path(), no_exit("the module's forward"):
            probe = _probe(inputs, smallest)
            versions = [tensor._version for tensor in probe]
            first = flattened.returned(probe)
            written = (at for at, one in enumerate(probe) if one._version != versions[at])
            flattened.written = frozenset(written)
            found = [flattened.returned(_probe(inputs, sizes)) for sizes in runs]
    except RequestError:
        raise
    except Exception as error:
        # The module's own code runs here, and may raise any type.
        reason = told(error)
        listed = ", ".join(f"{spec.name}: {spec}" for spec in inputs)
        advice = _advice(str(error), held_in(flattened.module)) or _ranges(inputs)
        raise JobError(
            f"the module does not run on the declared inputs ({listed}): it {reason}{advice}"
        ) from error
    if not first.tensors:
        returned = " and ".join(sorted({kind for _, kind in first.others}))
        raise JobError(
            f"the module returns no tensor ({returned}), so there is nothing to export: return one from "
            "forward"
        )
    places = tuple(place for place, _ in first.tensors)
    for run in found:
        _require_the_same(places, tuple(place for place, _ in run.tensors))
    flattened.kept = places
    names = apart(map(name_of, places), {spec.name for spec in inputs})
    forms = [[_form(name, one) for name, (_, one) in zip(names, run.tensors, strict=True)] for run in found]
    specs = (_output_spec(name, [form[at] for form in forms], free) for at, name in enumerate(names))
    return tuple(specs), first.note


def _advice(said: str, held: str) -> str:
    """What to do about an error of PyTorch's that comes from half precision. Returns "" for any other."""
    if NO_KERNEL.search(said):
        return '; PyTorch has no kernel in half precision for it on the CPU: set export.dtype = "float32"'
    if held in HALVES and OTHER_DTYPE.search(said):
        return (
            f"; the module's weights are {held}: declare its float inputs as {held}, or cast them in the "
            "module"
        )
    return ""


def _ranges(inputs: Sequence[TensorSpec]) -> str:
    """What to do about an error that the numbers of integer inputs may have caused. Returns "" if all of them
    are declared."""
    open_to = [
        spec
        for spec in inputs
        if spec.range is None and not spec.mask and spec.dtype.startswith(("int", "uint"))
    ]
    if not open_to:
        return ""
    names = " and ".join(spec.name for spec in open_to)
    return (
        f"; nobody declared the range of {names}, so 0 and 1 were drawn: if the module does not take these, "
        f'declare it with inputs= or in [inputs], as in {open_to[-1].name} = "{open_to[-1]} in 1..9"'
    )


def _require_the_same(smallest: Sequence[Place], larger: Sequence[Place]) -> None:
    """Raise JobError if the module returns other tensors at larger sizes."""
    if len(smallest) != len(larger):
        raise JobError(
            f"the module returns {len(smallest)} tensors at the smallest sizes, another number at larger "
            f"ones ({len(larger)}): an ONNX file always returns the same number; stack them into one tensor"
        )
    other = next((pair for pair in zip(smallest, larger, strict=True) if pair[0] != pair[1]), None)
    if other is not None:
        here, there = map(place_text, other)
        raise JobError(
            f"the module returns {here} at the smallest sizes, {there} at larger ones: an ONNX file always "
            "returns the same"
        )


def _form(name: str, tensor: Tensor) -> tuple[str, tuple[int, ...]]:
    """The dtype and shape of an output. Raises JobError if a file cannot hold it."""
    if tensor.is_nested or tensor.layout != torch.strided:
        kind = "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.")
        raise JobError(f"the output {name} is {kind}: return a dense tensor, for example with .to_dense()")
    if tensor.is_quantized:
        raise JobError(f"the output {name} is quantized: return it dequantized, with .dequantize()")
    return str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)


def _probe(inputs: Sequence[TensorSpec], sizes: Mapping[str, int]) -> list[Tensor]:
    random = np.random.default_rng(PROBE_SEED)
    return [tensor_of(draw(spec, sizes, random), spec.dtype) for spec in inputs]


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
