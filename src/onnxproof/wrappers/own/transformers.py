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
from onnxproof.runtime.readings.masks import Instances, crop
from onnxproof.runtime.readings.query_masks import box_of
from onnxproof.runtime.tasks.depth import DepthMap
from onnxproof.runtime.tasks.panoptic import Panorama, Segment
from onnxproof.runtime.tasks.segmentation import PixelLogits, Segments
from onnxproof.wrappers.own.pipeline import Own, Pixels, Staged

CLASSES, BOXES = ("classification", "multilabel"), "detection"
PIXELS, SEGMENTS, INSTANCES, DEPTH = "segmentation", "panoptic", "instance_segmentation", "depth"

MAPS: Mapping[str, tuple[str, ...]] = {
    PIXELS: ("logits",),
    DEPTH: ("predicted_depth",),
    SEGMENTS: ("class_queries_logits", "masks_queries_logits"),
    INSTANCES: ("class_queries_logits", "masks_queries_logits"),
}
"""The outputs of the networks whose decisions are maps or masks, in the order of the file's, by the task."""

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
    if spec is None or contract.task not in (*CLASSES, BOXES, PIXELS, SEGMENTS, INSTANCES, DEPTH):
        return f"transformers has no post-processing of pictures for the task {contract.task}"
    if contract.task == PIXELS and not isinstance(contract.reading, PixelLogits):
        return (
            "the graph enlarges logits to the size of its input, and transformers to that of the picture: "
            'with wrapper.decode = "none" the two are compared'
        )
    return lambda: _Saved(contract, network, processor(), replace(spec, **fit()))


class _Saved(Staged):
    def __init__(self, contract: Contract, network: nn.Module, processor: Any, spec: Preprocess) -> None:
        super().__init__(contract.task, spec)
        self.name = f"transformers' {type(processor).__name__} and {type(network).__name__}"
        self.settings: Mapping[str, float] = contract.reading.settings()
        self.reading: Any = contract.reading
        self.network, self.processor = network, processor
        self._answer: Any = None

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
        if self.task.name not in MAPS:
            return self._decided(values, (laid.shape[1], laid.shape[0]))
        # transformers decides in the picture's pixels alone; here, its network's outputs are read as ours.
        with torch.no_grad():
            self._answer = self.network(**values)
        fields = [self._answer[name].numpy() for name in MAPS[self.task.name]]
        outputs = dict(zip(self.reading.outputs, fields, strict=True))
        sizes = dict(zip(map(str, self.reading.picture), laid.shape[:2], strict=True))
        (evidence,) = self.task.evidence(outputs, sizes, self.reading, {})
        return self.task.decide(evidence, self.reading)

    def restore(self, decisions: Any, laid: Pixels, picture: Image.Image) -> Any:
        """See ``OwnPipeline``. Maps and masks are those of the last call of ``decide``."""
        if self.task.name in MAPS:
            return self._post_processed(self._answer, picture.size)
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
        if self.task.name in MAPS:
            return self._post_processed(answer, size)
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

    def _post_processed(self, answer: Any, size: tuple[int, int]) -> Any:
        """What the processor makes of the network's answer, in the pixels of ``size`` (width, height)."""
        there = {"target_sizes": [size[::-1]]}
        if self.task.name == PIXELS:
            (labels,) = self.processor.post_process_semantic_segmentation(answer, **there)
            return Segments(labels.numpy(), np.zeros(labels.shape, np.float32), None)
        if self.task.name == DEPTH:
            (found,) = self.processor.post_process_depth_estimation(answer, **there)
            return DepthMap(found["predicted_depth"].numpy(), *size[::-1], self.reading.interpolation)
        cuts = {"threshold": self.settings["score_threshold"]}
        if self.task.name == SEGMENTS:
            cuts["mask_threshold"] = self.settings["mask_threshold"]
            cuts["overlap_mask_area_threshold"] = self.settings["overlap_threshold"]
            (found,) = self.processor.post_process_panoptic_segmentation(
                answer, label_ids_to_fuse=frozenset(), **cuts, **there
            )
            return _panorama(found)
        (found,) = self.processor.post_process_instance_segmentation(
            answer, return_binary_maps=True, **cuts, **there
        )
        return _instances(found, size)


def _panorama(found: Any) -> Panorama:
    owners = found["segmentation"].numpy().astype(np.int64)
    segments = tuple(
        Segment(one["id"], one["label_id"], one["score"], int((owners == one["id"]).sum()))
        for one in found["segments_info"]
    )
    return Panorama(owners, segments)


def _instances(found: Any, size: tuple[int, int]) -> Instances:
    """The instances that have a pixel, the best score first."""
    told = found["segments_info"]
    maps = found["segmentation"].numpy() > 0 if told else np.zeros((0, *size[::-1]), bool)
    order = sorted(range(len(told)), key=lambda at: -told[at]["score"])
    kept = [(told[at], crop(maps[at])) for at in order if maps[at].any()]
    detections = Detections(
        np.array([box_of(mask) for _, mask in kept], np.float32).reshape(-1, 4),
        np.array([one["score"] for one, _ in kept], np.float32),
        np.array([one["label_id"] for one, _ in kept], np.int64),
        np.arange(len(kept)),
    )
    return Instances(detections, tuple(mask for _, mask in kept), 0.5, *size[::-1])
