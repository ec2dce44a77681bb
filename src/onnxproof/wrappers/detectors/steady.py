"""Shared by the wrappers of torchvision's detectors: a resize that tracing keeps, a record of inner calls.

torchvision's own resize computes the target size in float64 when it runs, and in float32 when it is traced.
At about one size in seven, the ONNX file would resize the picture to one pixel more or less than PyTorch.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.transform import GeneralizedRCNNTransform


class SteadyTransform(GeneralizedRCNNTransform):  # type: ignore[misc]
    """The transform of a torchvision detector that computes the target size in float64 in the graph too.

    It does not normalise, because the input stage in front of the network does, with the same numbers.
    """

    @classmethod
    def of(cls, transform: GeneralizedRCNNTransform) -> Self:
        """Make one with the settings of a network's own transform."""
        return cls(
            transform.min_size,
            transform.max_size,
            transform.image_mean,
            transform.image_std,
            size_divisible=transform.size_divisible,
            fixed_size=transform.fixed_size,
        )

    def normalize(self, image: Tensor) -> Tensor:
        """Return the picture unchanged."""
        return image

    def resize(self, image: Tensor, target: None = None) -> tuple[Tensor, None]:
        """Resize a picture [3, H, W] as torchvision does when it is not traced.

        The short side becomes ``min_size``, unless the long side would then exceed ``max_size``. Both are
        rounded down in float64.
        """
        if self.fixed_size is not None:
            resized, _ = super().resize(image, target)
            return resized, None
        # _shape_as_tensor keeps the shape in the graph when the size is traced.
        sides = torch._shape_as_tensor(image)[-2:].to(torch.float64)
        # The limits are a tensor, because number / tensor multiplies by the reciprocal, which rounds twice.
        limits = torch.tensor([self.min_size[-1], self.max_size], dtype=torch.float64)
        scale = torch.div(limits, torch.stack((sides.min(), sides.max()))).min()
        height, width = torch.floor(sides * scale).to(torch.int64).unbind(0)
        size: Any = (height, width) if torch._C._get_tracing_state() else (int(height), int(width))
        return functional.interpolate(image[None], size=size, mode="bilinear", align_corners=False)[0], None


@contextlib.contextmanager
def recorded_calls(module: nn.Module, method: str) -> Iterator[list[tuple[tuple[Any, ...], Any]]]:
    """Record the arguments and the result of each call of a module's method inside the ``with`` block."""
    original: Callable[..., Any] = getattr(module, method)
    calls: list[tuple[tuple[Any, ...], Any]] = []

    def recording(*args: Any) -> Any:
        result = original(*args)
        calls.append((args, result))
        return result

    object.__setattr__(module, method, recording)
    try:
        yield calls
    finally:
        object.__delattr__(module, method)
