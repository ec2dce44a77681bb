"""Outputs of a checkpoint's model that a host of its file has anyway: they follow from the inputs alone."""

from collections.abc import Mapping, Sequence

from onnxproof.contract import Contract
from onnxproof.runtime.port import Port
from onnxproof.runtime.tasks.tokens import TokenLogits
from onnxproof.tensors import TensorSpec
from onnxproof.validate.likeness import without_counterpart


def hosted_of(contract: Contract, ports: Sequence[Port], mapping: Mapping[str, str]) -> Mapping[str, str]:
    """Outputs of the model that its file does not return, and the padding mask from which each follows.

    That is the second output of a token classifier, which tells what tokens the mask keeps: files from
    elsewhere return logits alone. ``ports`` are the file's outputs. Empty if one of them has integers, or if
    ``mapping`` names the output.
    """
    reading = contract.reading
    if not isinstance(reading, TokenLogits) or len(reading.outputs) < 2:
        return {}
    name = reading.outputs[1]
    spec = next(one for one in contract.outputs if one.name == name)
    if name in mapping.values() or any("float" not in port.dtype for port in ports):
        return {}
    masks = [one.name for one in contract.inputs if one.mask and one.shape == spec.shape]
    return {name: masks[0]} if masks else {}


def returned_by(contract: Contract, hosted: Mapping[str, str]) -> tuple[TensorSpec, ...]:
    """The outputs of a model that its file has to return."""
    return tuple(spec for spec in contract.outputs if spec.name not in hosted)


def in_words(contract: Contract, hosted: Mapping[str, str], ports: Sequence[Port]) -> str:
    """What a model returns, and what of that a file with the outputs ``ports`` has nothing like."""
    wanted = returned_by(contract, hosted)
    returns = ", ".join(f"{spec.name} {spec}" for spec in wanted)
    lacking = [spec.name for spec in without_counterpart(wanted, ports)]
    if not lacking or len(lacking) == len(wanted):
        return returns
    return f"{returns}, of which the file has no {' and no '.join(lacking)}"
