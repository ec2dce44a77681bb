"""Cases hold the ids that a model treats specially, and masks that pad on the left and have holes."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

import onnxproof
from onnxproof.validate.cases import Case

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

WORDS, SPECIAL, PAD, END = 30_000, 29_871, 29_999, 29_998
IDS, MASK = f"int64[batch, time] in 0..{WORDS - 1}", "int64[batch, time] as mask"
DIMS = {"batch": "1..3", "time": "2..8"}
FAST = ("validate.effort=quick", "validate.threads=1")


class Silenced(nn.Module):
    """One id is read as nothing."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(WORDS, 4)

    def forward(self, ids: Tensor) -> Tensor:
        words = self.words(ids)
        return torch.where((ids + 1 == SPECIAL + 1).unsqueeze(-1), torch.zeros_like(words), words)


class Pooled(nn.Module):
    """The word at the first end of each text; the configuration alone names its id."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(WORDS, 4)
        self.config = SimpleNamespace(text_config=SimpleNamespace(pad_token_id=PAD, eos_token_id=[END]))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        (end,) = self.config.text_config.eos_token_id
        at = (ids == end).int().argmax(dim=1)
        pooled = self.words(ids).gather(1, at[:, None, None].expand(-1, 1, 4))[:, 0]
        kept: Tensor = pooled * mask.max(dim=1, keepdim=True).values
        return kept


class Placed(nn.Module):
    """Words know how many words are before them, and look back."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.places = nn.Embedding(60, 8), nn.Embedding(32, 8)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.words(ids) + self.places((mask.cumsum(-1) - 1).clamp(min=0))
        seen = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril() & mask[:, None].bool()
        looked: Tensor = (x @ x.transpose(-1, -2)).masked_fill(~seen, -1e9).softmax(-1) @ x
        return looked


class OnTheRight(Placed):
    """It is undefined where the first word is padding."""

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return super().forward(ids, mask) / mask[:, :1, None]


class WithoutHoles(Placed):
    """It refuses texts with holes. Tracing does not see that."""

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        if bool((mask.diff(dim=1).abs().sum(dim=1) > 1).any()):
            raise ValueError("a hole")
        return super().forward(ids, mask)


def written(model: nn.Module, folder: Path, *names: str) -> Path:
    """The file of a model of inputs with the axes batch and time."""
    target = folder / "model.onnx"
    torch.onnx.export(
        model.eval(),
        tuple(torch.ones(2, 5, dtype=torch.int64) for _ in names),
        str(target),
        dynamo=False,
        input_names=list(names),
        output_names=["output"],
        dynamic_axes={name: {0: "batch", 1: "time"} for name in names},
    )
    return target


def changed(file: Path, edit: Callable[[onnx.GraphProto], None]) -> Path:
    proto = onnx.load(file)
    edit(proto.graph)
    target = file.with_name("changed.onnx")
    onnx.save(proto, target)
    return target


def compares_with(before: int, after: int) -> Callable[[onnx.GraphProto], None]:
    """An edit that puts a number in place of another in all constants of one number."""

    def edit(graph: onnx.GraphProto) -> None:
        held = [node.attribute[0].t for node in graph.node if node.op_type == "Constant"]
        found = [one for one in (*graph.initializer, *held) if numpy_helper.to_array(one).size == 1]
        found = [one for one in found if numpy_helper.to_array(one).item() == before]
        assert found
        for tensor in found:
            array = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(np.full_like(array, after), tensor.name))

    return edit


def counts_all(graph: onnx.GraphProto) -> None:
    """Places count dropped steps, too: a cumulative sum of ones in place of the mask."""
    (at,) = (at for at, node in enumerate(graph.node) if node.op_type == "CumSum")
    one = numpy_helper.from_array(np.array([1], np.int64))
    graph.node[at].input[0] = "ones"
    graph.node.insert(at, helper.make_node("ConstantOfShape", ["shape"], ["ones"], value=one))
    graph.node.insert(at, helper.make_node("Shape", ["mask"], ["shape"]))


def judged(model: nn.Module, file: Path, *, effort: str = "quick", **inputs: str) -> onnxproof.Verdict:
    settings = [f"validate.effort={effort}", *FAST[1:]]
    return onnxproof.check_module(model, file, inputs=inputs, dims=DIMS, set=settings)


def more_of(verdict: onnxproof.Verdict) -> list[Case]:
    return [case for case in verdict.cases if case.text is not None or case.gaps]


def links_failed(verdict: onnxproof.Verdict) -> set[str]:
    return {link.link for link in verdict.links if link.status == "fail"}


def test_an_id_that_is_compared_with_is_drawn(tmp_path: Path) -> None:
    """And those beside it, so that a comparison with another number is seen."""
    file = written(Silenced(), tmp_path, "ids")
    right = judged(Silenced(), file, ids=IDS)
    assert right.passed
    (case,) = more_of(right)
    assert set(case.ids["ids"]) == {SPECIAL - 1, SPECIAL, SPECIAL + 1}
    assert onnxproof.Verdict.from_json(right.to_json()).cases == right.cases
    for other in (SPECIAL - 1, SPECIAL + 1, 5):
        moved = changed(file, compares_with(SPECIAL + 1, other + 1))
        assert "function" in links_failed(judged(Silenced(), moved, ids=IDS))


def test_the_file_s_own_id_is_drawn(tmp_path: Path) -> None:
    """It compares with an id, and the model with none."""
    file = written(Silenced(), tmp_path, "ids")
    words = nn.Embedding(WORDS, 4)
    words.load_state_dict(Silenced().words.state_dict())
    verdict = judged(nn.Sequential(words), file, ids=IDS)
    assert "function" in links_failed(verdict)


@pytest.mark.parametrize("time", ["2..8", pytest.param("2..77", marks=pytest.mark.slow)])
def test_an_id_that_the_configuration_names_is_at_the_end_of_texts(time: str, tmp_path: Path) -> None:
    file = written(Pooled(), tmp_path, "ids", "mask")
    right, wrong = (
        onnxproof.check_module(
            Pooled(), one, inputs={"ids": IDS, "mask": MASK}, dims={**DIMS, "time": time}, set=list(FAST)
        )
        for one in (file, changed(file, compares_with(END, -1)))
    )
    assert right.passed
    texts = [case for case in more_of(right) if case.text is not None]
    assert [(case.text.pad, case.text.ends) for case in texts if case.text] == [(PAD, (END,))] * 2
    assert "function" in links_failed(wrong)


@pytest.mark.parametrize(
    "effort", ["quick", *(pytest.param(one, marks=pytest.mark.slow) for one in ("normal", "thorough"))]
)
def test_padding_on_the_left_is_tried(effort: str, tmp_path: Path) -> None:
    inputs = {"ids": "int64[batch, time] in 0..59", "mask": MASK}
    file = written(Placed(), tmp_path, "ids", "mask")
    right = judged(Placed(), file, effort=effort, **inputs)
    assert right.passed
    assert [case.gaps for case in more_of(right)] == [("left", "holes")]
    assert not [note for note in right.notes if "is not tried" in note]
    wrong = judged(Placed(), changed(file, counts_all), effort=effort, **inputs)
    assert {"function", "runtime"} & links_failed(wrong)


def test_padding_on_the_left_of_one_row_is_tried(tmp_path: Path) -> None:
    inputs = {"ids": "int64[batch, time] in 0..59", "mask": MASK}
    file = written(Placed(), tmp_path, "ids", "mask")
    dims = {**DIMS, "batch": "1"}
    right, wrong = (
        onnxproof.check_module(Placed(), one, inputs=inputs, dims=dims, set=list(FAST))
        for one in (file, changed(file, counts_all))
    )
    assert right.passed
    assert [case.gaps for case in more_of(right)] == [("both",)]
    assert "function" in links_failed(wrong)


@pytest.mark.parametrize(
    ("model", "traced", "gaps", "told"),
    [
        pytest.param(
            OnTheRight(), OnTheRight(), ("holes",), "padding on the left is not tried: ", id="nan-on-the-left"
        ),
        pytest.param(
            WithoutHoles(), Placed(), ("left",), "a mask with holes is not tried: ", id="raises-at-holes"
        ),
    ],
)
def test_gaps_that_the_model_does_not_take_are_a_note(
    model: nn.Module, traced: nn.Module, gaps: tuple[Any, ...], told: str, tmp_path: Path
) -> None:
    inputs = {"ids": "int64[batch, time] in 0..59", "mask": MASK}
    verdict = judged(model, written(traced, tmp_path, "ids", "mask"), **inputs)
    assert verdict.passed
    assert [case.gaps for case in more_of(verdict)] == [gaps]
    (note,) = (note for note in verdict.notes if "is not tried" in note)
    assert note.startswith(told)


def test_a_model_without_such_inputs_has_no_more_cases(tmp_path: Path) -> None:
    words = nn.Sequential(nn.Embedding(50, 4))
    verdict = judged(words, written(words, tmp_path, "input"), input="int64[batch, time] in 0..49")
    assert verdict.passed
    assert not more_of(verdict)


def test_bisect_finds_the_comparison(tmp_path: Path) -> None:
    more = (*FAST, "export.exporter=torchscript")
    made = onnxproof.export_module(
        Silenced(), inputs={"ids": IDS}, dims=DIMS, out=tmp_path / "bundle", set=more
    )
    wrong = changed(made.path / "model.onnx", compares_with(SPECIAL + 1, 6)).rename(tmp_path / "wrong.onnx")
    found = onnxproof.bisect(made.path, model=Silenced(), onnx=wrong, out=tmp_path / "bisect")
    assert found.status == "node"
    assert "special-ids" in found.case["name"]
