"""Where TorchScript froze what Python computed, and whether the file is wrong for it.

The module is traced again at other declared sizes and of other contents. Where Python reads something else
there, the way that the file keeps is run on the same inputs:

- if it answers as the module does, what was frozen is harmless;
- if it answers otherwise, or raises, the file is wrong.

A reading that depends on the inputs' contents may have another value on inputs that were not tried. So the
other way is run, too: it is a fault if that answers otherwise, and harmless if the module raises there.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from onnxproof.contract import Contract
from onnxproof.export.alike import answer_alike
from onnxproof.export.examples import capture_sizes, constant_inputs, example_inputs
from onnxproof.export.torchscript import Warned
from onnxproof.export.traced import Answers, Site, Traced, trace
from onnxproof.runtime.manifest import Frozen
from onnxproof.system.usercode import Place
from onnxproof.tensors import Dim
from onnxproof.wrappers.copies import copied
from onnxproof.wrappers.weights import held_in

CONTENTS = 3
"""How many other seeded contents of the inputs are traced, beside the highest and the lowest values."""

MOST_ELEMENTS = 2**20
"""All dims are traced at their largest sizes together if the inputs have at most so many elements."""

MOST_STEPS = 2**14
"""How many operations are computed to find the sizes at which Python reads something else of sizes."""

ASKED = 3
"""On how many of the inputs on which a place reads something else it is asked whether that matters."""

SHOWN = 60
"""How many characters of a value a reason shows."""


Told = tuple[str, tuple[Tensor, ...]]
"""What is other of some inputs, in words; and the inputs."""


@dataclass(frozen=True, slots=True, eq=False)
class Try:
    """A trace of other inputs: in words what is other, and whether the file's graph answers alike on them."""

    told: str
    inputs: tuple[Tensor, ...]
    traced: Traced
    right: bool


@dataclass(frozen=True, slots=True, eq=False)
class Tracer:
    """Traces a module, each time as it was before: it may keep what it computed for the last inputs."""

    module: nn.Module
    contract: Contract

    def __call__(
        self, inputs: tuple[Tensor, ...], answers: Answers | None = None, *, parts: bool = False
    ) -> Traced:
        return trace(apart(self.module), inputs, answers, parts=parts)


def apart(module: nn.Module) -> nn.Module:
    """A copy of a module that shares its parameters."""
    try:
        return copied(module, module.parameters())
    except Exception:  # noqa: BLE001 - a module may hold anything
        return module


def followed_alone(module: nn.Module, contract: Contract) -> frozenset[Place] | None:
    """The lines whose reading a trace follows, if Python reads nothing that it does not follow.

    Returns None if something else is read, or if the module cannot be traced so.
    """
    try:
        found = Tracer(module, contract)(example_inputs(contract.inputs, capture_sizes(contract.dims)))
    except Exception:  # noqa: BLE001 - the user's code, and torch's tracer
        return None
    return None if found.readings else found.followed


def all_followed(warned: Sequence[Warned], followed: frozenset[Place] | None) -> bool:
    """Whether nothing is frozen: ``followed_alone`` found that the trace follows each place ``warned`` of."""
    return followed is not None and followed.issuperset(_places(warned))


def _places(warned: Sequence[Warned]) -> tuple[Place, ...]:
    """The places outside of torch's own code."""
    return tuple(dict.fromkeys(one.place for one in warned if not one.in_library))


def find_frozen(module: nn.Module, contract: Contract, warned: Sequence[Warned]) -> tuple[Frozen, ...]:
    """What a trace of the module freezes.

    ``module`` is as it was before the capture, ``warned`` are the places that torch's tracer warned of. The
    tracer does not warn of every reading: not of ``range(x.shape[0])``, say. Empty if only torch's own code
    read traced values.
    """
    places = _places(warned)
    tracer = Tracer(module, contract)
    inputs = example_inputs(contract.inputs, capture_sizes(contract.dims))
    try:
        base = tracer(inputs, parts=True)
    except Exception as error:  # noqa: BLE001 - the user's code, and torch's tracer
        said = f"it could not be looked into ({type(error).__name__}), so nothing says that it is harmless"
        return tuple(Frozen(place.short, said, harmless=False) for place in places)
    sites = tuple(dict.fromkeys(reading.site for reading in base.readings))
    silent = [place for place in places if place not in {*base.followed, *(site.place for site in sites)}]
    if not sites and not silent:
        return ()
    tries = tuple(_tries(tracer, contract, base, _other_inputs(contract)))
    tries += tuple(_tries(tracer, contract, base, _turning_inputs(tracer, contract, base, tries)))
    found = [_judged(site, tracer, inputs, base, tries) for site in sites]
    wrong = next((one for one in tries if not one.right), None)
    if wrong is not None and all(one.harmless for one in found):
        said = f"{wrong.told} the model answers otherwise than the trace that the file was made from"
        found += [Frozen(place.short, said, harmless=False) for place in silent]
    return tuple(found)


def _tries(tracer: Tracer, contract: Contract, base: Traced, others: Iterator[Told]) -> Iterator[Try]:
    """Traces of other inputs. One that raises is left out: the verdict tells of sizes that do not run."""
    for told, inputs in others:
        try:
            traced = tracer(inputs)
        except Exception:  # noqa: BLE001 - the user's code
            continue
        try:
            kept = base.run(apart(tracer.module), inputs)
            right = answer_alike(contract, inputs, traced.answer, kept, held_in(tracer.module))
        except Exception:  # noqa: BLE001 - what was frozen may not fit other sizes
            right = False
        yield Try(told, inputs, traced, right)


def _other_inputs(contract: Contract) -> Iterator[Told]:
    base = capture_sizes(contract.dims)
    for sizes in _other_sizes(contract, base):
        yield _of_sizes(contract, base, sizes)
    for seed in range(1, CONTENTS + 1):
        yield f"with other contents (seed {seed})", example_inputs(contract.inputs, base, seed)
    for high in (False, True):
        told = f"on inputs of the {'highest' if high else 'lowest'} value"
        yield told, constant_inputs(contract.inputs, base, high=high)


def _turning_inputs(tracer: Tracer, contract: Contract, base: Traced, tries: Sequence[Try]) -> Iterator[Told]:
    """Inputs of sizes at which Python reads something else where it does so in none of the ``tries``."""
    own, seen = capture_sizes(contract.dims), list[dict[str, int]]()
    sites = dict.fromkeys(reading.site for reading in base.readings if reading.part is not None)
    told = {
        site
        for site in sites
        if any(_first_other(base.at(site), one.traced.at(site)) is not None for one in tries)
    }
    parts = [one.part for one in base.readings if one.part is not None and one.site not in told]
    steps = MOST_STEPS // max(len(parts) * len(contract.dims), 1)
    for part in parts:
        for sizes in part.turns(apart(tracer.module), contract, own, steps):
            if sizes not in seen:
                seen.append(sizes)
                yield _of_sizes(contract, own, sizes)


def _of_sizes(contract: Contract, base: dict[str, int], sizes: dict[str, int]) -> Told:
    told = ", ".join(f"{name} = {size}" for name, size in sizes.items() if size != base[name])
    return f"with {told}", example_inputs(contract.inputs, sizes)


def _other_sizes(contract: Contract, base: dict[str, int]) -> Iterator[dict[str, int]]:
    """Each free dim at its ends and beside them, and all at their ends together unless that is large."""
    free = [dim for dim in contract.dims if not dim.fixed]
    chosen = [{**base, dim.name: size} for dim in free for size in _beside(dim)]
    for ends in ({dim.name: dim.min for dim in free}, {dim.name: dim.max for dim in free}):
        together = {**base, **ends}
        if sum(int(np.prod(spec.sized(together))) for spec in contract.inputs) <= MOST_ELEMENTS:
            chosen.append(together)
    seen = [base]
    for sizes in chosen:
        if sizes not in seen:
            seen.append(sizes)
            yield sizes


def _beside(dim: Dim) -> list[int]:
    sizes = (dim.min, dim.min + dim.multiple, dim.max - dim.multiple, dim.max)
    return sorted({size for size in sizes if dim.admits(size)})


def _judged(
    site: Site, tracer: Tracer, inputs: tuple[Tensor, ...], base: Traced, tries: Sequence[Try]
) -> Frozen:
    """Whether anything depends on what was read at a site."""
    values = base.at(site)
    of_data = any(reading.of_data for reading in base.readings if reading.site == site)
    of = "a tensor" if of_data else "the inputs' sizes"
    what = f"Python reads {_shown(values[0])} of {of} ({site.reader}), and the file keeps it"
    kept = {(site, at): _constantly(value) for at, value in enumerate(values)}
    telling = [one for one in tries if _first_other(values, one.traced.at(site)) is not None]
    for one in [one for one in telling if not one.right][:ASKED]:
        if _changed(tracer, one.inputs, one.traced, kept) is not None:
            read = _shown(_first_other(values, one.traced.at(site)))
            said = f"{one.told} it reads {read}, and the model answers otherwise"
            return Frozen(site.place.short, f"{what}; {said}", harmless=False)
    if telling:
        said = f"where it reads something else ({telling[0].told}), the file answers alike"
        return Frozen(site.place.short, f"{what}; {said}", harmless=True)
    if not of_data:
        said = f"it reads the same on {len(tries)} inputs of other sizes and contents"
        return Frozen(site.place.short, f"{what}; {said}", harmless=True)
    turned = {(site, at): _turned for at in range(len(values))}
    changed = _changed(tracer, inputs, base, turned)
    if changed is None:
        return Frozen(site.place.short, f"{what}; nothing depends on it", harmless=True)
    if changed and isinstance(values[0], bool):
        said = f"the other way the model raises {changed}, and the file does not"
        return Frozen(site.place.short, f"{what}; {said}", harmless=True)
    said = "it depends on the inputs' contents, and with another value the model answers otherwise"
    return Frozen(site.place.short, f"{what}; {said}", harmless=False)


def _changed(tracer: Tracer, inputs: tuple[Tensor, ...], own: Traced, answers: Answers) -> str | None:
    """What other readings change on the inputs, where ``own`` is the trace with the module's own readings.

    None for nothing, "" for the answer, or the name of the error that the module raises.
    """
    try:
        other = tracer(inputs, answers).answer
        held = held_in(tracer.module)
        return None if answer_alike(tracer.contract, inputs, own.answer, other, held) else ""
    except Exception as error:  # noqa: BLE001 - the user's code
        return type(error).__name__


def _first_other(values: list[Any], others: list[Any]) -> Any:
    """The first value of ``others`` that differs from its counterpart; None if none does."""
    pairs = zip(values, others, strict=False)
    return next((other for value, other in pairs if repr(value) != repr(other)), None)  # NaN equals itself


def _constantly(value: Any) -> Callable[[Any], Any]:
    return lambda _: value


def _turned(value: Any) -> Any:
    """Another value of the same kind: the other way of a condition, the next number."""
    if isinstance(value, list):
        return [_turned(entry) for entry in value]
    return not value if isinstance(value, bool) else value + 1


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
