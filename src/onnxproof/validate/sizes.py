"""The sizes of a comparison's cases, where the user asks for others than the contract's."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from onnxproof.contract import Contract
from onnxproof.errors import RequestError
from onnxproof.tensors import Dim
from onnxproof.text import meant


def with_sizes(contract: Contract, dims: Mapping[str, str]) -> Contract:
    """The contract with other sizes of some dimensions, which ``dims`` gives by name.

    Raises RequestError if the contract lacks one of them, or if some of the sizes are not in the declared
    steps.
    """
    require_names(dims, [dim.name for dim in contract.dims])
    told = {dim.name: _in_steps(dim, dims[dim.name]) for dim in contract.dims if dim.name in dims}
    preprocess = contract.preprocess
    if preprocess is not None:
        height, width = (told.get(dim.name, dim) for dim in (preprocess.height, preprocess.width))
        preprocess = replace(preprocess, height=height, width=width)
    dims_told = tuple(told.get(dim.name, dim) for dim in contract.dims)
    return replace(contract, dims=dims_told, preprocess=preprocess)


def _in_steps(declared: Dim, text: str) -> Dim:
    """The sizes that ``text`` gives. Raises RequestError if some are not in the declared steps."""
    told = Dim.parse(declared.name, text)
    step = declared.multiple
    if not told.in_steps_of(step):
        raise RequestError(
            f"--dim {told.name}={text}: {told.name} is declared as {declared}, in steps of {step}; write "
            f'--dim "{told.name}={told.rounded_to(step)}"'
        )
    return told


def require_names(
    given: Mapping[str, str], known: Sequence[str], option: str = "--dim", what: str = "dynamic axis"
) -> None:
    """Raise RequestError if a name that is ``given`` is not ``known``."""
    unknown = [name for name in given if name not in known]
    if unknown:
        raise RequestError(
            f"{option} {unknown[0]}={given[unknown[0]]}: A has no {what} of that name; "
            f"there are: {', '.join(known) or 'none'}{meant(unknown[0], known)}"
        )
