"""Reported faults of sequences: gates, directions, places and masks."""

import math
from typing import Any

import torch
from soundness.fault import Editor, set_attribute
from soundness.reported.fault import Net, Reported, instead, surgery
from torch import Tensor, nn
from torch.nn import functional

STEPS = {"x": "float32[batch, time, 6] in -1..1"}
SIZES = {"batch": "1..3", "time": "2..8"}
MASKED = {"x": "float32[batch, time, 8] in -1..1", "mask": "int64[batch, time] in 0..1"}
LOWEST = torch.finfo(torch.float32).min


def recurrent(*, bidirectional: bool = False) -> nn.GRU:
    """A GRU whose gates have something to say."""
    layer = nn.GRU(6, 5, batch_first=True, bidirectional=bidirectional)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -1, 1)
    return layer


def both_ways(s: Any, x: Tensor) -> Any:
    """A GRU in both directions, each from its own learned state."""
    return s.r(x, s.h.expand(2, x.shape[0], 5).contiguous())[0]


def one_state(s: Any, x: Tensor) -> Any:
    """The same, both directions from the state of the first."""
    return s.r(x, s.h[:1].expand(2, x.shape[0], 5).contiguous())[0]


def swap_directions(editor: Editor) -> None:
    """Put the hidden axis before the directions where both are merged."""
    set_attribute(editor.behind(editor.node("GRU").output[0], "Transpose"), "perm", [0, 2, 3, 1])


def attention() -> Net:
    """Attention with boolean masks, by PyTorch's own function."""
    return Net(attend, q=nn.Linear(8, 8), k=nn.Linear(8, 8), v=nn.Linear(8, 8))


def attend(s: Any, x: Tensor, mask: Tensor) -> Any:
    """A row that may look at no step is 0."""
    seen = (mask != 0)[:, None, :].expand(-1, x.shape[1], -1)
    return functional.scaled_dot_product_attention(s.q(x), s.k(x), s.v(x), attn_mask=seen)


def attend_unsafely(s: Any, x: Tensor, mask: Tensor) -> Any:
    """A row that may look at no step is NaN."""
    scores = s.q(x) @ s.k(x).transpose(1, 2) / math.sqrt(8)
    scores = scores.masked_fill((mask == 0)[:, None, :], -math.inf)
    return torch.softmax(scores, -1) @ s.v(x)


def attend_with(value: float) -> Any:
    """Attention that adds ``value`` to the scores of masked steps."""

    def run(s: Any, x: Tensor, mask: Tensor) -> Any:
        scores = s.q(x) @ s.k(x).transpose(1, 2) / math.sqrt(8) + (mask == 0)[:, None, :] * value
        return torch.softmax(scores, -1) @ s.v(x)

    return run


def placed() -> Net:
    """Steps with the embedding of their place."""
    return Net(by_mask, p=nn.Embedding(9, 8), o=nn.Linear(8, 4))


def by_mask(s: Any, x: Tensor, mask: Tensor) -> Any:
    """Places count the steps that are not padding."""
    return s.o(x + s.p((mask.cumsum(1) - 1).clamp(min=0)))


def by_number(s: Any, x: Tensor, mask: Tensor) -> Any:
    """Places count all steps; the mask only has to stay an input."""
    return s.o(x + s.p(torch.arange(x.shape[1]) + 0 * mask))


FAULTS = (
    Reported(
        "gru_reset_before_product",
        "microsoft/onnxscript#2852",
        "PyTorch's GRU resets the state after its product with the weights",
        "linear_before_reset is not written, so that the state is reset before",
        "surgery",
        lambda: Net(lambda s, x: s.r(x)[0], r=recurrent()),
        STEPS,
        SIZES,
        surgery(lambda editor: set_attribute(editor.node("GRU"), "linear_before_reset", 0)),
    ),
    Reported(
        "bidirectional_initial_state",
        "microsoft/onnxruntime#1607",
        "each direction starts from its own state",
        "the second direction starts from another state than it is given: here, the first's",
        "emulated",
        lambda: Net(both_ways, r=recurrent(bidirectional=True), h=nn.Parameter(torch.randn(2, 1, 5))),
        STEPS,
        SIZES,
        instead(one_state),
    ),
    Reported(
        "bidirectional_axes",
        "pytorch/pytorch#11368",
        "the outputs are the first direction's states, then the second's",
        "the axes of directions and states are merged in the other order, so that both alternate",
        "surgery",
        lambda: Net(lambda s, x: s.r(x)[0], r=recurrent(bidirectional=True)),
        STEPS,
        SIZES,
        surgery(swap_directions),
    ),
    Reported(
        "places_count_padding",
        "huggingface/optimum#1381",
        "the first step behind the padding is at place 0",
        "exported without positions, so that the padding is counted",
        "emulated",
        placed,
        MASKED,
        SIZES,
        instead(by_number),
    ),
    Reported(
        "masked_rows_nan",
        "microsoft/onnxscript#2479",
        "attention to no step at all is 0",
        "the exported softmax over nothing but -inf is NaN",
        "emulated",
        attention,
        MASKED,
        SIZES,
        instead(attend_unsafely),
    ),
    Reported(
        "mask_value_small",
        "huggingface/transformers#17306",
        "the value added to masked scores swallows them: a row with nothing to see averages",
        "-1e4 leaves the differences of the scores",
        "emulated",
        lambda: Net(attend_with(LOWEST), q=nn.Linear(8, 8), k=nn.Linear(8, 8), v=nn.Linear(8, 8)),
        MASKED,
        SIZES,
        instead(attend_with(-1e4)),
    ),
    Reported(
        "softmax_not_flattened",
        "apache/tvm#20183",
        "Softmax up to opset 12 normalises over all axes from its own on",
        "read as of opset 13, over one axis only",
        "emulated",
        lambda: Net(lambda s, x: s.l(x).flatten(1).softmax(1).view(x.shape[0], -1, 5), l=nn.Linear(6, 5)),
        STEPS,
        SIZES,
        instead(lambda s, x: s.l(x).softmax(1)),
    ),
)
