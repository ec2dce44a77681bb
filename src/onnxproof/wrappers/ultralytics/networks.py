"""Builds networks of Ultralytics from a yaml, and returns their outputs before anything is chosen."""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from onnxproof.errors import CheckpointError, JobError
from onnxproof.runtime.readings.chosen_rows import ROW
from onnxproof.wrappers.family import Outputs
from onnxproof.wrappers.input import PictureInput
from onnxproof.wrappers.ultralytics.library import LOGGER, tasks

ACTIVATION = re.compile(r"(torch\.)?nn\.[A-Za-z0-9]+\([\w=., -]*\)")
"""A yaml's activation: Ultralytics evaluates the text, so nothing else is handed to it."""

LIBRARIES = {"nn.": "torch.nn"}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of network: Ultralytics' class, and the task that decides from its outputs."""

    network: str
    task: str


KINDS: Mapping[str, Kind] = {
    "detect": Kind("DetectionModel", "detection"),
    "segment": Kind("SegmentationModel", "instance_segmentation"),
    "pose": Kind("PoseModel", "keypoints"),
    "obb": Kind("OBBModel", "oriented_detection"),
    "classify": Kind("ClassificationModel", "classification"),
    "rtdetr": Kind("RTDETRDetectionModel", "detection"),
}
"""The kinds by the name that Ultralytics gives their task; RT-DETR's is a detector of its own class."""

HEADS = {
    "Detect": "detect",
    "v10Detect": "detect",
    "Segment": "segment",
    "Segment26": "segment",
    "Pose": "pose",
    "Pose26": "pose",
    "OBB": "obb",
    "OBB26": "obb",
    "Classify": "classify",
    "RTDETRDecoder": "rtdetr",
}
"""The kind of network by the last layer of its yaml."""


def configured(variant: str) -> dict[str, Any]:
    """The yaml of a name that comes with the package, such as "yolo11n-seg". Raises JobError if none does."""
    name = variant if variant.endswith((".yaml", ".yml")) else f"{variant}.yaml"
    try:
        with quiet():
            load: Any = tasks.yaml_model_load
            config: dict[str, Any] = load(name)
    except (FileNotFoundError, OSError) as error:
        raise JobError(
            f'model.variant = "{variant}" names no yaml of ultralytics; there are yolov5n, yolov8n-seg, '
            "yolo11s-pose, yolo26n, rtdetr-l and others"
        ) from error
    return config


def kind_of(config: Mapping[str, Any]) -> Kind:
    """The kind of network that a yaml describes. Raises CheckpointError for one that the family lacks."""
    last = _modules_of(config)[-1]
    if last not in HEADS:
        raise CheckpointError(
            f"the network ends in {last}; the family ultralytics has {', '.join(HEADS)}. Export it with the "
            "family module"
        )
    return KINDS[HEADS[last]]


def answers_once(config: Mapping[str, Any]) -> bool:
    """Whether a yaml describes a network that answers with one box for each object, so that NMS is not
    needed."""
    return bool(config.get("end2end")) or _modules_of(config)[-1] in ("v10Detect", "RTDETRDecoder")


def build_network(config: Mapping[str, Any], classes: int) -> nn.Module:
    """A network with random weights, for that number of classes.

    Raises CheckpointError if the yaml names what is no layer: Ultralytics would call it.
    """
    kind = kind_of(config)
    for name in _modules_of(config):
        found = getattr(nn, name.removeprefix("nn."), None) if name.startswith("nn.") else None
        found = found or getattr(tasks, name, None)
        if not isinstance(found, type) or not issubclass(found, nn.Module) or name == "TorchVision":
            raise CheckpointError(f"the checkpoint's yaml names {name}, which is no layer of ultralytics")
    activation = config.get("activation")
    if activation and not (isinstance(activation, str) and ACTIVATION.fullmatch(activation)):
        raise CheckpointError(
            f"the checkpoint's yaml has the activation {activation!r}; expected one of torch.nn, such as "
            "nn.SiLU()"
        )
    with quiet():
        network: nn.Module = getattr(tasks, kind.network)(
            deepcopy(dict(config)), ch=3, nc=classes, verbose=False
        )
    return network


def _modules_of(config: Mapping[str, Any]) -> list[str]:
    """The names of the layers' classes, in order."""
    layers = [*config.get("backbone", ()), *config.get("head", ())]
    if not layers or not all(isinstance(layer, list | tuple) and len(layer) == 4 for layer in layers):
        raise CheckpointError("the checkpoint's yaml has no list of layers [from, repeats, module, args]")
    return ["nn.Identity" if layer[2] == "Silence" else str(layer[2]) for layer in layers]


@contextmanager
def quiet() -> Iterator[None]:
    """Ultralytics' logger says errors alone."""
    level = LOGGER.level
    LOGGER.setLevel(logging.ERROR)
    try:
        yield
    finally:
        LOGGER.setLevel(level)


class Network(nn.Module):
    """A network with its input stage in front. It returns what its cells or queries say, unchosen.

    ``names`` are those of the outputs:

    - "logits" [b, C] of a classifier;
    - "logits" [b, q, C] and "boxes" [b, q, 4] (centre, width, height, in shares of the picture) of RT-DETR;
    - "boxes" [b, n, 4] (x0, y0, x1, y1, px) and "scores" [b, n, C] in [0, 1] of all others, but of oriented
      boxes [b, n, 5] (centre, width, height, px, and the angle in radians);
    - then "coefficients" [b, n, m] and "prototypes" [b, m, h, w], or "keypoints" [b, n, K, 2 or 3].

    ``without_nms`` chooses the head that answers with one box for each object. If ``native``, a detector with
    NMS returns "output0" [b, 4 + C, n], as Ultralytics' own export does. With ``rows``, a detector without
    NMS returns so many of its best as "rows" [b, rows, 6] (x0, y0, x1, y1, px, the score and the class), each
    with what it carries behind: the coefficients of its mask, or the angle of a box whose centre, width and
    height come first. The keypoints of its rows are an output of their own.
    """

    def __init__(
        self,
        network: nn.Module,
        stage: PictureInput,
        kind: Kind,
        *,
        without_nms: bool,
        native: bool = False,
        rows: int | None = None,
    ) -> None:
        super().__init__()
        self.without_nms = without_nms
        self.native = native
        self.rows = rows
        self.stage = stage
        self.network = network
        self.kind = kind
        self.names = self._prepare()

    @property
    def head(self) -> Any:
        """The network's last layer."""
        return self.network.model[-1]  # type: ignore[index]

    @property
    def strides(self) -> tuple[int, ...]:
        """The strides of the maps of cells, px; () if there are none."""
        if self.kind in (KINDS["classify"], KINDS["rtdetr"]):
            return ()
        return tuple(int(stride) for stride in self.head.stride)

    def forward(self, input: Tensor) -> Outputs:
        """The outputs in the order of ``names``."""
        pictures = self.stage(input)
        if self.kind == KINDS["classify"]:
            return (self.network(pictures)[1],)
        if self.kind == KINDS["rtdetr"]:
            self.head.shapes = None  # else the anchors of the last run are used, in its dtype
            boxes, logits = self.network(pictures)[1][:2]
            return logits[-1], boxes[-1]
        found = self.network(pictures)
        if self.rows is not None and self.kind == KINDS["pose"]:
            return found[..., :ROW], found[..., ROW:].unflatten(-1, tuple(self.head.kpt_shape))
        if self.native or self.rows is not None:
            return found if isinstance(found, tuple) else (found,)
        rows, prototypes = found if isinstance(found, tuple) else (found, None)
        if not self.without_nms:
            rows = rows.transpose(1, 2)
        boxes, scores, more = rows.split((4, self.head.nc, rows.shape[-1] - 4 - self.head.nc), dim=-1)
        if self.kind == KINDS["obb"]:
            return torch.cat((boxes, more), dim=-1), scores
        if self.kind == KINDS["pose"]:
            return boxes, scores, more.unflatten(-1, tuple(self.head.kpt_shape))
        return (boxes, scores) if prototypes is None else (boxes, scores, more, prototypes)

    def _prepare(self) -> tuple[str, ...]:
        """Let the head return all cells, decoded, for pictures of any size; the outputs' names."""
        if self.kind == KINDS["classify"]:
            return ("logits",)
        if self.kind == KINDS["rtdetr"]:
            return "logits", "boxes"
        if self.without_nms:
            self.head.end2end = True
        self.head.fuse()  # leaves out the branches that only training needs
        vars(self.head).update(export=True, dynamic=True, format="onnx")
        if self.native:
            return ("output0",)
        if self.rows is not None:
            self.head.max_det = self.rows
            beside = {KINDS["segment"]: ("prototypes",), KINDS["pose"]: ("keypoints",)}
            return "rows", *beside.get(self.kind, ())
        vars(self.head).update(xyxy=self.kind != KINDS["obb"], postprocess=_all)
        more = {
            KINDS["segment"]: ("coefficients", "prototypes"),
            KINDS["pose"]: ("keypoints",),
        }
        return "boxes", "scores", *more.get(self.kind, ())


def _all(rows: Tensor) -> Tensor:
    """Takes the place of the head's own choice of the best: all rows."""
    return rows
