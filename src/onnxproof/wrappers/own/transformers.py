"""transformers' own way: the folder's image processor, the network, and the processor's post-processing."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from onnxproof.contract import Contract, Preprocess
from onnxproof.runtime.readings.boxes import Detections
from onnxproof.wrappers.own.pipeline import Own, Pixels, Staged

CLASSES, BOXES = ("classification", "multilabel"), "detection"

AS_LAID: Mapping[str, bool] = {"do_resize": False, "do_center_crop": False, "do_pad": False}
AS_BYTES: Mapping[str, bool] = {"do_rescale": False, "do_normalize": False}


def saved_pipeline(
    contract: Contract, network: nn.Module, processor: Callable[[], Any], fit: Callable[[], Mapping[str, Any]]
) -> Own:
    """The pipeline of a folder whose file has this contract.

    ``processor`` reads the folder's image processor, and ``fit`` how it fits pictures, as keys of
    ``Preprocess``.
    """
    spec = contract.preprocess
    if spec is None or contract.task not in (*CLASSES, BOXES):
        return (
            f"the pipeline of transformers is compared for classes and boxes, and the task is {contract.task}"
        )
    return lambda: _Saved(contract, network, processor(), replace(spec, **fit()))


class _Saved(Staged):
    def __init__(self, contract: Contract, network: nn.Module, processor: Any, spec: Preprocess) -> None:
        super().__init__(contract.task, spec)
        self.name = f"transformers' {type(processor).__name__} and {type(network).__name__}"
        self.settings: Mapping[str, float] = contract.reading.settings()
        self.reading: Any = contract.reading
        self.network, self.processor = network, processor

    def predict(self, picture: Path) -> Any:
        """See ``OwnPipeline``."""
        image = self.read(picture)
        return self._decided(self.processor(images=image, return_tensors="pt"), image.size)

    def lay(self, picture: Image.Image) -> Pixels:
        """See ``OwnPipeline``."""
        (values,) = self.processor(images=picture, return_tensors="pt", **AS_BYTES)["pixel_values"]
        pixels: Pixels = values.permute(1, 2, 0).numpy().astype(np.uint8)
        return pixels

    def decide(self, laid: Pixels) -> Any:
        """See ``OwnPipeline``."""
        values = self.processor(images=Image.fromarray(np.array(laid)), return_tensors="pt", **AS_LAID)
        return self._decided(values, (laid.shape[1], laid.shape[0]))

    def restore(self, decisions: Any, laid: Pixels, picture: Image.Image) -> Any:
        """See ``OwnPipeline``."""
        if not isinstance(decisions, Detections):
            return decisions
        sides = np.array([picture.width / laid.shape[1], picture.height / laid.shape[0]] * 2, np.float32)
        return replace(decisions, boxes=decisions.boxes * sides)

    def _decided(self, inputs: Any, size: tuple[int, int]) -> Any:
        """What the network says of prepared inputs; boxes are in the pixels of ``size`` (width, height)."""
        with torch.no_grad():
            answer = self.network(**inputs)
        if self.task.name in CLASSES:
            scores = answer.logits[0]
            scores = scores.softmax(-1) if self.task.name == CLASSES[0] else scores.sigmoid()
            return self.task.decide(scores.numpy(), replace(self.reading, decode="probabilities"))
        (found,) = self.processor.post_process_object_detection(
            answer, threshold=self.settings["score_threshold"], target_sizes=[size[::-1]]
        )
        order = np.argsort(-found["scores"].numpy(), kind="stable")
        boxes = np.clip(found["boxes"].numpy(), 0, np.array([*size, *size]))
        return Detections(
            boxes[order].astype(np.float32),
            found["scores"].numpy()[order],
            found["labels"].numpy()[order],
            np.arange(len(order)),
        )
