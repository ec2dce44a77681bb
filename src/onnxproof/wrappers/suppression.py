"""NMS in the graph: operators that decide as the runtime's NumPy does, and the module that ends in one.

``export/rewrites/suppression.py`` writes the operators in ONNX.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from onnxproof.runtime.nms import nms, rounded_down
from onnxproof.runtime.oriented import oriented_nms
from onnxproof.runtime.readings.boxes import Candidates, Cuts, Suppress, decide
from onnxproof.wrappers.family import Outputs


@torch.library.custom_op("onnxproof::detections", mutates_args=())
def detections(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    classes: int,
    score_threshold: float,
    iou_threshold: float,
    max_detections: int | None,
) -> tuple[Tensor, Tensor]:
    """The boxes of each picture that are kept: the picture and the index of each, int64 [kept] twice.

    ``boxes`` [b, n, 4] are x0, y0, x1, y1, ``scores`` [b, n], ``labels`` int64 [b, n] below ``classes``.
    Boxes of different labels never suppress each other, unless ``classes`` is 1. At most ``max_detections``
    of a picture are kept, the best ones; None means all. The rows are in the pictures' order, those of a
    picture in the order of their scores, and of equal scores the lower index comes first.
    """
    cuts = Cuts(score_threshold, iou_threshold, classes == 1, max_detections=max_detections)
    return _kept(nms, cuts, boxes, scores, labels)


@torch.library.custom_op("onnxproof::oriented_detections", mutates_args=())
def oriented_detections(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    classes: int,
    score_threshold: float,
    iou_threshold: float,
    max_detections: int | None,
) -> tuple[Tensor, Tensor]:
    """The same for oriented boxes [b, n, 5] and fast NMS (``oriented_nms`` in runtime/oriented.py)."""
    cuts = Cuts(score_threshold, iou_threshold, classes == 1, max_detections=max_detections)
    return _kept(oriented_nms, cuts, boxes, scores, labels)


def _kept(
    suppress: Suppress, cuts: Cuts, boxes: Tensor, scores: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    kept = [
        decide(Candidates(*picture, gaps=None), cuts, suppress).indices
        for picture in zip(boxes.numpy(), scores.numpy(), labels.numpy(), strict=True)
    ]
    pictures = np.repeat(np.arange(len(kept)), [len(indices) for indices in kept])
    indices = np.concatenate([np.zeros(0, np.int64), *kept])
    return torch.from_numpy(pictures.astype(np.int64)), torch.from_numpy(indices)


@oriented_detections.register_fake
@detections.register_fake
def _(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    classes: int,
    score_threshold: float,
    iou_threshold: float,
    max_detections: int | None,
) -> tuple[Tensor, Tensor]:
    del scores, labels, classes, score_threshold, iou_threshold, max_detections
    count = torch.library.get_ctx().new_dynamic_size()
    return boxes.new_empty(count, dtype=torch.int64), boxes.new_empty(count, dtype=torch.int64)


def rounded(cuts: Cuts) -> tuple[float, float]:
    """The score and the IoU threshold as a graph holds them, in float32.

    NumPy compares with these numbers, too, if scores and boxes are float32.
    """
    assert cuts.iou_threshold is not None
    overlap = rounded_down(cuts.iou_threshold, np.dtype(np.float32))
    return float(np.float32(cuts.score_threshold)), float(overlap)


class Suppressed(nn.Module):
    """A detector with NMS behind it, for any batch: each picture has its own detections.

    ``module`` returns boxes [b, n, 4] (x0, y0, x1, y1), or oriented ones [b, n, 5], and class scores
    [b, n, C]. The class of a box is the one that scores best, as in the runtime's reading of these outputs.
    """

    def __init__(self, module: nn.Module, cuts: Cuts, *, oriented: bool = False) -> None:
        super().__init__()
        self.module = module
        self.oriented = oriented
        self.score_threshold, self.iou_threshold = rounded(cuts)
        self.class_agnostic = cuts.class_agnostic
        self.max_detections = cuts.max_detections

    def forward(self, *inputs: Tensor) -> Outputs:
        """``boxes`` [k, 4 or 5], ``labels`` int64 [k], ``scores`` [k] and ``pictures`` int64 [k]: a row for
        each detection, the first picture's first."""
        return self._rows(*self._found(*inputs))

    def forward_with_margins(self, *inputs: Tensor) -> tuple[Outputs, Mapping[str, Tensor]]:
        """Return what ``forward`` returns, and the boxes that score half of the threshold or more.

        runtime/readings/rows.py describes them.
        """
        boxes, scores, *more = self._found(*inputs)
        best, labels = scores.max(dim=-1)
        pictures, indices = torch.nonzero(best >= self.score_threshold / 2, as_tuple=True)
        gaps = torch.full_like(best, torch.inf)
        if scores.shape[-1] > 1:
            gaps = best - torch.topk(scores, 2, dim=-1).values[..., 1]
        carried = {"candidate_carried": more[0][pictures, indices]} if more else {}
        return self._rows(boxes, scores, *more), {
            "candidate_boxes": boxes[pictures, indices],
            "candidate_scores": best[pictures, indices],
            "candidate_labels": labels[pictures, indices],
            "candidate_gaps": gaps[pictures, indices],
            "candidate_ids": pictures * boxes.shape[1] + indices,
            "candidate_pictures": pictures,
            **carried,
        }

    def _found(self, *inputs: Tensor) -> Outputs:
        """Boxes and scores in float32, also those of a model in half precision: ONNX's NMS takes no other."""
        boxes, scores, *more = self.module(*inputs)
        return boxes.float(), scores.float(), *more

    def _rows(self, boxes: Tensor, scores: Tensor, *more: Tensor) -> Outputs:
        """The outputs. ``more`` has what ``Padded`` takes beside boxes and scores."""
        return self._listed(boxes, scores, *more)

    def _listed(self, boxes: Tensor, scores: Tensor, *more: Tensor) -> Outputs:
        best, labels = scores.max(dim=-1)
        classes = 1 if self.class_agnostic else scores.shape[-1]
        chosen = oriented_detections if self.oriented else detections
        pictures, indices = chosen(
            boxes,
            best,
            labels,
            classes,
            self.score_threshold,
            self.iou_threshold,
            self.max_detections,
        )
        return (
            boxes[pictures, indices],
            labels[pictures, indices],
            best[pictures, indices],
            *(carried[pictures, indices] for carried in more),
            pictures,
        )


class Padded(Suppressed):
    """The same with ``max_detections`` rows for each picture, and how many of them count.

    Returns ``boxes`` [b, m, 4 or 5], ``labels`` int64 [b, m], ``scores`` [b, m] and ``counts`` int64 [b].
    Behind the rows that count are zeros. ``module`` may also return what each box carries [b, n, …], and then
    what the boxes of a picture share [b, …]: these come before the counts, the first as rows [b, m, …].
    """

    def _rows(self, boxes: Tensor, scores: Tensor, *more: Tensor) -> Outputs:
        assert self.max_detections is not None
        *columns, pictures = self._listed(boxes, scores, *more[:1])
        batch, most = boxes.shape[0], self.max_detections
        counts = (pictures[None] == torch.arange(batch)[:, None]).sum(1)
        first = counts.cumsum(0) - counts
        places = pictures * most + torch.arange(pictures.shape[0]) - first[pictures]

        def padded(rows: Tensor) -> Tensor:
            empty = rows.new_zeros(batch * most, *rows.shape[1:])
            return empty.index_put((places,), rows).reshape(batch, most, *rows.shape[1:])

        return (*map(padded, columns), *more[1:], counts)
