"""Fold batch norms into the convolutions before them, in float64, rounding once.

A convolution followed by a batch norm in evaluation mode is one convolution with scaled weights:
w' = w * g, b' = (b - mean) * g + beta, with g = gamma / sqrt(var + eps) for each output channel
(Jacob et al. 2018, arXiv:1712.05877, section 3.2). Because the weights are rounded once instead of at every
step, the graph is nearer to the exact function than the model was.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor, nn

from onnxproof.errors import UserCodeError
from onnxproof.system.usercode import no_exit
from onnxproof.wrappers.copies import copied
from onnxproof.wrappers.double.float64 import Float64
from onnxproof.wrappers.double.weights import lendable, unseen

AGREEMENT = 1e-9
"""The largest relative difference, in float64, that a model and its folded copy may have. Rounding adds up
to far less (1e-12 in networks of a hundred layers), and any real change is far larger."""

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_WATCHED = (*_CONVOLUTIONS, *_NORMS)


@dataclass(frozen=True, eq=False)
class Folding:
    """How a module's batch norms are folded: by the names of a convolution and of the norm behind it.

    ``inputs`` are example inputs. A folded copy is made when it is asked for, so that nobody has to hold one
    beside a large module.
    """

    module: nn.Module
    inputs: Sequence[Tensor]
    folds: Mapping[tuple[str, str], "_Fold"]

    def applied(self) -> nn.Module:
        """A copy of the module with its batch norms folded. It shares the other parameters of a large one."""
        folded = copied(self.module, lendable(self.module).values())
        for (convolution_name, norm_name), fold in self.folds.items():
            _set(folded, norm_name, nn.Identity())
            convolution: Any = folded.get_submodule(convolution_name)
            weight, bias = fold.made()
            dtype = convolution.weight.dtype
            convolution.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
            convolution.bias = nn.Parameter(bias.to(dtype), requires_grad=False)
        return folded

    @cached_property
    def holds(self) -> bool:
        """Whether the folded model agrees with the original in float64.

        It does not if a convolution's output is also used elsewhere, say. False, too, if the model does not
        run in float64. Raises UserCodeError if the model calls ``sys.exit``.
        """
        if not self.folds:
            return True
        double = Float64(self.module)
        exact = double.module
        inputs = [double.widen(value) for value in self.inputs]
        try:
            with torch.inference_mode(False), no_exit("the module's forward"):
                with double.running():
                    before = _flatten(exact(*inputs))
                for (convolution_name, norm_name), fold in self.folds.items():
                    _set(exact, norm_name, nn.Identity())
                    fold.apply_while_it_runs(exact.get_submodule(convolution_name))
                with double.running():
                    after = _flatten(exact(*inputs))
        except UserCodeError:
            raise
        except Exception:  # noqa: BLE001
            # A module that does not run in float64 even so may raise an error of any type here.
            return False
        return all(_agree(a, b) for a, b in zip(before, after, strict=True))


def fold_batch_norms(module: nn.Module, inputs: Sequence[Tensor]) -> tuple[nn.Module, int]:
    """A copy of ``module`` with its batch norms folded if that holds, and how many were; see ``Folding``."""
    folding = find_folding(module, inputs)
    if not folding.holds:
        folding = replace(folding, folds={})
    return folding.applied(), len(folding.folds)


def find_folding(module: nn.Module, inputs: Sequence[Tensor]) -> Folding:
    """How the batch norms of a module can be folded; ``Folding.holds`` says whether that is right.

    The module is run on example inputs, which shows which convolution feeds which norm. Nothing is folded of
    one that does not run. Raises UserCodeError if the model calls ``sys.exit``.
    """
    try:
        with torch.inference_mode(False), torch.no_grad(), no_exit("the module's forward"):
            pairs = _find_pairs(copied(module, lendable(module).values()), inputs)
        folds = {pair: _Fold.of(module, *pair) for pair in pairs}
    except UserCodeError:
        raise
    except Exception:  # noqa: BLE001
        # The user's code may raise an error of any type. Capture raises it again, and it is reported there.
        folds = {}
    return Folding(module, inputs, folds)


def _find_pairs(module: nn.Module, inputs: Sequence[Tensor]) -> list[tuple[str, str]]:
    """Pairs of a convolution's name and the norm's that it feeds, if both are called exactly once."""
    made_by: dict[int, str] = {}
    calls: dict[str, int] = {}
    pairs: dict[str, str] = {}
    alive: list[Tensor] = []  # keeps every output alive, so that no id is used twice

    def after(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def hook(layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            calls[name] = calls.get(name, 0) + 1
            if isinstance(layer, _CONVOLUTIONS):
                made_by[id(output)] = name
                alive.append(output)
            elif id(args[0]) in made_by and layer.track_running_stats and not layer.training:
                pairs[name] = made_by[id(args[0])]

        return hook

    watched = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, _WATCHED)]
    if not any(isinstance(layer, _NORMS) for _, layer in watched):
        return []
    for name, layer in watched:
        layer.register_forward_hook(after(name))
    module(*inputs)
    convolutions = list(pairs.values())
    return [
        (convolution, norm)
        for norm, convolution in pairs.items()
        if calls[norm] == calls[convolution] == convolutions.count(convolution) == 1
    ]


@dataclass(frozen=True, slots=True, eq=False)
class _Fold:
    """A convolution's weight, the factor of each of its channels, and its bias with the norm folded in.

    ``gain`` and ``bias`` are float64, and the weight is as the module holds it.
    """

    weight: Tensor
    gain: Tensor
    bias: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, module: nn.Module, convolution_name: str, norm_name: str) -> Self:
        """The fold of a norm into the convolution before it.

        Raises KeyError if the weight is no parameter, but computed from one.
        """
        convolution: Any = module.get_submodule(convolution_name)
        norm: Any = module.get_submodule(norm_name)
        gain = torch.rsqrt(norm.running_var.double() + norm.eps)
        if norm.weight is not None:
            gain = gain * norm.weight.double()
        bias = -norm.running_mean.double()
        if convolution.bias is not None:
            bias = bias + convolution.bias.double()
        bias = bias * gain if norm.bias is None else bias * gain + norm.bias.double()
        own = dict(convolution.named_parameters(recurse=False))
        return cls(own["weight"].detach(), gain, bias)

    def made(self) -> tuple[Tensor, Tensor]:
        """The folded weight and bias, in float64."""
        with unseen():
            weight = self.weight.to(torch.float64, copy=True)
            weight *= self.gain.reshape(-1, *[1] * (weight.ndim - 1))
        return weight, self.bias

    def apply_while_it_runs(self, convolution: nn.Module) -> None:
        """Let a convolution in float64 compute with the folded weight, which is freed after each run."""

        def before(layer: Any, _: Any) -> None:
            layer.weight, layer.bias = (nn.Parameter(one, requires_grad=False) for one in self.made())

        def after(layer: Any, *_: Any) -> None:
            layer.weight = None

        convolution.register_forward_pre_hook(before)
        convolution.register_forward_hook(after)


def _set(module: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(module.get_submodule(parent), leaf, layer)


def _flatten(outputs: Any) -> list[Tensor]:
    return list(outputs) if isinstance(outputs, tuple | list) else [outputs]


def _agree(before: Tensor, after: Tensor) -> bool:
    if not before.is_floating_point():
        return torch.equal(before, after)
    scale = float(before.abs().max()) if before.numel() else 0.0
    difference = float((before - after).abs().max()) if before.numel() else 0.0
    return difference <= AGREEMENT * scale
