"""How the inputs and outputs of a leg differ from those that the contract declares."""

from typing import Any

from onnxproof.contract import Contract
from onnxproof.tensors import Dim
from onnxproof.validate.legs.leg import Leg


def interface_differences(contract: Contract, candidate: Leg) -> tuple[str, ...]:
    """How the file's inputs and outputs differ from the declared ones: names, dtypes, ranks, frozen axes.

    An output's axis of a fixed size may be declared without one, as TorchScript does where it loses track of
    sizes. Every case shows what the size is.
    """
    dims = {dim.name: dim for dim in contract.dims}
    differences = []
    for kind, specs, ports in (
        ("input", contract.inputs, candidate.ports.inputs),
        ("output", contract.outputs, candidate.ports.outputs),
    ):
        wanted, found = [spec.name for spec in specs], [port.name for port in ports]
        if wanted != found:
            theirs, ours = (
                [name for name in a if name not in b] for a, b in ((found, wanted), (wanted, found))
            )
            hint = ""
            if theirs and len(theirs) == len(ours):
                more = ", and so on" if len(theirs) > 1 else ""
                told = f"{theirs[0]}={ours[0]}{more}"
                hint = f"; if these are the same, validate, check and compare take --map {told}"
                hint += " (what a host returns is to have the names of its kit)"
            differences.append(f"{kind}s are {', '.join(found)}; expected {', '.join(wanted)}{hint}")
            continue
        for spec, port in zip(specs, ports, strict=True):
            if port.dtype != spec.dtype:
                differences.append(f"{kind} {spec.name} is {port.dtype}; expected {spec.dtype}")
            if len(port.shape) != len(spec.shape):
                differences.append(f"{kind} {spec.name} has {len(port.shape)} axes; expected {spec}")
                continue
            for axis, size in zip(spec.shape, port.shape, strict=True):
                differences += _axis_difference(kind, spec.name, axis, size, dims)
    return tuple(differences)


def _axis_difference(kind: str, name: str, axis: int | str, size: Any, dims: dict[str, Dim]) -> list[str]:
    frozen = isinstance(axis, str) and isinstance(size, int) and not (axis in dims and dims[axis].fixed)
    if frozen:
        return [f"the axis {axis} of {kind} {name} is declared dynamic but frozen at {size}"]
    untold = kind == "output" and not isinstance(size, int)
    if isinstance(axis, int) and size != axis and not untold:
        return [f"an axis of {kind} {name} is {size}; expected {axis}"]
    return []
