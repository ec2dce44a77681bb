"""What TorchScript's trace froze: named with its line, told apart into what is wrong and what is harmless."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import onnxproof
from onnxproof.export.capture import capture
from onnxproof.export.model import build_model
from onnxproof.job import load_job
from onnxproof.runtime.manifest import Frozen
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.validate.verdict import Check, Verdict
from onnxproof.wrappers.wrap import wrap_module

CONFIGS = Path(__file__).parents[2] / "configs"
TOKENS = {"ids": "int64[batch, time] in 0..999"}
PICTURE = {"x": "float32[batch, 3, height, width] in 0..1"}
SIZES = {"batch": "1..3", "height": "16..48 step 4", "width": "16..48 step 4"}


class Net(nn.Module):
    """A function as ``forward``, with a parameter and a place to keep something."""

    def __init__(self, run: Callable[["Net", Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.run = run
        self.weight = nn.Parameter(torch.rand(3, 1, 1))
        self.kept: Any = None

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


def frozen_by(run: Callable[[Net, Tensor], Any], dims: dict[str, str] = SIZES) -> tuple[Frozen, ...]:
    """What tracing a function of a picture froze. Every place is a line of this file."""
    model = wrap_module(
        Net(run),
        [TensorSpec.parse(name, text) for name, text in PICTURE.items()],
        [Dim.parse(name, text) for name, text in dims.items()],
    )
    found = capture(model, "torchscript", 20, optimize=False).frozen
    assert all(re.match(r"parity/test_tracing\.py:\d+ ", one.place) for one in found)
    return found


def branch_on_contents(s: Net, x: Tensor) -> Tensor:
    return x * 2 if (x > 0.9999).any() else x + 1


def branch_on_a_size(s: Net, x: Tensor) -> Tensor:
    return x * 2 if x.shape[2] > 40 else x + 1


def branch_on_batch_one(s: Net, x: Tensor) -> Tensor:
    return x * 2 if x.shape[0] == 1 else x + 1


def number_of_contents(s: Net, x: Tensor) -> Tensor:
    return x * float(x.max())


def item_of_contents(s: Net, x: Tensor) -> Tensor:
    return x + int(x.sum().item())


def size_as_a_number(s: Net, x: Tensor) -> Tensor:
    return x * int(x.shape[3])


def sizes_as_a_tensor(s: Net, x: Tensor) -> Tensor:
    return x / torch.tensor([x.shape[2], x.shape[3]]).sum()


def loop_over_a_size(s: Net, x: Tensor) -> Tensor:
    total = x
    for at in range(x.shape[0]):
        total = total + at
    return total


def loop_over_rows(s: Net, x: Tensor) -> Tensor:
    return torch.stack([row * 2 for row in x])


def through_numpy(s: Net, x: Tensor) -> Tensor:
    return x + torch.from_numpy(x.numpy() * 2)


def length_of_a_selection(s: Net, x: Tensor) -> Tensor:
    return x * 2 if x[x > 0.5].shape[0] > 10 else x + 1


def list_of_contents(s: Net, x: Tensor) -> Any:
    return x + sum(x[0, 0, 0].tolist())


@pytest.mark.parametrize(
    "run",
    [
        *(branch_on_contents, branch_on_a_size, branch_on_batch_one, number_of_contents, item_of_contents),
        *(size_as_a_number, sizes_as_a_tensor, loop_over_a_size, loop_over_rows, through_numpy),
        *(length_of_a_selection, list_of_contents),
    ],
)
def test_what_the_file_keeps_wrongly_is_a_fault(run: Callable[[Net, Tensor], Any]) -> None:
    wrong = [one for one in frozen_by(run) if not one.harmless]
    assert wrong
    assert all(f"(in {run.__name__})" in one.place or "in <listcomp>" in one.place for one in wrong)


def test_the_reason_names_the_size_and_the_values() -> None:
    (one,) = frozen_by(branch_on_a_size)
    assert one.reason == (
        "Python reads False of the inputs' sizes (bool), and the file keeps it; with height = 44 it reads "
        "True, and the model answers otherwise"
    )


def branch_on_one_size(s: Net, x: Tensor) -> Tensor:
    return x * 2 if x.shape[2] == 152 else x + 1


def branch_on_a_map_of_one_size(s: Net, x: Tensor) -> Tensor:
    rows = nn.functional.max_pool2d(x, 3, 2).shape[2] // 5
    return x * 2 if rows == 15 else x + 1


@pytest.mark.parametrize(("run", "size"), [(branch_on_one_size, 152), (branch_on_a_map_of_one_size, 152)])
def test_a_way_that_one_size_of_many_takes_is_found_without_a_run_at_each(
    run: Callable[[Net, Tensor], Any], size: int
) -> None:
    (one,) = frozen_by(run, {"batch": "1..3", "height": "16..400 step 4", "width": "16..48 step 4"})
    assert not one.harmless
    assert f"with height = {size} it reads True, and the model answers otherwise" in one.reason


def test_a_size_that_is_not_declared_takes_no_other_way() -> None:
    (one,) = frozen_by(branch_on_one_size, {"batch": "1..3", "height": "15..399 step 3", "width": "16"})
    assert one.harmless


def both_ways_alike(s: Net, x: Tensor) -> Tensor:
    return x * 2 if x.shape[2] > 40 else 2 * x


def never_in_range(s: Net, x: Tensor) -> Tensor:
    return x * 2 if x.shape[2] > 100 else x + 1


def a_number_that_nothing_uses(s: Net, x: Tensor) -> Tensor:
    s.kept = f"{int(x.shape[2])} {float(x.max()):.3f}"
    return x + 1


def a_refusal(s: Net, x: Tensor) -> Tensor:
    if (x < 0).any():
        raise ValueError("expected a picture")
    return x + 1


def of_parameters(s: Net, x: Tensor) -> Tensor:
    return x * s.weight if s.weight.sum() > 0 else x


def computed_again_for_other_sizes(s: Net, x: Tensor) -> Any:
    if s.kept is None or s.kept.shape[2:] != x.shape[2:]:
        s.kept = torch.ones_like(x[:1])
    return x + s.kept


def a_shortcut(s: Net, x: Tensor) -> Tensor:
    """Zeros need no product: the way that the file keeps is right for them, too."""
    return x.clone() if (x == 0).all() else x * s.weight


@pytest.mark.parametrize(
    "run",
    [
        *(both_ways_alike, never_in_range, a_number_that_nothing_uses, a_refusal, of_parameters),
        *(computed_again_for_other_sizes, a_shortcut),
    ],
)
def test_what_changes_nothing_is_advice(run: Callable[[Net, Tensor], Any]) -> None:
    found = frozen_by(run)
    assert found
    assert [one for one in found if not one.harmless] == []


def steps_of_joined_tensors(s: Net, x: Tensor) -> Tensor:
    """As a bidirectional recurrence counts its steps: of joined tensors, whose sizes are no contents."""
    both = torch.cat([x, x.flip(2)]) * s.weight
    state = both[:, :, 0]
    for at in range(both.shape[2]):
        state = state.tanh() + both[:, :, at]
    return state


@pytest.mark.parametrize(
    "run", [size_as_a_number, branch_on_a_size, sizes_as_a_tensor, steps_of_joined_tensors]
)
def test_a_size_that_dims_fix_is_harmless(run: Callable[[Net, Tensor], Any]) -> None:
    found = frozen_by(run, {"batch": "1..3", "height": "32", "width": "32"})
    assert [one for one in found if not one.harmless] == []


def follows(s: Net, x: Tensor) -> Tensor:
    rows = torch.arange(x.shape[2]).float()
    return (x * rows[:, None]).reshape(x.shape[0], -1) + torch.tensor(x.shape[2])


def test_what_the_trace_follows_is_not_told() -> None:
    assert [one for one in frozen_by(follows) if not one.harmless] == []


@pytest.mark.first_case
@pytest.mark.parametrize(
    "name", ["digits-reader", "digits-yolox", "digits-segmenter", "module-bert", "digits-maskrcnn"]
)
def test_healthy_jobs_froze_nothing_that_matters(name: str) -> None:
    if name == "module-bert":
        pytest.importorskip("transformers")
    job = load_job(CONFIGS / f"{name}.toml")
    model, _ = build_model(job)
    frozen = capture(model, "torchscript", 20, optimize=False).frozen
    assert [one for one in frozen if not one.harmless] == []
    assert bool(frozen) == (name == "module-bert")


class Seldom(nn.Module):
    """A branch on a token that seeded ids seldom hold."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(1000, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, ids: Tensor) -> Tensor:
        steps = self.embedding(ids)
        pooled = steps.max(1).values if (ids == 7).any() else steps.mean(1)
        answer: Tensor = self.head(pooled)
        return answer


def tracing(verdict: Verdict) -> Check:
    (found,) = (check for check in verdict.checks if check.name == "tracing")
    return found


def test_a_frozen_branch_fails_the_verdict_and_that_of_its_bundle(tmp_path: Path) -> None:
    bundle = onnxproof.export_module(
        Seldom().eval(),
        inputs=TOKENS,
        dims={"batch": "1..4", "time": "2..16"},
        out=tmp_path / "bundle",
        set=["validate.effort=quick"],
    )
    assert bundle.verdict is not None
    again = onnxproof.validate(bundle.path, model=Seldom())
    alone = onnxproof.validate(bundle.path, model=Seldom(), onnx=bundle.path / "model.onnx")
    for verdict in (bundle.verdict, again, alone):
        assert verdict.status == "fail"
        failed = {check.name for check in verdict.checks if check.status == "fail"}
        # Ids that the model compares with are drawn: there the branch is taken, and the function fails, too.
        assert failed == {"tracing", "function"}
        assert re.search(r"parity/test_tracing\.py:\d+ \(in forward\)", tracing(verdict).reason)
    assert bundle.manifest.simplify == "onnxsim"
    assert str(Path(__file__).parent) not in (bundle.path / "model.onnx").read_bytes().decode("latin-1")


def test_a_file_of_torch_export_froze_nothing(tmp_path: Path) -> None:
    bundle = onnxproof.export_module(
        nn.Conv2d(3, 4, 1).eval(),
        inputs=PICTURE,
        dims=SIZES,
        out=tmp_path / "bundle",
        set=["validate.effort=quick"],
    )
    assert bundle.verdict is not None
    assert bundle.manifest.frozen == ()
    assert tracing(bundle.verdict).status == "pass"
