"""Detectors without NMS: logits of queries, and rows that the graph's own top-k chose, pass as sets."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import onnxproof

SCENE = Path(__file__).parents[2] / "examples/digits/images/scene-01.png"
DIMS: dict[str, str | int] = {"batch": "1..3", "height": "64..128 step 32", "width": "64..128 step 32"}


class Queries(nn.Module):
    """A small network with queries: the best cells of a map are refined into boxes, as RT-DETR chooses them.

    Which cells are chosen, and in which order, hangs on scores that are often nearly equal. On a picture of
    one value most are equal. Boxes of ``rows`` lie where their cells do, so that another choice is another
    box.
    """

    def __init__(self, queries: int, columns: int, *, rows: bool = False) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.queries, self.rows = queries, rows
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 8, 8), nn.SiLU(), nn.Conv2d(16, 16, 3, 1, 1), nn.Tanh())
        self.logits, self.boxes = nn.Linear(16, columns), nn.Linear(16, 4)
        self.logits.weight.data *= 12
        self.logits.bias.data[3:] -= 6  # "no object", which softmax has

    def forward(self, picture: Tensor) -> Tensor | dict[str, Tensor]:
        found = self.stem(picture)
        cells = found.flatten(2).transpose(1, 2)
        best = self.logits(cells).amax(-1).topk(self.queries, dim=1).indices
        chosen = cells.gather(1, best[..., None].expand(-1, -1, 16))
        logits, boxes = self.logits(chosen), torch.sigmoid(4 * self.boxes(chosen))
        if not self.rows:
            return {"logits": logits, "pred_boxes": boxes}
        scores, label = torch.sigmoid(logits).max(-1)
        size = torch.tensor(picture.shape[-1:-3:-1], dtype=boxes.dtype).repeat(2)
        corners = torch.cat((boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2), -1)
        places = torch.stack(torch.meshgrid(*map(torch.arange, found.shape[-2:]), indexing="ij"), -1)
        middle = places.flatten(0, 1).flip(1)[best].to(boxes.dtype) * 8
        corners = corners * size / 2 + middle.repeat(1, 1, 2) / 2
        return torch.cat((corners, scores[..., None], label[..., None].to(boxes.dtype)), -1)


@pytest.mark.parametrize(
    ("decode", "columns"),
    [
        pytest.param("sigmoid", 3, id="sigmoid"),
        pytest.param("softmax", 4, id="softmax", marks=pytest.mark.slow),
        pytest.param("rows", 3, id="rows", marks=pytest.mark.slow),
    ],
)
def test_a_network_with_queries_passes_and_its_boxes_lie_in_the_picture(
    tmp_path: Path, decode: str, columns: int
) -> None:
    module = Queries(20, columns, rows=decode == "rows").eval()
    bundle = onnxproof.export_module(
        module,
        inputs={"picture": "float32[batch, 3, height, width] in 0..1"},
        dims=DIMS,
        task="detection",
        picture="picture",
        classes=("cat", "dog", "bird"),
        out=tmp_path / "queries",
        set=[
            f"wrapper.decode={decode}",
            f"validate.images={SCENE}",
            "validate.effort=quick",
            "predict.resize=letterbox",
            "predict.size=96",
        ],
    )
    verdict = bundle.verdict
    assert verdict is not None
    assert verdict.passed, [check for check in verdict.checks if check.status != "pass"]
    assert verdict.to_json()["decisions"]["matched"] > 20
    found = onnxproof.load(bundle.path).predict(SCENE)
    assert found.width is not None
    assert found.height is not None
    boxes = found.decisions.boxes
    assert len(boxes) > 3
    assert np.median(boxes[:, 2]) > found.width / 8  # in pixels, and not in shares
    assert (boxes[:, 2:] <= (found.width, found.height)).all()
