"""Which of a network's inputs its file takes: all that the family knows, or those that the job names."""

import inspect
from collections.abc import Sequence

from torch import nn

from onnxproof.errors import JobError
from onnxproof.tensors import TensorSpec
from onnxproof.text import meant
from onnxproof.wrappers.huggingface.opened import Opened

KEY = "inputs"
"""The key of ``model.kwargs`` with the names of the inputs that the file takes."""


def taken(opened: Opened, network: nn.Module, specs: Sequence[TensorSpec]) -> list[TensorSpec]:
    """The inputs of ``specs`` that ``model.kwargs.inputs`` names. All if the job does not have the key.

    An input that is left out gets the network's default. Raises JobError if a name is not among ``specs``,
    or if the network has no default for an input that is left out.
    """
    wanted = opened.job.model.kwargs.get(KEY)
    known = [spec.name for spec in specs]
    if wanted is None:
        return list(specs)
    if not isinstance(wanted, list | tuple) or not wanted:
        raise JobError(f"model.kwargs.{KEY} = {wanted!r}; expected a list of names: {', '.join(known)}")
    for name in wanted:
        if name not in known:
            raise JobError(
                f"model.kwargs.{KEY} names {name}, and {opened.called} takes {', '.join(known)}"
                f"{meant(str(name), known)}"
            )
    parameters = inspect.signature(network.forward).parameters
    for name in known:
        parameter = parameters.get(name)
        if name not in wanted and (parameter is None or parameter.default is not None):
            raise JobError(
                f"model.kwargs.{KEY} leaves out {name}, for which {opened.called} has no default: add it"
            )
    return [spec for spec in specs if spec.name in wanted]
