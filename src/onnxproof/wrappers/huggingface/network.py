"""Loads a checkpoint's tensors into the network that its configuration describes."""

import warnings

import torch
from torch import nn

from onnxproof.errors import CheckpointError
from onnxproof.wrappers.fitting import in_short
from onnxproof.wrappers.huggingface.opened import Opened, offline
from onnxproof.wrappers.recognise import CONFIG
from onnxproof.wrappers.weights import CODES, FLOATS, WHOLE

POOLER = "pooler."
"""What sentence-transformers does not read of an encoder: it pools by itself."""


def load_network(opened: Opened) -> nn.Module:
    """The network in float32 and evaluation mode, with the checkpoint's tensors.

    transformers has renamed modules over time, and renames the tensors of older files as it loads them. So it
    puts the tensors in, which are read already. Raises CheckpointError if it cannot build the network, or if
    a tensor is missing, too many, or of another shape.
    """
    checkpoint, called = opened.checkpoint, opened.called
    state = {checkpoint.prefix + name: tensor for name, tensor in checkpoint.state_dict.items()}
    for name, tensor in state.items():
        if tensor.is_quantized or tensor.dtype not in (*FLOATS, *WHOLE):
            raise CheckpointError(f"checkpoint {checkpoint.file}: {name} is {tensor.dtype}; {CODES}")
    try:
        with offline(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network, found = opened.architecture.from_pretrained(
                None,
                config=opened.config,
                state_dict=state,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
    except Exception as error:
        # Every network has code of its own, which raises errors of many types.
        raise CheckpointError(
            f"transformers does not build {called} from {opened.folder / CONFIG}: "
            f"{type(error).__name__}: {error}"
        ) from error
    wrong = [
        f"{name} is {list(stored)}, expected {list(expected)}"
        for name, stored, expected in sorted(found["mismatched_keys"])
    ]
    encoder = opened.called not in (opened.config.architectures or ())
    missing = sorted(name for name in found["missing_keys"] if not (encoder and name.startswith(POOLER)))
    if missing:
        wrong.append(f"missing: {in_short(missing)}")
    if found["unexpected_keys"] and not encoder:
        wrong.append(f"not in the model: {in_short(sorted(found['unexpected_keys']))}")
    elif found["unexpected_keys"]:
        left = in_short(sorted(found["unexpected_keys"]))
        checkpoint.notes.append(f"the encoder alone is used: {left} are left out")
    if wrong:
        raise CheckpointError(
            f"checkpoint {checkpoint.file} does not fit {called}: {'; '.join(wrong)}; do {CONFIG} "
            f"and the "
            "weights belong together?"
        )
    made: nn.Module = network.eval()
    return made
