"""Loads a checkpoint's tensors into a network, refuses those that do not fit, and notes unusual values."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from onnxproof.errors import CheckpointError
from onnxproof.tensors import HALVES
from onnxproof.wrappers.as_pickled import as_pickled
from onnxproof.wrappers.copies import copied
from onnxproof.wrappers.family import Checkpoint
from onnxproof.wrappers.fitting import SHOWN, Fit, fits, in_short, is_averaged
from onnxproof.wrappers.held import kind_of, tables_in
from onnxproof.wrappers.likely import likely_architecture

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""The dtypes whose values keep their meaning in float32, except for rounding."""

WHOLE = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
"""The dtypes that may be converted into one another if no value changes."""

CODES = (
    "the numbers of such a tensor are codes without their scale, so float32 would change what they mean; "
    "save the weights as float32, before they are quantized or after they are dequantized"
)


def bytes_of(module: nn.Module) -> int:
    """Bytes of a module's parameters and buffers."""
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


def load_weights(network: nn.Module, checkpoint: Checkpoint, called: str, advice: str) -> nn.Module:
    """Load the checkpoint's tensors into the network and return it in float32. ``in_dtype`` makes it another.

    The error message names the network ``called``, and ends with ``advice`` if a name or a shape does not
    fit. Raises CheckpointError if the tensors' names are not the network's, or if a shape or a dtype does not
    fit.
    """
    stored, expected = checkpoint.state_dict, saved_by(network)
    fit = _chosen(fits({checkpoint.prefix + name: one for name, one in stored.items()}, expected), checkpoint)
    state = fit.tensors
    wrong = [
        f"{name} is {list(tensor.shape)}, expected {list(expected[name].shape)}"
        for name, tensor in state.items()
        if not is_lazy(expected[name]) and tensor.shape != expected[name].shape
    ]
    wrong += [f"{name} is {_in_place(checkpoint, fit, name)}" for name in fit.missing]
    wrong += [f"{name} is not in the model" for name in fit.more]
    if wrong:
        raise _does_not_fit(checkpoint, called, wrong, _beside(checkpoint, expected, advice))
    unbuilt = [name for name, tensor in expected.items() if tensor.is_meta]
    if unbuilt:
        raise CheckpointError(
            f"{called} has no memory for {unbuilt[0]}: the model was built on the device meta; build it on "
            "the CPU"
        )
    refused = [
        (f"{name} is {kind}, expected {_name(expected[name].dtype)}", remedy)
        for name, tensor in state.items()
        for kind, remedy in _refusals(tensor, expected[name])
    ]
    if refused:
        raise _does_not_fit(checkpoint, called, [what for what, _ in refused], refused[0][1])
    saved = as_pickled(network, checkpoint.held, fit.prefix)
    if saved.wrong:
        raise _another_network(checkpoint, called, saved.wrong)
    network.load_state_dict(dict(state))
    checkpoint.notes.extend((*fit.notes, *saved.notes(called)))
    return network.float()


def _chosen(found: Sequence[Fit], checkpoint: Checkpoint) -> Fit:
    """The fit that ``model.weights`` asks for. Raises CheckpointError if that leaves none or several."""
    wanted = checkpoint.weights
    averaged = [fit for fit in found if is_averaged(fit.prefix)]
    raw = [fit for fit in found if not is_averaged(fit.prefix)]
    named = [fit for fit in found if wanted in (fit.prefix, fit.prefix.removesuffix("."))]
    left = {"auto": averaged or raw, "ema": averaged, "raw": raw}.get(wanted, named)
    if not found[0].whole:
        return found[0]
    prefixes = ", ".join(f'"{fit.prefix}"' for fit in found)
    under = f", under the prefix{'es' if len(found) > 1 else ''} {prefixes}" if prefixes != '""' else ""
    times = f"{len(found)} times" if len(found) > 1 else "once"
    if len(left) != 1:
        raise CheckpointError(
            f'checkpoint {checkpoint.file} holds the weights {times}{under}, and model.weights = "{wanted}" '
            f"chooses {len(left) or 'none'} of them: {'name one of them there' if under else 'leave it out'}"
        )
    if len(found) == 1:
        return left[0]
    note = f"the checkpoint holds the weights {times} ({prefixes}): choose with model.weights"
    return replace(left[0], notes=(*left[0].notes, note))


def _in_place(checkpoint: Checkpoint, fit: Fit, name: str) -> str:
    """What the file holds in place of a tensor that the network expects: nothing, or something else."""
    asked = {name, fit.prefix + name, name.removeprefix(checkpoint.prefix)}
    for table in tables_in(checkpoint.held):
        for key in asked.intersection(table):
            return f"{kind_of(table[key])}, expected a tensor"
    return "missing"


def _beside(checkpoint: Checkpoint, expected: Mapping[str, Tensor], advice: str) -> str:
    """What the checkpoint holds and what was expected, in short, and the advice."""
    stored = checkpoint.state_dict
    likely = likely_architecture([checkpoint.prefix + name for name in stored])
    looks = "" if likely is None else f", by their names {likely}"
    return f"the checkpoint holds {_sample(stored)}{looks}; expected {_sample(expected)}; {advice}"


def _sample(tensors: Mapping[str, Tensor]) -> str:
    first = [
        name if is_lazy(one) else f"{name} {list(one.shape)}" for name, one in list(tensors.items())[:SHOWN]
    ]
    more = ", …" if len(tensors) > SHOWN else ""
    return f"{len(tensors)} tensor{'s' if len(tensors) != 1 else ''} ({', '.join(first)}{more})"


def in_dtype(module: nn.Module, dtype: str) -> nn.Module:
    """The module, or a copy with its floats in another dtype. "auto" leaves them as they are."""
    if dtype == "auto" or all(one.dtype == getattr(torch, dtype) for one in _floats(module)):
        return module
    return cast_floats(copied(module), dtype)


def cast_floats(module: nn.Module, dtype: str) -> nn.Module:
    """The module itself, its floats in another dtype.

    ``Module.to`` would cast complex tensors, too, and drop their imaginary parts.
    """
    wanted: torch.dtype = getattr(torch, dtype)
    return module._apply(lambda one: one.to(wanted) if one.is_floating_point() else one)  # type: ignore[no-untyped-call,no-any-return]


def held_in(module: nn.Module) -> str:
    """The dtype of half precision in which a module holds a tensor, or "float32" if it holds none in one."""
    held = {_name(one.dtype) for one in _floats(module)}
    return next((half for half in HALVES if half in held), "float32")


def runs_here(module: nn.Module) -> bool:
    """Whether ONNX Runtime may be expected to run the module's file on the CPU: it has next to no kernels in
    bfloat16."""
    return held_in(module) != "bfloat16"


def _floats(module: nn.Module) -> Iterator[Tensor]:
    return (one for one in (*module.parameters(), *module.buffers()) if one.is_floating_point())


def tensor_of(array: NDArray[Any], dtype: str) -> Tensor:
    """An array as a tensor of that dtype. NumPy has no bfloat16: its numbers are held in float32."""
    tensor = torch.from_numpy(array)
    return tensor.to(torch.bfloat16) if dtype == "bfloat16" else tensor


def _does_not_fit(checkpoint: Checkpoint, called: str, wrong: list[str], advice: str) -> CheckpointError:
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return CheckpointError(f"checkpoint {checkpoint.file} does not fit {called}: {wrong[0]}{more}; {advice}")


def _another_network(checkpoint: Checkpoint, called: str, wrong: Sequence[str]) -> CheckpointError:
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return CheckpointError(
        f"checkpoint {checkpoint.file} was pickled from another network than {called}: {wrong[0]}{more}; the "
        "tensors fit, but the file would compute something else. Name the function that makes your network "
        "in a job of the family module (docs/any-model.md), or export the module itself with "
        "onnxproof.export_module"
    )


def _refusals(tensor: Tensor, expected: Tensor) -> Iterator[tuple[str, str]]:
    """What is wrong with a tensor, and what to do.

    Yields nothing if PyTorch can copy the tensor into ``expected`` and its values keep their meaning.
    """
    if tensor.is_meta:
        yield "without values (saved from the device meta)", "save the checkpoint from a model with values"
    elif tensor.is_quantized:
        yield f"quantized ({_name(tensor.dtype)})", CODES
    elif tensor.layout != torch.strided:
        yield f"sparse ({str(tensor.layout).removeprefix('torch.')})", "save it dense: tensor.to_dense()"
    elif expected.is_floating_point() and tensor.is_complex():
        yield (
            _name(tensor.dtype),
            "a float tensor has no imaginary part; save real weights, or build the model with complex ones",
        )
    elif expected.is_floating_point():
        if tensor.dtype not in FLOATS:
            yield _name(tensor.dtype), CODES
    elif expected.is_complex():
        if not tensor.is_complex() and tensor.dtype not in FLOATS:
            yield _name(tensor.dtype), CODES
    elif tensor.dtype != expected.dtype and not (
        tensor.dtype in (*FLOATS, *WHOLE) and _survives(tensor, expected.dtype)
    ):
        yield (
            f"{_name(tensor.dtype)} with values that {_name(expected.dtype)} cannot hold",
            f"save it as {_name(expected.dtype)}",
        )


def saved_by(network: nn.Module) -> dict[str, Tensor]:
    """The tensors that a network saves. It may save values of other types beside them."""
    return {name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)}


def _survives(tensor: Tensor, dtype: torch.dtype) -> bool:
    """Whether every value is the same in the other dtype. NaN counts as the same as NaN."""
    there = tensor.to(dtype).to(tensor.dtype)
    return bool(((there == tensor) | (there.isnan() & tensor.isnan())).all())


def notes_on(state: Mapping[str, Tensor], held: str = "float32") -> tuple[str, ...]:
    """Notes on weights that load: tensors that are rounded, not finite, or zero throughout.

    ``held`` is the dtype that the model holds them in.
    """
    floats = {name: tensor for name, tensor in state.items() if tensor.dtype in FLOATS}
    return tuple(note for look in (_rounded, _not_finite, _zero) for note in look(floats, held))


def _rounded(floats: Mapping[str, Tensor], held: str) -> Iterator[str]:
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        own = {name: tensor for name, tensor in floats.items() if tensor.dtype == dtype}
        if not own or _name(dtype) == held:
            continue
        lost = [name for name, tensor in own.items() if not _survives(tensor, getattr(torch, held))]
        if lost:
            yield f"{_tensors(lost)} in the checkpoint as {_name(dtype)} and rounded to {held}"
    half = [name for name, tensor in floats.items() if tensor.element_size() < 4]
    if half and held not in HALVES:
        yield f"{_tensors(half)} in the checkpoint in half precision; float32 holds the same numbers"


def _not_finite(floats: Mapping[str, Tensor], held: str) -> Iterator[str]:
    dtype = getattr(torch, held)
    found = [name for name, tensor in floats.items() if not bool(tensor.to(dtype).isfinite().all())]
    if found:
        yield f"{_tensors(found)} not finite in {held} (NaN or infinity)"


def _zero(floats: Mapping[str, Tensor], held: str) -> Iterator[str]:  # noqa: ARG001
    """Note weights that are zero throughout.

    Only tensors of two axes or more are looked at, because biases and means are often zero. If the checkpoint
    has none of these, all its tensors are.
    """
    weights = {name: tensor for name, tensor in floats.items() if tensor.ndim >= 2} or floats
    zero = [name for name, tensor in weights.items() if tensor.numel() and not bool(tensor.any())]
    if zero and len(zero) == len(weights):
        yield f"every weight is zero ({in_short(zero)}): was the model saved before it was trained or loaded?"
    elif zero:
        yield f"{_tensors(zero)} zero throughout"


def _tensors(names: list[str]) -> str:
    """The subject and verb of a note on these tensors."""
    return f"{names[0]} is" if len(names) == 1 else f"{len(names)} tensors ({in_short(names)}) are"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
