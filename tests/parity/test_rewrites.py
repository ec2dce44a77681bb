"""Operators that torch's exporter translates wrongly or not at all: each file states PyTorch's function."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torchvision
from functions import Form, Function, Module, exported
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everyone calls it

MAPS = (
    {"x": "float32[batch, 4, height, width] in -1..1"},
    {"batch": "1..3", "height": "5..23", "width": "7..24"},
)
ROWS = {"x": "float32[batch, n] in -1..1"}, {"batch": "1..3", "n": "1..21"}
SEQUENCES = {"x": "float32[batch, time, 8] in -1..1"}, {"batch": "1..3", "time": "1..40"}
PAIRS = {"x": "float32[batch, n] in -1..1"}, {"batch": "1..3", "n": "2..21"}
MANY = {"x": "float32[batch, time, 8] in -1..1"}, {"batch": "1..3", "time": "26..40"}
STEPS = {"x": "int64[batch, n] in -4..4"}, {"batch": "1..3", "n": "1..21"}

ODD = {"x": "float32[batch, 2, height, 8] in -1..1"}, {"batch": "1..2", "height": "16..21"}

SLOW = pytest.mark.slow
DIFFERENCES = "donot_use_mm_for_euclid_dist"


def masked(x: Tensor, *, floats: bool = False) -> Tensor:
    """Attention in which about half of the queries may look at no key."""
    mask = (x[:, None, :, :1] > 0) & (x[:, None, :, 1] > -0.5)[:, :, None]
    if floats:
        mask = torch.zeros_like(mask, dtype=x.dtype).masked_fill(~mask, -torch.inf)
    heads = x.view(*x.shape[:2], 2, 4).transpose(1, 2)
    return F.scaled_dot_product_attention(heads, heads, heads, attn_mask=mask)


def shared(x: Tensor) -> Tensor:
    """Attention whose queries share keys, with a mask, beside one that is causal and scaled."""
    q = x.view(*x.shape[:2], 4, 2).transpose(1, 2)
    k = x[..., :4].reshape(*x.shape[:2], 2, 2).transpose(1, 2)
    grouped = F.scaled_dot_product_attention(q, k, k, attn_mask=x[:, None, :, :1] > 0, enable_gqa=True)
    return grouped + F.scaled_dot_product_attention(q, q, q, is_causal=True, scale=0.3)


def regions(x: Tensor) -> Tensor:
    boxes = torch.tensor([[0, 0.0, 0.0, 6.0, 6.0], [0, 1.5, 0.5, 3.0, 4.0]])
    return torchvision.ops.roi_pool(x, boxes, (3, 2), 0.5)  # type: ignore[no-any-return]


def checked(x: Tensor) -> Tensor:
    torch._check_tensor_all(x > -2)
    some = torch.ops.aten._is_any_true(x[:, 0] > 0.5)
    every = torch.ops.aten._is_all_true(x[:, 0] > -0.5)
    answer: Tensor = x + some + 2 * every
    return answer


def centred(x: Tensor) -> Tensor:
    """The picture, and twice its half, cut to its height: a row is taken off below or above."""
    twice = F.interpolate(F.max_pool2d(x, 2, ceil_mode=True), scale_factor=2.0)
    more = x.shape[2] - twice.shape[2]
    return x + F.pad(twice, [0, 0, more // 2, more - more // 2])


def warped(x: Tensor, *, align: bool = False) -> Tensor:
    theta = torch.tanh(x.mean((2, 3))[:, :1, None] * torch.tensor([[0.9, 0.1, 0.2], [-0.2, 1.1, 0.1]]))
    return F.affine_grid(theta, list(x.shape), align_corners=align)


def warped_volume(x: Tensor) -> Tensor:
    theta = x.mean((2, 3))[:, :1, None] * torch.linspace(-1, 1, 12).view(3, 4)
    return F.affine_grid(theta, [x.shape[0], 1, 3, x.shape[2], x.shape[3]], align_corners=False)


def odd_axes(x: Tensor) -> tuple[Tensor, ...]:
    """Attention of three axes, and of five."""
    five = x.view(*x.shape[:2], 2, 2, 2).transpose(1, 3)
    return (
        F.scaled_dot_product_attention(x, x, x),
        F.scaled_dot_product_attention(five, five, five, is_causal=True),
    )


def windows(x: Tensor) -> tuple[Tensor, ...]:
    made = (
        torch.hamming_window(8),
        torch.hamming_window(8, periodic=False),
        torch.hamming_window(8, True, 0.6, 0.3),
        torch.kaiser_window(8),
        torch.kaiser_window(8, False, beta=3.0),
        torch.bartlett_window(8),
        torch.hann_window(8, periodic=False),
        torch.blackman_window(8),
        torch.blackman_window(8, periodic=False),
    )
    return tuple(x * one for one in made)


def angles(x: Tensor) -> Tensor:
    """Angles all around, and on the axes, with zeros of both signs, and how far away the points are."""
    held = torch.where(x.abs() < 0.3, torch.zeros_like(x), x)
    return (
        torch.hypot(held, -held.flip(1))
        + torch.atan2(held, x.flip(1).sign())
        + torch.atan2(-held, held.flip(1))
    )


def means(x: Tensor) -> tuple[Tensor, ...]:
    """Means with and without what was there, some of nothing; others; the source is larger than the index."""
    index = (x[:, :-1].abs() * 3.9).long()
    held = torch.arange(8.0).expand(x.shape[0], 8)
    return (
        held.scatter_reduce(1, index, x, "mean"),
        held.scatter_reduce(1, index, x, "mean", include_self=False),
        held.scatter_reduce(1, index, x, "amin"),
        held.scatter_reduce(1, index, x, "amax", include_self=False),
        held.scatter_reduce(1, index, x, "sum", include_self=False),
        held.scatter_reduce(1, index, x, "prod", include_self=False),
    )


def slices(x: Tensor) -> tuple[Tensor, ...]:
    """Rows and columns that are brought to the same place, with and without what was there."""
    index = (x[0, :-1].abs() * 3.9).long()
    return (
        torch.ones(4, x.shape[0]).index_reduce(0, index, x.T[:-1], "mean"),
        torch.ones(x.shape[0], 4).index_reduce(-1, index, x[:, :-1], "amax", include_self=False),
    )


def by_dtype(x: Tensor) -> tuple[Tensor, ...]:
    """A sum of booleans, and means of integers in floats."""
    return (x > 0) + (x < -2), x.mean(1, dtype=torch.float32), (x > 1).mean(dtype=torch.float32)


def left_over(x: Tensor) -> tuple[Tensor, ...]:
    """Remainders by a size, and by one below zero, of integers and of floats."""
    n, floats = x.shape[1], x * 1.5
    return x % n, x % -n, floats % n, floats % -n


def experts(x: Tensor, product: Callable[..., Tensor]) -> Tensor:
    """A layer of four experts. Some get no row, and the last rows go to none: they are left out."""
    rows = x.flatten(0, 1)
    counts = (x[0, 0, :4].abs() * 4).long() * rows.shape[0] // 16
    weights = torch.linspace(-1, 1, 4 * 8 * 8).view(4, 8, 8)
    products = product(rows, weights, counts.cumsum(0).int())
    return products.masked_fill((torch.arange(rows.shape[0]) >= counts.sum())[:, None], 0)


def of_transformers(rows: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
    """As transformers asks for it while its mixtures of experts are captured."""
    pytest.importorskip("transformers.integrations.moe")
    products: Tensor = torch.ops.transformers.grouped_mm_fallback(rows, weights, ends)
    return products


def of_torch(rows: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
    return F.grouped_mm(rows, weights, offs=ends)


def filled(x: Tensor) -> tuple[Tensor, ...]:
    """Diagonals of matrices that are not square, on both sides of the main one, and one of two axes apart."""
    above, below, between = x[:, 0].clone(), x[:, 1].clone(), x.clone()
    above.diagonal(2, 1, 2).fill_(3)
    below.diagonal(-1, 2, 1).mul_(2)
    between.diagonal(0, 1, 3).zero_()
    square = x[0, 0] @ x[0, 0].T
    return above, below, between, square.fill_diagonal_(0.5)


def divided(x: Tensor) -> tuple[Tensor, ...]:
    """Floor divisions by numbers: of integers by floats and integers, and of floats."""
    return x // 2.5, x // -0.75, torch.floor_divide(x, -3), (x * 0.3) // 0.1


def summed(x: Tensor) -> tuple[Tensor, ...]:
    """Sums of windows over a number, some of which hang over the edge, of pictures and of volumes."""
    return (
        F.avg_pool2d(x, (3, 2), 2, (1, 0), divisor_override=5),
        F.avg_pool2d(x[0], 3, (2, 4), 1, ceil_mode=True, divisor_override=7),
        F.avg_pool3d(x[:, None], (2, 3, 3), (1, 2, 3), 1, ceil_mode=True, divisor_override=1),
    )


def along_one_axis(x: Tensor) -> tuple[Tensor, ...]:
    """Adaptive pooling that leaves an axis as it is, or both."""
    return (
        F.adaptive_avg_pool2d(x, (None, 1)),
        nn.AdaptiveMaxPool2d((3, None))(x),
        F.adaptive_avg_pool3d(x[:, None], (2, None, 3)),
        nn.AdaptiveMaxPool2d((None, None))(x),
    )


CASES = [
    pytest.param(lambda x: experts(x, of_transformers), SEQUENCES, id="experts-of-transformers", marks=SLOW),
    pytest.param(
        lambda x: experts(x, of_torch),
        SEQUENCES,
        id="experts-of-torch",
        marks=pytest.mark.skipif(not hasattr(F, "grouped_mm"), reason="torch has no grouped_mm"),
    ),
    pytest.param(lambda x: F.adaptive_avg_pool2d(x, (3, 5)), MAPS, id="average-2d"),
    pytest.param(
        lambda x: F.adaptive_avg_pool2d(x, (30, 1)),
        MAPS,
        id="average-more-windows-than-cells",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        lambda x: F.adaptive_avg_pool2d(x, (3, 5)) + F.adaptive_avg_pool2d(x, 1),
        MAPS,
        id="average-beside-global",
        marks=pytest.mark.slow,
    ),
    pytest.param(lambda x: F.adaptive_avg_pool1d(x.flatten(2), 7), MAPS, id="average-1d", marks=SLOW),
    pytest.param(lambda x: F.adaptive_avg_pool3d(x[:, None], (3, 2, 5)), MAPS, id="average-3d", marks=SLOW),
    pytest.param(lambda x: F.interpolate(x, size=(4, 4), mode="area"), MAPS, id="area"),
    pytest.param(lambda x: F.adaptive_max_pool2d(x, (2, 3)), MAPS, id="maximum-2d", marks=SLOW),
    pytest.param(
        lambda x: F.adaptive_max_pool2d(x.round(decimals=1), (2, 3), return_indices=True),
        MAPS,
        id="maximum-2d-indices-of-ties",
    ),
    pytest.param(lambda x: F.adaptive_max_pool1d(x.flatten(2), 5), MAPS, id="maximum-1d", marks=SLOW),
    pytest.param(lambda x: F.adaptive_max_pool3d(x[:, None], (3, 2, 5)), MAPS, id="maximum-3d", marks=SLOW),
    pytest.param(masked, SEQUENCES, id="attention-rows-masked-whole"),
    pytest.param(lambda x: masked(x, floats=True), SEQUENCES, id="attention-infinite-mask", marks=SLOW),
    pytest.param(shared, SEQUENCES, id="attention-grouped-and-causal"),
    pytest.param(odd_axes, SEQUENCES, id="attention-of-three-and-five-axes", marks=SLOW),
    pytest.param(
        lambda x: (x / 1e5).log1p() + (x / 1e6).expm1(), ROWS, id="logarithm-and-exponential-near-0"
    ),
    pytest.param(
        lambda x: x.bool().long().log1p() + (x + 1).log1p(), STEPS, id="logarithm-of-integers", marks=SLOW
    ),
    pytest.param(lambda x: F.logsigmoid(x * 200), ROWS, id="logarithm-of-a-sigmoid"),
    pytest.param(lambda x: torch.cumprod(x, 1), ROWS, id="cumprod"),
    pytest.param(lambda x: torch.cumprod(x, 0), STEPS, id="cumprod-integers", marks=SLOW),
    pytest.param(lambda x: torch.cummax(x.round(decimals=1), 1), ROWS, id="cummax-ties"),
    pytest.param(lambda x: torch.cummin(x, -1), STEPS, id="cummin-integers", marks=SLOW),
    pytest.param(lambda x: x.median(1), ROWS, id="median-with-index"),
    pytest.param(
        lambda x: x.round(decimals=1).median(1, keepdim=True).values,
        ROWS,
        id="median-ties",
        marks=pytest.mark.slow,
    ),
    pytest.param(lambda x: x.median(), ROWS, id="median-of-all", marks=SLOW),
    pytest.param(lambda x: x.round(decimals=1).kthvalue(1, 1).values, ROWS, id="kthvalue-ties"),
    pytest.param(
        lambda x: x.round(decimals=1).sort(dim=1, stable=True, descending=True),
        ROWS,
        id="stable-sort-of-ties",
    ),
    pytest.param(lambda x: x.argsort(dim=0, stable=True), STEPS, id="stable-argsort-of-integers", marks=SLOW),
    pytest.param(lambda x: torch.searchsorted(torch.linspace(-1, 1, 5), x), ROWS, id="searchsorted"),
    pytest.param(
        lambda x: torch.searchsorted(x.sort(1).values, x, right=True, out_int32=True),
        ROWS,
        id="searchsorted-rows",
        marks=pytest.mark.slow,
    ),
    pytest.param(lambda x: torch.cdist(x, x[:, :3], compute_mode=DIFFERENCES), SEQUENCES, id="cdist"),
    pytest.param(lambda x: torch.cdist(x, x), MANY, id="cdist-by-products-in-pytorch", marks=SLOW),
    pytest.param(lambda x: torch.cdist(x[:, :1], x, p=1.0), SEQUENCES, id="cdist-1", marks=SLOW),
    pytest.param(lambda x: torch.cdist(x[:, :1], x, p=3.0), SEQUENCES, id="cdist-3", marks=SLOW),
    pytest.param(means, PAIRS, id="scattered-means"),
    pytest.param(slices, PAIRS, id="slices-reduced", marks=pytest.mark.filterwarnings("ignore:index_reduce")),
    pytest.param(by_dtype, STEPS, id="booleans-added-and-means-of-integers"),
    pytest.param(left_over, STEPS, id="remainders-by-a-size"),
    pytest.param(regions, MAPS, id="roi-pool"),
    pytest.param(windows, SEQUENCES, id="windows"),
    pytest.param(checked, ROWS, id="checked-to-be-true"),
    pytest.param(warped, MAPS, id="affine-grid"),
    pytest.param(lambda x: warped(x, align=True), MAPS, id="affine-grid-aligned", marks=SLOW),
    pytest.param(warped_volume, MAPS, id="affine-grid-of-a-volume", marks=SLOW),
    pytest.param(angles, ROWS, id="angles"),
    pytest.param(filled, MAPS, id="diagonals-written-to"),
    pytest.param(divided, STEPS, id="floor-division-by-a-number"),
    pytest.param(summed, MAPS, id="average-over-a-number"),
    pytest.param(along_one_axis, MAPS, id="average-and-maximum-along-one-axis"),
    pytest.param(
        lambda x: F.adaptive_avg_pool3d(x.view(-1, 1, 4, 12, 12), (2, 3, 5)),
        ({"x": "float32[batch, 4, 12, 12] in -1..1"}, {"batch": "1..3"}),
        id="average-3d-of-a-known-size",
    ),
    pytest.param(centred, ODD, id="half-of-a-negative-size"),
    pytest.param(lambda x: x.roll(x.shape[1] // 2, 1).roll(-x.shape[0], 0), ROWS, id="roll-by-a-size"),
    pytest.param(lambda x: x * torch.linspace(-1, 2, x.shape[1]), ROWS, id="linspace-of-a-size"),
]


@pytest.mark.first_case
@pytest.mark.parametrize(("function", "form"), CASES)
def test_a_rewrite_states_the_function(function: Function, form: Form, tmp_path: Path) -> None:
    bundle = exported(Module(function), form, tmp_path)
    assert bundle.verdict is not None
    assert bundle.verdict.passed, [check for check in bundle.verdict.checks if check.status != "pass"]
    judged = {check.name for check in bundle.verdict.checks if check.leg == "onnx-float64"}
    assert judged & {"function", "flips"}
    assert bundle.manifest.exporter == "torch.export"


@pytest.mark.first_case
@pytest.mark.parametrize(
    "function",
    [torch.log1p, pytest.param(torch.expm1, marks=SLOW), F.logsigmoid],
    ids=["log1p", "expm1", "logsigmoid"],
)
def test_digits_near_0_and_values_far_from_it_are_pytorchs(function: Function, tmp_path: Path) -> None:
    """PyTorch's and the file's errors are of an ulp each, and each special value is the same."""
    bundle = exported(Module(function), ROWS, tmp_path)
    session = onnxruntime.InferenceSession(bundle.path / "model.onnx")
    near = torch.logspace(-37, 1.5, 20).repeat(1, 2) * torch.tensor([1.0, -0.5]).repeat_interleave(20)
    special = torch.tensor([[0.0, -1, -2, 0.5, -0.5, 88, torch.inf, -torch.inf, torch.nan]])
    for x in (near, special):
        (ours,) = session.run(None, {"x": x.numpy()})
        np.testing.assert_allclose(ours, np.asarray(function(x)), rtol=3e-7, atol=0)


@pytest.mark.first_case
@pytest.mark.parametrize("opset", [pytest.param(20, marks=SLOW), 21, pytest.param(25, marks=SLOW)])
def test_group_norms_keep_their_digits_at_every_opset(opset: int, tmp_path: Path) -> None:
    """Also those of numbers whose mean is large, and of numbers that are all one."""
    norm, plain = nn.GroupNorm(2, 4), nn.GroupNorm(2, 4, affine=False)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -2.0, 0.5, 3.0]))
        norm.bias.copy_(torch.tensor([0.1, 0.2, -0.3, 0.4]))
    module = Module(lambda x: (norm(x), plain(x.mean((2, 3)))))
    module.norm = norm
    bundle = exported(module, MAPS, tmp_path, f"export.opset={opset}")
    assert bundle.verdict is not None
    assert bundle.verdict.passed, [check for check in bundle.verdict.checks if check.status != "pass"]
    assert bundle.manifest.opset == opset
    session = onnxruntime.InferenceSession(bundle.path / "model.onnx")
    noise = torch.rand(2, 4, 5, 7)
    for x in (noise + 1000, torch.full_like(noise, 0.3)):
        ours, _ = session.run(None, {"x": x.numpy()})
        exact = copy.deepcopy(norm).double()(x.double())
        np.testing.assert_allclose(ours, exact.detach().numpy(), rtol=0, atol=5e-3)


@pytest.mark.first_case
@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda x: torch.cummax(x, 1), id="cummax"),
        pytest.param(lambda x: torch.cummin(x, 1), id="cummin"),
        pytest.param(lambda x: x.median(1), id="median"),
        pytest.param(lambda x: torch.searchsorted(torch.linspace(-1, 1, 5), x), id="searchsorted"),
    ],
)
def test_nan_goes_where_pytorch_has_it(function: Function, tmp_path: Path) -> None:
    bundle = exported(Module(function), ROWS, tmp_path)
    x = torch.tensor([[0.5, 0.25, torch.nan, 0.75, torch.nan, 0.1], [0.5, 0.25, 0.25, 0.75, 1, 0.1]])
    session = onnxruntime.InferenceSession(bundle.path / "model.onnx")
    expected = function(x)
    written = session.run(None, {"x": x.numpy()})
    for ours, theirs in zip(written, expected if isinstance(expected, tuple) else [expected], strict=True):
        np.testing.assert_array_equal(ours, theirs.numpy())


class Named(torch.nn.Module):
    """Its inputs and outputs have the names that torch's exporter gives to values of its operators."""

    def forward(self, cat: Tensor, add: Tensor) -> dict[str, Tensor]:
        joined = torch.cat([cat, add], 1)
        return {"relu": joined + 1, "tanh": joined.relu(), "joined": torch.tanh(joined)}


def test_names_of_operators_are_names_of_inputs_and_outputs(tmp_path: Path) -> None:
    form = {"cat": "float32[batch, 4]", "add": "float32[batch, 4]"}, {"batch": "1..3"}
    bundle = exported(Named(), form, tmp_path)
    assert bundle.verdict is not None
    assert bundle.verdict.passed
    assert [spec.name for spec in bundle.manifest.contract.outputs] == ["relu", "tanh", "joined"]


def test_what_torch_writes_rightly_stays(tmp_path: Path) -> None:
    """A pool whose windows are known, and attention without a mask, are torch's own."""
    form = {"x": "float32[batch, 4, 12, 12] in -1..1"}, {"batch": "1..3"}
    bundle = exported(Module(lambda x: F.adaptive_avg_pool2d(x, 4)), form, tmp_path)
    kinds = [node.op_type for node in onnx.load(bundle.path / "model.onnx").graph.node]
    assert kinds == ["AveragePool"]
