"""Calls a network of transformers, and takes of its answer what a task needs."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional


class Called(nn.Module):
    """A network that takes its inputs by name. Of its answer only some tensors are returned.

    ``takes`` are the names of the inputs, in order. ``answers`` maps the names of the outputs to the keys of
    the network's answer. ``blank`` is the class that stands for nothing in a CTC head, or None.
    """

    def __init__(
        self,
        network: nn.Module,
        takes: Sequence[str],
        answers: Mapping[str, str],
        blank: int | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.takes = tuple(takes)
        self.answers = dict(answers)
        self.blank = blank

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        """The outputs by name."""
        answered = self.network(**dict(zip(self.takes, inputs, strict=True)), return_dict=True)
        return {name: answered[key] for name, key in self.answers.items()}


class Enlarged(nn.Module):
    """Class logits [b, C, h, w] of a picture [b, 3, H, W], enlarged to the picture's size, [b, C, H, W].

    The enlargement is linear between the centres of the pixels, as in transformers'
    ``post_process_semantic_segmentation``.
    """

    def __init__(self, called: Called) -> None:
        super().__init__()
        self.called = called

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        """The logits under their name."""
        answered = self.called(pixel_values)
        size = pixel_values.shape[-2:]
        return {
            name: functional.interpolate(one, size=size, mode="bilinear", align_corners=False)
            for name, one in answered.items()
        }
