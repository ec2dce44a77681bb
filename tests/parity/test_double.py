"""Whoever asks for float32 inside the float64 modes gets float64, and does not notice."""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._higher_order_ops.associative_scan import associative_scan
from torch._higher_order_ops.map import map as torch_map
from torch._higher_order_ops.scan import scan
from torch._higher_order_ops.switch import switch
from torch._higher_order_ops.while_loop import while_loop
from torch._ops import HigherOrderOperator
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.attention.flex_attention import flex_attention
from torch.utils.checkpoint import checkpoint

from onnxproof.wrappers.attention import without_fast_path
from onnxproof.wrappers.double import weights
from onnxproof.wrappers.double.float64 import Float64

TABLE = torch.linspace(-1, 1, 8)
"""A float32 tensor that a module reaches without owning it."""

SCRATCH = torch.zeros(8)


@pytest.fixture(autouse=True, params=["widened as a whole", "widened where it is read"])
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module is widened as a whole, or each parameter where it is read, as a large module's are."""
    if request.param == "widened where it is read":
        monkeypatch.setattr(weights, "MOST_WIDENED", 0)
        monkeypatch.setattr(weights, "FEWEST_LENT", 1)
    return str(request.param)


class Net(nn.Module):
    """A function of a linear layer and of an input."""

    def __init__(self, run: Callable[["Net", Tensor], Any], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.run = run
        self.layer = nn.Linear(8, 8).to(dtype)
        self.third = torch.arange(8, dtype=torch.float32) / 3
        self.nested = {"tables": [torch.full((8,), 0.1)]}

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


X = torch.from_numpy(np.random.default_rng(1).uniform(-1, 1, (2, 8)).astype(np.float32))
WIDE = X.double().numpy()
LOWEST = float(torch.finfo(torch.float32).min)


def exactly(run: Callable[[Net, Tensor], Any], x: Tensor = X, **more: Any) -> np.ndarray[Any, Any]:
    """What the function computes in the modes; no number may have been rounded."""
    given = Float64(Net(run, **more).eval())
    with given.running():
        returned = given.module(given.widen(x))
    found, rounded = given.result(returned)
    assert rounded is None
    assert found.dtype == torch.float64
    return found.numpy()


def layer(x: np.ndarray[Any, Any], dtype: torch.dtype = torch.float32) -> np.ndarray[Any, Any]:
    """What the net's layer computes, in float64."""
    own = Net(lambda _, x: x, dtype).layer
    weight, bias = (tensor.detach().double().numpy() for tensor in (own.weight, own.bias))
    result: np.ndarray[Any, Any] = x @ weight.T + bias
    return result


def net_table() -> np.ndarray[Any, Any]:
    """The net's float32 attribute, in float64."""
    table: np.ndarray[Any, Any] = Net(lambda _, x: x).third.double().numpy()
    return table


def filled(net: Net, x: Tensor) -> Tensor:
    y = torch.empty(x.shape)
    y[:, :4] = net.layer(x)[:, :4]
    y[:, 4:] = 0.3
    return y


def in_place(net: Net, x: Tensor) -> Tensor:
    SCRATCH.zero_()
    SCRATCH.add_(net.layer(x)[0])
    return SCRATCH[None] / 3


def by_dtype(net: Net, x: Tensor) -> Any:
    y = net.layer(x)
    return y / 3 if y.dtype == torch.float32 and net.layer.weight.dtype == torch.float32 else y


def by_type(net: Net, x: Tensor) -> Any:
    return net.layer(x) / 3 if x.type() == "torch.FloatTensor" else x


def by_default_dtype(net: Net, x: Tensor) -> Tensor:
    return x * torch.full((8,), 0.1, dtype=torch.get_default_dtype())


def not_a_copy(_: Net, x: Tensor) -> Tensor:
    y = x / 3
    y.float().mul_(2)
    return y


def autocast_off(net: Net, x: Tensor) -> Any:
    with torch.autocast("cpu", enabled=False):
        return net.layer(x.float())


@torch.no_grad()
def gradless(net: Net, x: Tensor) -> Any:
    return net.layer(x).float()


def autocast(net: Net, x: Tensor) -> Any:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return net.layer(x / 3).float()


ASKED = [
    pytest.param(lambda _, x: x * torch.tensor([0.1]), WIDE * 0.1, id="tensor"),
    pytest.param(lambda _, x: x * torch.tensor(0.1, dtype=torch.float32), WIDE * 0.1, id="tensor-of-dtype"),
    pytest.param(lambda _, x: x * torch.as_tensor([0.1]), WIDE * 0.1, id="as_tensor"),
    pytest.param(lambda _, x: x * torch.asarray([0.1]), WIDE * 0.1, id="asarray"),
    pytest.param(lambda _, x: x * x.new_tensor([0.1]), WIDE * 0.1, id="new_tensor"),
    pytest.param(lambda _, x: x * torch.scalar_tensor(0.1), WIDE * 0.1, id="scalar_tensor"),
    pytest.param(lambda _, x: x / 3 + torch.zeros(8), WIDE / 3, id="zeros"),
    pytest.param(lambda _, x: x / 3 + torch.zeros(8, dtype=torch.float), WIDE / 3, id="zeros-of-dtype"),
    pytest.param(lambda _, x: (x / 3) @ torch.eye(8), WIDE / 3, id="eye"),
    pytest.param(lambda _, x: x * torch.ones(8).div(3), WIDE / 3, id="ones"),
    pytest.param(lambda _, x: x * torch.full((8,), 0.1), WIDE * 0.1, id="full"),
    pytest.param(lambda _, x: x * torch.full((8,), 0.1, dtype=torch.float32), WIDE * 0.1, id="full-of-dtype"),
    pytest.param(lambda _, x: x * torch.linspace(0, 1, 8), WIDE * np.linspace(0, 1, 8), id="linspace"),
    pytest.param(lambda _, x: x * torch.arange(0, 0.8, 0.1), WIDE * (np.arange(8) * 0.1), id="arange"),
    pytest.param(
        lambda _, x: x * torch.arange(8, dtype=torch.float32).div(7), WIDE * np.arange(8) / 7, id="arange-of"
    ),
    pytest.param(filled, np.hstack((layer(WIDE)[:, :4], np.full((2, 4), 0.3))), id="written-into-an-empty"),
    pytest.param(lambda _, x: x * torch.empty(8).fill_(0.1), WIDE * 0.1, id="an-empty-filled"),
    pytest.param(lambda net, x: net.layer(x).float(), layer(WIDE), id="float"),
    pytest.param(lambda net, x: net.layer(x).to(torch.float32), layer(WIDE), id="to"),
    pytest.param(lambda net, x: net.layer(x).to("cpu", torch.float32), layer(WIDE), id="to-device-and-dtype"),
    pytest.param(lambda net, x: net.layer(x).to(dtype=torch.float32), layer(WIDE), id="to-by-name"),
    pytest.param(lambda net, x: net.layer(x).to(TABLE), layer(WIDE), id="to-another"),
    pytest.param(lambda net, x: net.layer(x).to(tensor=TABLE), layer(WIDE), id="to-another-by-name"),
    pytest.param(lambda net, x: net.layer(x).type_as(TABLE), layer(WIDE), id="type_as"),
    pytest.param(lambda net, x: net.layer(x).type(torch.float32), layer(WIDE), id="type"),
    pytest.param(lambda net, x: net.layer(x).type("torch.FloatTensor"), layer(WIDE), id="type-by-name"),
    pytest.param(lambda net, x: net.layer(x).type(torch.FloatTensor), layer(WIDE), id="type-by-class"),
    pytest.param(lambda _, x: (x / 3).double().float(), WIDE / 3, id="double-and-back"),
    pytest.param(lambda _, x: (x / 3).sum(1, dtype=torch.float32), (WIDE / 3).sum(1), id="sum-of-dtype"),
    pytest.param(
        lambda _, x: torch.softmax(x, 1, dtype=torch.float32),
        np.exp(WIDE) / np.exp(WIDE).sum(1, keepdims=True),
        id="softmax-of-dtype",
    ),
    pytest.param(lambda _, x: x * (torch.arange(8) / 7), WIDE * np.arange(8) / 7, id="integers-divided"),
    pytest.param(lambda _, x: x * torch.arange(8).sqrt(), WIDE * np.sqrt(np.arange(8)), id="integers-rooted"),
    pytest.param(lambda _, x: x * (torch.arange(8) * 0.1), WIDE * np.arange(8) * 0.1, id="integers-scaled"),
    pytest.param(lambda net, x: x * net.third / 3, WIDE * net_table() / 3, id="attribute"),
    pytest.param(
        lambda net, x: x * net.nested["tables"][0] / 3,
        WIDE * float(np.float32(0.1)) / 3,
        id="attribute-nested",
    ),
    pytest.param(lambda _, x: x * TABLE / 3, WIDE * TABLE.double().numpy() / 3, id="closure"),
    pytest.param(lambda _, x: torch.cat((x / 3, TABLE[None])), None, id="closure-in-a-list"),
    pytest.param(in_place, layer(WIDE)[:1] / 3, id="closure-written-in-place"),
    pytest.param(
        lambda _, x: x * torch.from_numpy(np.full(8, 0.1, np.float32)),
        WIDE * float(np.float32(0.1)),
        id="numpy",
    ),
    pytest.param(lambda _, x: x / 3 * torch.Tensor([0.5]), WIDE / 6, id="legacy-constructor"),
    pytest.param(lambda _, x: x / 3 * torch.FloatTensor([0.5]), WIDE / 6, id="legacy-typed-constructor"),
    pytest.param(by_dtype, layer(WIDE) / 3, id="branch-on-dtype"),
    pytest.param(by_type, layer(WIDE) / 3, id="branch-on-type"),
    pytest.param(by_default_dtype, WIDE * 0.1, id="default-dtype"),
    pytest.param(lambda _, x: x / 3 + torch.zeros(8, dtype=x.dtype), WIDE / 3, id="dtype-of-the-input"),
    pytest.param(
        lambda _, x: x * torch.full((8,), 0.1, dtype=torch.result_type(x, 1)), WIDE * 0.1, id="result_type"
    ),
    pytest.param(
        lambda _, x: x * torch.full((8,), 0.1, dtype=torch.promote_types(x.dtype, torch.float16)),
        WIDE * 0.1,
        id="promote_types",
    ),
    pytest.param(lambda _, x: x / 3 + torch.finfo(x.dtype).eps, WIDE / 3 + 2.0**-23, id="finfo"),
    pytest.param(
        lambda _, x: nn.functional.rms_norm(x / 1e4, (8,)),
        WIDE / 1e4 / np.sqrt(np.mean((WIDE / 1e4) ** 2, 1, keepdims=True) + 2.0**-23),
        id="eps-of-a-norm",
    ),
    pytest.param(
        lambda _, x: (
            (torch.full_like(x, -torch.inf).nan_to_num() + torch.nan_to_num(x / 0, posinf=3.0)) * 0.1
        ),
        (np.where(WIDE > 0, 3.0, LOWEST) + LOWEST) * 0.1,
        id="nan_to_num",
    ),
    pytest.param(not_a_copy, WIDE / 3 * 2, id="a-cast-that-copies-nothing"),
    pytest.param(autocast_off, layer(WIDE), id="autocast-off"),
    pytest.param(gradless, layer(WIDE), id="no_grad"),
    pytest.param(
        lambda _, x: torch.view_as_real(torch.polar(torch.ones(8), TABLE).to(torch.complex64))[:, 0] * x[0],
        np.cos(TABLE.double().numpy()) * WIDE[0],
        id="complex",
    ),
]


@pytest.mark.parametrize(("run", "wanted"), ASKED)
def test_float32_is_answered_with_float64(
    run: Callable[[Net, Tensor], Tensor], wanted: np.ndarray[Any, Any] | None
) -> None:
    found = exactly(run)
    if wanted is None:
        wanted = np.vstack((WIDE / 3, TABLE.double().numpy()[None]))
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        plain = Net(run).eval()(X)
    assert plain.dtype == torch.float32
    assert np.abs(plain.numpy() - wanted).max() > 1e-10


def rounded(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """To float16's values."""
    result: np.ndarray[Any, Any] = x.astype(np.float16).astype(np.float64)
    return result


def to_bfloat16(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Rounded to bfloat16's values."""
    result: np.ndarray[Any, Any] = torch.from_numpy(x).bfloat16().double().numpy()
    return result


WEIGHT, BIAS = (
    tensor.detach().numpy() for tensor in Float64(Net(lambda _, x: x, torch.float16)).module.parameters()
)


def casts_twice(_: Net, x: Tensor) -> Tensor:
    half = x.half() / 3
    return half.half().to(torch.float16).float()


def follows_the_weights(net: Net, x: Tensor) -> Any:
    return net.layer(x.to(net.layer.weight.dtype)).to(x.dtype)


def written_into_a_half(_: Net, x: Tensor) -> Tensor:
    half = torch.zeros(2, 8, dtype=torch.float16)
    half[:] = x / 3
    return half


def promoted(_: Net, x: Tensor) -> Tensor:
    # With float32 the half becomes float32, which the second cast rounds; with a number it stays a half.
    return (x.half() * 3 * x).half() + (x.half() / 3).half()


@pytest.mark.parametrize(
    ("run", "wanted"),
    [
        pytest.param(lambda _, x: x.half().float() / 3, rounded(WIDE) / 3, id="a-cast-rounds"),
        pytest.param(lambda _, x: x.to(torch.float16) / 3, rounded(WIDE) / 3, id="nothing-after-it-rounds"),
        pytest.param(casts_twice, rounded(WIDE) / 3, id="a-cast-of-a-half-to-a-half-casts-nothing"),
        pytest.param(written_into_a_half, rounded(WIDE / 3), id="written-into-a-half"),
        pytest.param(
            promoted, rounded(rounded(WIDE) * 3 * WIDE) + rounded(WIDE) / 3, id="promoted-as-in-pytorch"
        ),
        pytest.param(
            lambda _, x: x * torch.tensor(0.1, dtype=torch.float16),
            WIDE * rounded(np.array(0.1)),
            id="constant",
        ),
    ],
)
def test_only_a_cast_to_half_rounds(
    run: Callable[[Net, Tensor], Tensor], wanted: np.ndarray[Any, Any]
) -> None:
    np.testing.assert_allclose(exactly(run), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("run", "wanted"),
    [
        pytest.param(
            follows_the_weights, layer(WIDE, torch.float16), id="a-cast-to-the-dtype-of-the-weights"
        ),
        pytest.param(lambda _, x: x.half().float() / 3, WIDE / 3, id="there-and-back"),
        pytest.param(written_into_a_half, WIDE / 3, id="written-into-a-half"),
        pytest.param(lambda _, x: x.bfloat16().float() / 3, to_bfloat16(WIDE) / 3, id="a-cast-to-the-other"),
        pytest.param(
            autocast, to_bfloat16(WIDE / 3) @ to_bfloat16(WEIGHT).T + to_bfloat16(BIAS), id="autocast"
        ),
    ],
)
def test_a_cast_to_the_half_that_a_module_is_held_in_does_not_round(
    run: Callable[[Net, Tensor], Tensor], wanted: np.ndarray[Any, Any]
) -> None:
    np.testing.assert_allclose(exactly(run, dtype=torch.float16), wanted, rtol=1e-12, atol=1e-12)


def test_a_module_in_half_sees_halves_and_rounds_nothing() -> None:
    def run(net: Net, x: Tensor) -> Any:
        assert {x.dtype, net.layer.weight.dtype, net.layer(x).dtype, x.new_zeros(3).dtype} == {torch.float16}
        assert x[0].t().contiguous().dtype == (x * 2).dtype == torch.float16
        return net.layer(x.half()).half()

    half = X.half()
    found = exactly(run, half, dtype=torch.float16)
    np.testing.assert_allclose(found, layer(half.double().numpy(), torch.float16), rtol=1e-12, atol=1e-12)


def told(run: Callable[[Net, Tensor], Any]) -> list[str | None]:
    """Why each of the returned tensors was rounded to float32, as the modes tell it."""
    given = Float64(Net(run).eval())
    with given.running():
        returned = given.module(given.widen(X))
    return [given.result(tensor)[1] for tensor in returned]


def through_numpy(net: Net, x: Tensor) -> tuple[Tensor, ...]:
    table = torch.from_numpy(np.ones(8, np.float32))
    there = torch.from_numpy(np.sin(net.layer(x).numpy()).astype(np.float32))
    return x * table, there, (there + x)[:1].reshape(-1), net.layer(x)


def through_bits(net: Net, x: Tensor) -> tuple[Tensor, ...]:
    bits = x.view(torch.int32)
    return bits, (bits >> 23).float() * x, net.layer(x)


def without_a_kernel(net: Net, x: Tensor) -> tuple[Tensor, ...]:
    rounded = torch.ops.aten.quantize_per_tensor(x, 0.1, 0, torch.qint8).dequantize()
    return rounded, torch.relu(rounded), net.layer(x)


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions:UserWarning")
def test_what_goes_through_float32_is_told_and_nothing_else() -> None:
    left = "its numbers went through NumPy in float32"
    assert told(through_numpy) == [None, left, left, None]
    bits = "it is made of the bits of float32 numbers"
    assert told(through_bits) == [bits, bits, None]
    kernel = "PyTorch has no quantize_per_tensor in float64"
    assert told(without_a_kernel) == [kernel, kernel, None]


def test_the_bits_of_numbers_are_those_of_float32() -> None:
    given = Float64(Net(lambda _, x: x.view(torch.int32)).eval())
    with given.running():
        found = given.module(given.widen(X))
    assert torch.equal(found, X.view(torch.int32))


def test_an_error_of_the_module_is_its_own() -> None:
    given = Float64(Net(lambda _, x: x @ x).eval())
    with pytest.raises(RuntimeError, match="cannot be multiplied"), given.running():
        given.module(given.widen(X))
    assert torch.get_default_dtype() == torch.float32


def test_a_scripted_function_keeps_no_constants_of_the_modes() -> None:
    def third(x: Tensor) -> Tensor:
        """TorchScript computes its constant once and keeps it."""
        return x * (torch.ones(8) / 3)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        scripted = torch.jit.script(third)
    np.testing.assert_allclose(exactly(lambda _, x: scripted(x)), WIDE / 3, rtol=1e-12, atol=1e-12)
    for _ in range(3):
        assert scripted(X).dtype == torch.float32


def test_state_lasts_from_run_to_run_in_the_copy_alone() -> None:
    def run(net: Net, x: Tensor) -> Tensor:
        net.third += net.layer(x)[0]
        return net.third * 1

    net = Net(run).eval()
    given, before = Float64(net), net.third.clone()
    answers = []
    for _ in range(2):
        with given.running():
            answers.append(given.module(given.widen(X)).numpy())
    np.testing.assert_allclose(answers[0], before.double().numpy() + layer(WIDE)[0], rtol=1e-12)
    np.testing.assert_allclose(answers[1], before.double().numpy() + 2 * layer(WIDE)[0], rtol=1e-6)
    assert torch.equal(net.third, before)


def test_a_module_that_keeps_a_computed_tensor_is_copied() -> None:
    net = Net(lambda net, x: x * vars(net)["kept"]).eval()
    kept = net.layer.weight[0] * 2
    vars(net)["kept"] = kept
    given = Float64(net)
    with given.running():
        found = given.module(given.widen(X))
    np.testing.assert_allclose(found, WIDE * kept.detach().double().numpy(), rtol=1e-12)


def test_an_input_given_in_float64_stands_for_float32() -> None:
    given = Float64(Net(by_dtype).eval())
    with given.running():
        found = given.module(given.widen(X.double() * (1 + 2.0**-52), torch.float32))
    np.testing.assert_allclose(found.numpy(), layer(WIDE) / 3, rtol=1e-12)


def test_transformer_layers_run_as_they_are_written_in_python() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    net = nn.TransformerEncoder(layer, 1).eval()
    given, padded = Float64(net), torch.tensor([[False, False, True]])
    x = torch.ones(1, 3, 8) / 3
    with torch.no_grad(), without_fast_path():
        plain = net(x, src_key_padding_mask=padded)
    with given.running():
        found = given.module(given.widen(x), src_key_padding_mask=padded)
    torch.testing.assert_close(found.float(), plain)
    assert found[0, 2].any()
    assert found.dtype == torch.float64


def test_the_module_itself_stays_as_it_is() -> None:
    net = Net(lambda net, x: net.layer(x)).eval()
    Float64(net)
    assert {tensor.dtype for tensor in net.state_dict().values()} == {torch.float32}


class Untied(nn.Module):
    """A layer whose weight is read by two operations, one of which may write into it."""

    def __init__(self, *, writes: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.writes = nn.Linear(8, 8), writes

    def forward(self, x: Tensor) -> Tensor:
        first = self.layer(x)
        if self.writes:
            self.layer.weight.t()[0].add_(1.0)
        again: Tensor = self.layer(first)
        return again


@pytest.mark.parametrize("writes", [False, True])
def test_a_parameter_that_the_module_writes_to_changes_in_the_copy_alone(writes: bool) -> None:
    net = Untied(writes=writes).eval()
    before = net.layer.weight.detach().clone()
    given, wide = Float64(net), Untied(writes=writes).eval().double()
    with torch.no_grad():
        wanted = [wide(X.double()).numpy() for _ in range(2)]
    for answer in wanted:
        with given.running():
            np.testing.assert_array_equal(given.module(given.widen(X)).numpy(), answer)
    assert torch.equal(net.layer.weight, before)
    assert net.layer.weight.dtype == torch.float32


def test_moved_numbers_are_the_same_however_the_module_is_widened(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def move(name: str, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return values + len(name)

    def answer() -> np.ndarray[Any, Any]:
        given = Float64(nn.Sequential(net, nn.BatchNorm1d(8)).eval(), move)
        with given.running():
            found: np.ndarray[Any, Any] = given.module(given.widen(X)).numpy()
        return found

    net = Untied(writes=False)
    found = answer()
    monkeypatch.setattr(weights, "MOST_WIDENED", 2**27)
    np.testing.assert_array_equal(found, answer())
    assert how


def test_a_large_module_is_widened_one_parameter_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "MOST_WIDENED", 0)
    monkeypatch.setattr(weights, "FEWEST_LENT", 1)
    net = nn.Sequential(*(nn.Linear(8, 8) for _ in range(6))).eval()
    made: list[StorageWeakRef] = []
    alive: list[int] = []
    copy_of = weights.Lent.copy_of

    def watched(lent: weights.Lent, tensor: Tensor) -> Tensor:
        copy = copy_of(lent, tensor)
        made.append(StorageWeakRef(copy.untyped_storage()))  # type: ignore[no-untyped-call]
        alive.append(sum(not one.expired() for one in made))  # type: ignore[no-untyped-call]
        return copy

    monkeypatch.setattr(weights.Lent, "copy_of", watched)
    given = Float64(net)
    with given.running():
        given.module(given.widen(X))
    assert len(made) == 12
    assert max(alive) == 2, "a layer's weight and its bias"
    assert all(one is other for one, other in zip(net.parameters(), given.module.parameters(), strict=True))


def test_a_table_in_a_functions_cache_does_not_pass_between_the_runs() -> None:
    @functools.lru_cache(maxsize=1)
    def tables(size: int, dtype: torch.dtype) -> tuple[dict[str, Tensor], ...]:
        return ({"third": torch.arange(size, dtype=dtype) / 3},)

    def added(net: Net, x: Tensor) -> Tensor:
        return x + tables(x.shape[1], x.dtype)[0]["third"]

    net = Net(added).eval()
    plain = net(X)
    found = exactly(added)
    np.testing.assert_allclose(found, WIDE + np.arange(8) / 3, rtol=1e-15)
    assert net(X).dtype == torch.float32
    assert torch.equal(net(X), plain)


def test_an_entry_of_a_cache_that_contains_itself_is_kept() -> None:
    @functools.cache
    def looped() -> dict[str, Any]:
        found: dict[str, Any] = {}
        found["itself"] = [found]
        return found

    first = looped()
    exactly(lambda net, x: net.layer(x))
    assert looped() is first


def branched(net: Net, x: Tensor) -> Any:
    return torch.cond(x.sum() > 0, lambda x: net.layer(x) / 3, lambda x: net.layer(x) / 7, (x,))


def branched_by_dtype(net: Net, x: Tensor) -> Any:
    def chosen(x: Tensor) -> Any:
        return net.layer(x) / 3 if x.dtype == torch.float32 else x

    return torch.cond(x.sum() > 0, chosen, chosen, (x,))


def branched_on_a_dict(net: Net, x: Tensor) -> Any:
    both = torch.cond(
        x.sum() > 0,
        lambda given: {"a": net.layer(given["x"]) / 3},
        lambda given: {"a": given["x"] / 7},
        ({"x": x},),
    )
    return both["a"]


def switched(net: Net, x: Tensor) -> Any:
    return switch(torch.tensor(1), (lambda x: x / 7, lambda x: net.layer(x) / 3), (x,))


def looped(net: Net, x: Tensor) -> Any:
    def body(at: Tensor, held: dict[str, Tensor]) -> Any:
        return at + 1, {"x": net.layer(held["x"])}

    return while_loop(lambda at, _: at < 2, body, (torch.tensor(0), {"x": x}))[1]["x"]  # type: ignore[no-untyped-call]


def never_looped(_: Net, x: Tensor) -> Any:
    return while_loop(lambda at, _: at < 0, lambda at, x: (at + 1, x / 7), (torch.tensor(0), x))[1] / 3  # type: ignore[no-untyped-call]


def scanned(net: Net, x: Tensor) -> Any:
    def step(held: Tensor, row: Tensor) -> Any:
        return held + net.layer(row), {"y": (held / 3).clone()}

    found: list[Any] = [*scan(step, torch.zeros(8), x, reverse=True)]
    return torch.cat((found[0][None], found[1]["y"]))


def scanned_over_nothing(net: Net, x: Tensor) -> Any:
    _, stacked = scan(lambda held, row: (held + row, net.layer(row)), torch.zeros(8), x[:0])
    return torch.cat((stacked, x / 3))


def combined(net: Net, x: Tensor) -> Any:
    def both(one: dict[str, Tensor], other: dict[str, Tensor]) -> Any:
        return {"a": one["a"] * other["a"], "b": other["a"] * one["b"] + other["b"]}

    returned: dict[str, Any] = dict(associative_scan(both, {"a": net.layer(x), "b": x / 3}, 0))
    return returned["b"]


def attended(net: Net, x: Tensor) -> Any:
    heads = net.layer(x).reshape(1, 1, 2, 8)
    return flex_attention(heads, heads, heads, score_mod=lambda score, _, __, q, k: score + (q - k) / 3)


def attended_answer() -> np.ndarray[Any, Any]:
    heads = layer(WIDE)
    scores = heads @ heads.T / np.sqrt(8) + (np.arange(2)[:, None] - np.arange(2)) / 3
    weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    result: np.ndarray[Any, Any] = (weights @ heads).reshape(1, 1, 2, 8)
    return result


def compiled(net: Net, x: Tensor) -> Any:
    inside: Any = torch.compile(net.layer, backend="eager")
    return inside(x)


BRANCH = layer(WIDE) / (3 if X.sum() > 0 else 7)
ROWS = layer(WIDE)

CONTROLLED = [
    pytest.param(branched, BRANCH, id="cond"),
    pytest.param(branched_by_dtype, layer(WIDE) / 3, id="cond-that-asks-for-dtypes"),
    pytest.param(
        branched_on_a_dict, layer(WIDE) / 3 if X.sum() > 0 else WIDE / 7, id="cond-on-nested-operands"
    ),
    pytest.param(switched, layer(WIDE) / 3, id="switch"),
    pytest.param(looped, layer(layer(WIDE)), id="while_loop"),
    pytest.param(never_looped, WIDE / 3, id="while_loop-without-a-round"),
    pytest.param(lambda net, x: torch_map(net.layer, x), ROWS, id="map"),
    pytest.param(
        scanned,
        np.vstack((ROWS.sum(0), ROWS[1] / 3, np.zeros(8))),
        id="scan",
    ),
    pytest.param(scanned_over_nothing, WIDE / 3, id="scan-of-length-0"),
    pytest.param(
        combined, np.vstack((WIDE[0] / 3, ROWS[1] * WIDE[0] / 3 + WIDE[1] / 3)), id="associative_scan"
    ),
    pytest.param(attended, attended_answer(), id="flex_attention"),
    pytest.param(lambda net, x: checkpoint(net.layer, x, use_reentrant=False), layer(WIDE), id="checkpoint"),
    pytest.param(compiled, layer(WIDE), id="compiled-inside"),
]


@pytest.mark.filterwarnings("ignore:flex_attention called without:UserWarning")
@pytest.mark.parametrize(("run", "wanted"), CONTROLLED)
def test_control_flow_runs_in_float64(
    run: Callable[[Net, Tensor], Tensor], wanted: np.ndarray[Any, Any]
) -> None:
    np.testing.assert_allclose(exactly(run), wanted, rtol=1e-12, atol=1e-12)


def test_what_runs_control_flow_is_put_back() -> None:
    before = torch.compile, HigherOrderOperator.dispatch, torch.cond.__globals__["cond_op"]
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        exactly(lambda _, x: torch.cond(x.sum() > 9, lambda x: x / 3, lambda x: x @ x, (x,)))
    assert (torch.compile, HigherOrderOperator.dispatch, torch.cond.__globals__["cond_op"]) == before


class Unknown(HigherOrderOperator):
    """An operator that has no kernel of its own."""

    def __init__(self) -> None:
        super().__init__("of_another_package")  # type: ignore[no-untyped-call]

    def __call__(self, x: Tensor) -> Any:
        return super().__call__(x)  # type: ignore[no-untyped-call]


def test_an_operator_without_a_rule_is_told_by_its_name() -> None:
    unknown = Unknown()
    told = "PyTorch's operator of_another_package runs in no other dtype than its own"
    with pytest.raises(NotImplementedError, match=f"^{told}$"):
        exactly(lambda _, x: unknown(x))
