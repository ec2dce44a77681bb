"""Folding is held to the bit: a tensor that is not the float64 fold, rounded once, is named."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from onnxproof.export.fold import find_folding, fold_batch_norms
from onnxproof.validate.exact.fold_proof import prove_fold
from onnxproof.wrappers.double import weights


def trained(*layers: nn.Module) -> nn.Sequential:
    generator = torch.Generator().manual_seed(3)
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.running_mean, *layer.parameters()):
                assert tensor is not None
                tensor.data.normal_(generator=generator)
            assert layer.running_var is not None
            layer.running_var.uniform_(0.5, 2, generator=generator)
    return nn.Sequential(*layers).eval()


def network() -> nn.Sequential:
    return trained(
        *(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Conv2d(8, 8, 3, bias=False), nn.BatchNorm2d(8, eps=1e-3), nn.Conv2d(8, 4, 1)),
    )


INPUT = (torch.rand(1, 3, 12, 12),)


def test_our_folding_is_proven_to_the_bit() -> None:
    module = network()
    folded, count = fold_batch_norms(module, INPUT)
    proof = prove_fold(module, folded)
    assert (count, proof.faults) == (2, ())
    assert set(proof.folds) == {("0", "1"), ("3", "4")}
    assert proof.unchanged == 2


def test_a_module_that_was_not_folded_is_proven() -> None:
    module = network()
    assert prove_fold(module, module).faults == ()


def by_an_ulp(tensor: Tensor) -> None:
    flat = tensor.data.view(-1)
    flat[3] = torch.nextafter(flat[3], torch.tensor(torch.inf))


def swapped(tensor: Tensor) -> None:
    tensor.data[[0, 1]] = tensor.data[[1, 0]]


@pytest.mark.parametrize("change", [by_an_ulp, swapped], ids=["by-an-ulp", "swapped"])
@pytest.mark.parametrize("name", ["0.weight", "0.bias", "3.weight", "3.bias", "5.weight", "5.bias"])
def test_a_tensor_that_is_off_by_an_ulp_is_named(name: str, change: Callable[[Tensor], None]) -> None:
    module = network()
    folded, _ = fold_batch_norms(module, INPUT)
    change(folded.get_parameter(name))
    assert any(fault.startswith(name) for fault in prove_fold(module, folded).faults)


def test_folding_in_float32_is_no_proof() -> None:
    module = network()
    convolution, norm = module[0], module[1]
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    folded = nn.utils.fusion.fuse_conv_bn_eval(convolution, norm)
    other = nn.Sequential(folded, nn.Identity(), *module[2:])
    faults = prove_fold(module, other).faults
    assert any(fault.startswith("0.weight is neither") for fault in faults)


def test_a_norm_that_is_lost_is_named() -> None:
    module = network()
    other = nn.Sequential(module[0], nn.Identity(), *module[2:])
    assert "1.running_mean is missing, and no fold took it in" in prove_fold(module, other).faults


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_folding_holds_one_folded_weight_at_a_time(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    """And changes nothing of the module, in whatever dtype that is."""
    monkeypatch.setattr(weights, "MOST_WIDENED", 0)
    monkeypatch.setattr(weights, "FEWEST_LENT", 1)
    layers = [part for _ in range(4) for part in (nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3))]
    module = trained(*layers).to(dtype)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    copies: list[StorageWeakRef] = []
    alive: list[int] = []
    to = Tensor.to

    def watched(tensor: Tensor, *given: Any, **more: Any) -> Tensor:
        made = to(tensor, *given, **more)
        if more.get("copy"):
            copies.append(StorageWeakRef(made.untyped_storage()))  # type: ignore[no-untyped-call]
            alive.append(sum(not one.expired() for one in copies))  # type: ignore[no-untyped-call]
        return made

    monkeypatch.setattr(Tensor, "to", watched)
    folding = find_folding(module, (INPUT[0].to(dtype),))
    assert folding.holds
    assert len(folding.folds) == len(copies) == 4
    assert max(alive) == 1
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
