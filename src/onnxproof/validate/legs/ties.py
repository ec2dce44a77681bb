"""Operations whose results PyTorch leaves open where numbers are equal, decided by a toss.

torch.topk, torch.sort without ``stable``, kthvalue and median return any of the places of equal numbers. What
a model computes from such places is as open, and a file that keeps other places is as right.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

OPEN = frozenset((torch.ops.aten.topk, torch.ops.aten.sort, torch.ops.aten.kthvalue, torch.ops.aten.median))
"""The operations. argmax and max are not among them: they return the first place."""

DOUBLE = np.finfo(np.float64)


class TossedTies(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Moves the numbers that such an operation is given by a float64 unit of the largest, up or down.

    ``seed`` makes it the same in each run.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._random = np.random.default_rng(seed)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # as wrappers.double.operations does

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket in OPEN and not kwargs.get("stable"):
            first, *others = args
            if isinstance(first, Tensor) and first.dtype == torch.float64 and first.numel():
                return func(self._moved(first), *others, **kwargs)
        return func(*args, **kwargs)

    def _moved(self, numbers: Tensor) -> Tensor:
        array = numbers.detach().numpy()
        largest = np.max(np.abs(array), initial=0.0, where=np.isfinite(array))
        unit = max(float(DOUBLE.eps) * float(largest), float(DOUBLE.tiny))
        return torch.from_numpy(np.asarray(array + unit * self._random.choice((-1.0, 1.0), array.shape)))
