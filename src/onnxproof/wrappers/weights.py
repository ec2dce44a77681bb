"""A checkpoint's tensors go into a network, or what does not fit is said."""

from torch import nn

from onnxproof.errors import CheckpointError
from onnxproof.wrappers.family import Checkpoint


def load_weights(network: nn.Module, checkpoint: Checkpoint, called: str, advice: str) -> nn.Module:
    """The network in float32 with the checkpoint's tensors, all of which it needs and no other.

    ``called`` is what the network is called in the error, ``advice`` what to do about it. Raises
    CheckpointError where names or shapes differ.
    """
    expected = network.state_dict()
    wrong = [
        f"{name} is {list(tensor.shape)}, expected {list(expected[name].shape)}"
        for name, tensor in checkpoint.state_dict.items()
        if name in expected and tensor.shape != expected[name].shape
    ]
    wrong += [f"{name} is missing" for name in expected if name not in checkpoint.state_dict]
    wrong += [f"{name} is not in the model" for name in checkpoint.state_dict if name not in expected]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise CheckpointError(
            f"checkpoint {checkpoint.file} does not fit {called}: {wrong[0]}{more}; {advice}"
        )
    network.load_state_dict(dict(checkpoint.state_dict))
    return network.float()
