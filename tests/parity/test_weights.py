"""Which tensors of a checkpoint may become a network's weights, and what is said of those that do."""

import math
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import onnxproof
from onnxproof.errors import CheckpointError
from onnxproof.export.checkpoint import load_checkpoint
from onnxproof.wrappers.family import Checkpoint
from onnxproof.wrappers.weights import load_weights, notes_on


class Network(nn.Module):
    """A weight, a vector, a count and a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 2))
        self.bias = nn.Parameter(torch.ones(2))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("mask", torch.ones(2, dtype=torch.bool))


def loaded(**replaced: Tensor) -> nn.Module:
    state = {**Network().state_dict(), **replaced}
    return load_weights(Network(), Checkpoint(Path("w.pth"), "", state), "the network", "advice")


def quantized() -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # PyTorch is about to give these up
        return torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8)


def sparse() -> Tensor:
    return torch.ones(2, 2).to_sparse()


@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        *(
            pytest.param(
                torch.ones(2, 2).to(dtype),
                f"weight is {str(dtype).removeprefix('torch.')}, expected float32; the numbers",
                id=str(dtype).removeprefix("torch."),
            )
            for dtype in (
                torch.bool,
                torch.uint8,
                torch.int8,
                torch.int32,
                torch.int64,
                torch.uint16,
                torch.float8_e4m3fn,
                torch.float8_e5m2,
            )
        ),
        pytest.param(
            torch.ones(2, 2).to(torch.complex64), "weight is complex64, expected float32", id="complex"
        ),
        pytest.param(quantized(), r"weight is quantized \(qint8\), expected float32", id="quantized"),
        pytest.param(sparse(), r"weight is sparse \(sparse_coo\).*to_dense", id="sparse"),
        pytest.param(torch.ones(2, 2, device="meta"), "weight is without values", id="meta"),
    ],
)
def test_a_tensor_that_would_change_its_meaning_is_refused(tensor: Tensor, says: str) -> None:
    with pytest.raises(CheckpointError, match=f"^checkpoint w.pth does not fit the network: {says}"):
        loaded(weight=tensor)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        pytest.param(3, "weight is a number, expected a tensor", id="a-number"),
        pytest.param(None, "weight is None, expected a tensor", id="none"),
        pytest.param([[1.0, 2.0]], "weight is a list, expected a tensor", id="a-nested-list"),
        pytest.param({"a": 1}, "weight is a dict, expected a tensor", id="a-dict"),
    ],
)
@pytest.mark.parametrize("wrapped", ["", "module."], ids=["bare", "of-a-wrapper"])
@pytest.mark.parametrize("envelope", [False, True], ids=["alone", "in-an-envelope"])
def test_what_is_there_and_no_tensor_is_not_called_missing(
    tmp_path: Path, value: object, says: str, wrapped: str, envelope: bool
) -> None:
    state = {wrapped + name: one for name, one in {**Network().state_dict(), "weight": value}.items()}
    torch.save({"model": state, "epoch": 3} if envelope else state, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=f"does not fit the network: {says}"):
        load_weights(Network(), load_checkpoint(tmp_path / "w.pth"), "the network", "advice")


@pytest.mark.parametrize("envelope", [False, True], ids=["alone", "in-an-envelope"])
def test_a_key_that_is_no_name_is_named(tmp_path: Path, envelope: bool) -> None:
    state: dict[str | int, Tensor] = dict(Network().state_dict().items())
    state[5] = torch.ones(1)
    torch.save({"model": state} if envelope else state, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="a tensor under the key 5, which is no name: names are texts"):
        load_checkpoint(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        pytest.param("count", torch.tensor(1.5), id="a-fraction-for-a-count"),
        pytest.param("count", torch.tensor(math.nan), id="nan-for-a-count"),
        pytest.param("mask", torch.tensor([0, 2]), id="more-than-a-truth"),
        pytest.param("mask", torch.tensor([1j, 0]), id="complex-for-a-truth"),
    ],
)
def test_a_buffer_whose_values_do_not_fit_is_refused(name: str, tensor: Tensor) -> None:
    with pytest.raises(CheckpointError, match=f"{name} is .* cannot hold, expected .*; save it as"):
        loaded(**{name: tensor})


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        pytest.param("weight", torch.full((2, 2), 0.1, dtype=torch.float64), id="float64"),
        pytest.param("weight", torch.full((2, 2), 0.5, dtype=torch.float16), id="float16"),
        pytest.param("weight", torch.full((2, 2), 0.5, dtype=torch.bfloat16), id="bfloat16"),
        pytest.param("count", torch.tensor(7, dtype=torch.int32), id="a-shorter-count"),
        pytest.param("count", torch.tensor(7.0), id="a-whole-float-for-a-count"),
        pytest.param("mask", torch.tensor([0, 1], dtype=torch.uint8), id="an-old-mask"),
    ],
)
def test_a_tensor_that_keeps_its_meaning_loads(name: str, tensor: Tensor) -> None:
    found = loaded(**{name: tensor}).state_dict()[name]
    assert found.dtype == Network().state_dict()[name].dtype
    assert torch.allclose(found.double(), tensor.double(), rtol=1e-7)


def test_all_misfits_are_counted() -> None:
    eight = torch.ones(2, 2, dtype=torch.int8)
    with pytest.raises(CheckpointError, match=r"expected float32 \(and 1 more\)"):
        loaded(weight=eight, bias=eight[0])


def test_a_network_without_memory_is_refused() -> None:
    with torch.device("meta"):
        network = nn.Linear(2, 2)
    state = nn.Linear(2, 2).state_dict()
    with pytest.raises(CheckpointError, match=r"maker has no memory for weight.*build it on the CPU"):
        load_weights(network, Checkpoint(Path("w.pth"), "", state), "maker", "advice")


def test_a_lazy_network_takes_the_shapes_of_the_checkpoint() -> None:
    state = nn.Linear(3, 2).state_dict()
    network = load_weights(nn.LazyLinear(2), Checkpoint(Path("w.pth"), "", state), "maker", "advice")
    assert torch.equal(network(torch.ones(1, 3)), nn.functional.linear(torch.ones(1, 3), **state))


ONES = torch.ones(2, 2)
ZEROS = torch.zeros(2, 2)


@pytest.mark.parametrize(
    ("state", "notes"),
    [
        pytest.param({"w": ONES, "bias": ZEROS[0], "count": torch.tensor(0)}, (), id="as-usual"),
        pytest.param(
            {"w": ONES.double() / 3},
            ("w is in the checkpoint as float64 and rounded to float32",),
            id="float64-that-rounds",
        ),
        pytest.param({"w": ONES.double()}, (), id="float64-that-does-not-round"),
        pytest.param(
            {"w": ONES.half(), "v": ONES.bfloat16()},
            ("2 tensors (w, v) are in the checkpoint in half precision; float32 holds the same numbers",),
            id="half",
        ),
        pytest.param(
            {"w": ONES, "v": ONES * math.nan},
            ("v is not finite in float32 (NaN or infinity)",),
            id="nan",
        ),
        pytest.param(
            {"w": ONES.double() * 1e300},
            (
                "w is in the checkpoint as float64 and rounded to float32",
                "w is not finite in float32 (NaN or infinity)",
            ),
            id="beyond-float32",
        ),
        pytest.param({"w": ONES, "v": ZEROS}, ("v is zero throughout",), id="one-weight-zero"),
        pytest.param(
            {"w": ZEROS, "v": ZEROS, "bias": ONES[0]},
            ("every weight is zero (w, v): was the model saved before it was trained or loaded?",),
            id="every-weight-zero",
        ),
        pytest.param(
            {"gain": ZEROS[0]},
            ("every weight is zero (gain): was the model saved before it was trained or loaded?",),
            id="vectors-alone-and-zero",
        ),
        pytest.param(
            {"w": ONES, **{f"v{n}": ZEROS for n in range(5)}},
            ("5 tensors (v0, v1, v2 and 2 more) are zero throughout",),
            id="many-weights-zero",
        ),
    ],
)
def test_what_is_odd_is_noted(state: dict[str, Tensor], notes: tuple[str, ...]) -> None:
    assert notes_on(state) == notes


def test_the_notes_reach_the_verdict_of_a_module_in_memory(tmp_path: Path) -> None:
    module = nn.Linear(2, 2)
    nn.init.zeros_(module.weight)
    bundle = onnxproof.export_module(
        module,
        inputs={"x": "float32[batch, 2] in 0..1"},
        dims={"batch": "1..4"},
        out=tmp_path / "zero",
        set=('export.exporter="torchscript"', 'validate.effort="quick"'),
    )
    assert bundle.verdict is not None
    for notes in (bundle.notes, bundle.verdict.notes):
        assert any(note.startswith("every weight is zero (weight)") for note in notes), notes
