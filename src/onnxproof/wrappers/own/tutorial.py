"""The pipeline of cjm_yolox_pytorch's tutorials: resize, crop to multiples of 32, decode, suppress.

The network runs in PyTorch, the rest in Pillow and NumPy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from onnxproof.contract import Contract
from onnxproof.runtime.readings.boxes import Cuts, Detections
from onnxproof.wrappers.input import PictureInput
from onnxproof.wrappers.own.pipeline import Own, Pixels, Staged

Array = NDArray[Any]


def tutorial_pipeline(
    contract: Contract, network: nn.Module, stage: PictureInput, strides: Sequence[int]
) -> Own:
    """The pipeline of a YOLOX whose file has this contract, with the job's size and thresholds."""
    spec = contract.preprocess
    assert spec is not None
    if spec.resize != "crop":
        return f'the tutorials crop pictures, and the job asks for resize = "{spec.resize}"'
    if spec.height.fixed and spec.width.fixed:
        return "the tutorials keep a picture's aspect, and the job fixes its height and width"
    return lambda: Tutorial(contract, network, stage, strides)


class Tutorial(Staged):
    """Its settings are those of the file's reading. The network returns class, box and objectness maps."""

    name = "cjm_yolox_pytorch's tutorials"

    def __init__(
        self, contract: Contract, network: nn.Module, stage: PictureInput, strides: Sequence[int]
    ) -> None:
        spec = contract.preprocess
        assert spec is not None
        super().__init__(contract.task, replace(spec, filter="pillow-bicubic", channels="rgb"))
        reading: Any = contract.reading
        self.settings: Mapping[str, float] = reading.settings()
        self.cuts: Cuts = reading.cuts  # also of NMS in the graph, whose settings nobody replaces
        self.network, self.strides = network, strides
        self.mean, self.std = (part.flatten().numpy() for part in (stage.mean, stage.std))

    def lay(self, picture: Image.Image) -> Pixels:
        """The short side to ``size``, the long one in proportion, then the centre in multiples of 32.

        A picture that would be longer than the job's sizes is asked for at a smaller ``size``. If the job
        has one size for the long side, and the short one would then be too short, the picture is cut.
        """
        step, size = max(self.strides), self.spec.size
        wide = picture.width >= picture.height
        long, short = (self.spec.width, self.spec.height)[:: 1 if wide else -1]
        longest = long.max
        if max(picture.size) * size > min(picture.size) * (longest + step - 1):
            smaller = min(picture.size) * longest // max(picture.size)
            size = size if long.fixed and smaller < short.min <= size else smaller
        ratio = min(picture.size) / size
        if picture.width == picture.height:
            resized = picture.resize((int(picture.width / ratio), size))
        else:
            sides = [int(side / ratio) for side in picture.size]
            sides[int(np.argmin(picture.size))] = size
            resized = picture.resize((sides[0], sides[1]))
        most = (self.spec.width.max, self.spec.height.max)
        width, height = (min(side - side % step, end) for side, end in zip(resized.size, most, strict=True))
        left, top = (resized.width - width) // 2, (resized.height - height) // 2
        return np.asarray(resized.crop((left, top, left + width, top + height)))

    def decide(self, laid: Pixels) -> Detections:
        """Scale, normalise, run the network, decode its maps, and suppress with the matrix of all IoUs."""
        return self._suppressed(self.cells((laid.astype(np.float32) / 255 - self.mean) / self.std))

    def cells(self, values: Array) -> Array:
        """What the network finds in float [height, width, 3]: [n, 6] = x0, y0, x1, y1, label, score."""
        with torch.no_grad():
            maps = self.network(torch.from_numpy(values.transpose(2, 0, 1)[None].copy()))
        return np.concatenate([self._level(*level) for level in zip(*maps, self.strides, strict=True)])

    def _level(self, classes: Any, box: Any, objectness: Any, stride: int) -> Array:
        """The cells of one map: [n, 6] = x0, y0, x1, y1, label, score."""
        rows, columns = np.mgrid[: box.shape[2], : box.shape[3]].reshape(2, -1)
        offsets = box[0].flatten(1).T.numpy()
        centres = (offsets[:, :2] + np.stack((columns, rows), axis=1)) * stride
        sizes = np.exp(offsets[:, 2:]) * stride
        scores = (torch.sigmoid(objectness) * torch.sigmoid(classes))[0].flatten(1).T.numpy()
        decided = np.stack((scores.argmax(1), scores.max(1)), axis=1)
        return np.concatenate((centres - sizes / 2, centres + sizes / 2, decided), axis=1)

    def _suppressed(self, found: Array) -> Detections:
        cuts = self.cuts
        found = found[found[:, 5] > np.float32(cuts.score_threshold)]
        found = found[np.argsort(-found[:, 5], kind="stable")]
        boxes, labels = found[:, :4], found[:, 4].astype(np.int64)
        kept: list[int] = []
        for row, box in enumerate(boxes):
            inner = np.minimum(boxes[kept, 2:], box[2:]) - np.maximum(boxes[kept, :2], box[:2])
            shared = np.clip(inner, 0, None).prod(axis=1)
            areas = (boxes[kept, 2:] - boxes[kept, :2]).prod(axis=1)
            over = shared / (areas + (box[2:] - box[:2]).prod() - shared) > cuts.iou_threshold
            if not cuts.class_agnostic:
                over &= labels[kept] == labels[row]
            if not over.any():
                kept.append(row)
        kept = kept[: cuts.max_detections]
        return Detections(
            boxes[kept].astype(np.float32),
            found[kept, 5].astype(np.float32),
            labels[kept],
            np.arange(len(kept)),
        )
