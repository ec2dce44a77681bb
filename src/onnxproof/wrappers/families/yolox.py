"""YOLOX detectors as cjm_yolox_pytorch and Megvii save them: nano, tiny, s, m, l, x.

A checkpoint is a state dict in the tutorials' folder layout (``yolox_tiny.pth``, ``*-colormap.json``,
``norm_stats.json``), or one of Megvii's own files, whose tensors are renamed (wrappers/megvii.py). The nano
of the first is that of the bundled demo; Megvii's has depthwise convolutions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from cjm_yolox_pytorch.model import (
    CSP_DARKNET_CFGS,
    HEAD_CFGS,
    PAFPN_CFGS,
    YOLOX,
    YOLOXPAFPN,
    ConvModule,
    CSPDarknet,
    YOLOXHead,
)
from torch import Tensor, nn

from onnxproof.contract import ClassInfo, Contract, Preprocess
from onnxproof.errors import CheckpointError, JobError
from onnxproof.job import Job
from onnxproof.normalizations import NORMALIZATIONS
from onnxproof.runtime.readings.boxes import BoxReading, PackedBoxes, SplitBoxes
from onnxproof.runtime.readings.cells import CellBoxes, cells
from onnxproof.tensors import Dim, Field, TensorSpec
from onnxproof.text import meant
from onnxproof.wrappers import megvii
from onnxproof.wrappers.family import Checkpoint, Outputs, WrappedModel, decode_of, dims_of, task_of
from onnxproof.wrappers.folder import number_classes, read_classes, read_norm_stats
from onnxproof.wrappers.head import Headed
from onnxproof.wrappers.heads import detection
from onnxproof.wrappers.input import PictureInput, picture_preprocess, picture_spec, picture_stage
from onnxproof.wrappers.megvii import Megvii
from onnxproof.wrappers.own.megvii import megvii_pipeline
from onnxproof.wrappers.own.tutorial import tutorial_pipeline
from onnxproof.wrappers.recognise import Recognised, Setting
from onnxproof.wrappers.weights import load_weights

EXTRA = "cjm_yolox_pytorch"
"""The extra that brings the library. It is read here before this module is imported."""
AXES = ("batch", "height", "width")
"""The names in ``[dims]``. They are read here before this module is imported."""

STRIDES = (8, 16, 32)
STEM_WEIGHT = "backbone.stem.conv.conv.weight"
CLASS_WEIGHT = "bbox_head.multi_level_conv_cls.0.weight"
STEM_WEIGHT = "backbone.stem.conv.conv.weight"
STEM_WIDTH = 64
"""Channels of the stem at ``widen_factor`` 1, as in YOLOX-l."""
PICTURE_SIZE = 640
"""px; Ge et al. 2021 (arXiv:2107.08430) train at 640 x 640."""
DEFAULT_DIMS = {
    "batch": Dim("batch", 1, 8),
    "height": Dim("height", 64, 1024, 32),
    "width": Dim("width", 64, 1024, 32),
}

NANO: Mapping[str, Mapping[str, Any]] = {
    "backbone": {"deepen_factor": 0.33, "widen_factor": 0.1875},
    "neck": {"in_channels": [48, 96, 192], "out_channels": 48, "num_csp_blocks": 1},
    "head": {"in_channels": 48, "feat_channels": 48},
}
"""Half as wide as tiny and equally deep. With ten classes it has 1.26 M parameters."""

MEGVII_NANO: Mapping[str, Mapping[str, Any]] = {
    "backbone": {"deepen_factor": 0.33, "widen_factor": 0.25},
    "neck": {"in_channels": [64, 128, 256], "out_channels": 64, "num_csp_blocks": 1},
    "head": {"in_channels": 64, "feat_channels": 64},
}
"""The sizes of Megvii's nano, whose convolutions are depthwise besides (yolox/exp's yolox_nano)."""

VARIANTS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "nano": NANO,
    **{
        name.removeprefix("yolox_"): {
            "backbone": CSP_DARKNET_CFGS[name],
            "neck": PAFPN_CFGS[name],
            "head": HEAD_CFGS[name],
        }
        for name in CSP_DARKNET_CFGS
    },
}


def build_network(variant: str | Mapping[str, Mapping[str, Any]], num_classes: int) -> nn.Module:
    """A network with random weights, of a variant or of the sizes in a variant's form.

    It turns pictures [b, 3, H, W] into class scores, boxes and objectness, each a list with a map for every
    stride.
    """
    config = VARIANTS[variant] if isinstance(variant, str) else variant
    network: nn.Module = YOLOX(
        CSPDarknet(**config["backbone"]),
        YOLOXPAFPN(**config["neck"]),
        YOLOXHead(num_classes=num_classes, **config["head"]),
    )
    return network


class YoloxInference(nn.Module):
    """The network with its input stage in front. Its boxes are decoded unless ``decode`` is "none".

    ``decode`` is one of the layouts of the detection task (runtime/tasks/detection.py).
    """

    def __init__(self, network: nn.Module, stage: PictureInput, decode: str) -> None:
        super().__init__()
        self.stage = stage
        self.network = network
        self.decode = decode

    def forward(self, input: Tensor) -> Tensor | Outputs:
        """Turn pictures into the outputs of the layout.

        "none" has [b, n, 5 + C]; "packed" has [b, n, 6]; "split" has boxes [b, n, 4] and scores
        [b, n, C].
        """
        if self.decode == "none":
            return self._raw(input)[0]
        boxes, scores = self._decoded(input)
        if self.decode == "split":
            corners, sizes = boxes[..., :2], boxes[..., 2:]
            return torch.cat((corners, corners + sizes), dim=-1), scores
        best, labels = torch.max(scores, dim=-1)
        return torch.cat((boxes, labels.to(boxes.dtype).unsqueeze(-1), best.unsqueeze(-1)), dim=-1)

    def forward_with_margins(self, *inputs: Tensor) -> tuple[Outputs, Mapping[str, Tensor]]:
        """Return what ``forward`` returns and, for "packed", each label's lead over the next class [b, n]."""
        if self.decode != "packed":
            outputs = self(*inputs)
            return outputs if isinstance(outputs, tuple) else (outputs,), {}
        boxes, scores = self._decoded(*inputs)
        best, labels = torch.max(scores, dim=-1)
        packed = torch.cat((boxes, labels.to(boxes.dtype).unsqueeze(-1), best.unsqueeze(-1)), dim=-1)
        if scores.shape[-1] == 1:
            return (packed,), {"label": torch.full_like(best, torch.inf)}
        return (packed,), {"label": best - torch.topk(scores, 2, dim=-1).values[..., 1]}

    def _raw(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The head's outputs with one row for each cell, [b, n, 5 + C], and its maps of box offsets."""
        class_maps, box_maps, object_maps = self.network(self.stage(pictures))
        levels = [
            torch.cat((box, torch.sigmoid(objectness), torch.sigmoid(classes)), dim=1).flatten(2)
            for classes, box, objectness in zip(class_maps, box_maps, object_maps, strict=True)
        ]
        return torch.cat(levels, dim=2).permute(0, 2, 1), box_maps

    def _decoded(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes [b, n, 4] (x0, y0, width, height, pixels) and class scores [b, n, C]."""
        raw, maps = self._raw(pictures)
        grid = _grid(maps)
        centres = (raw[..., :2] + grid[:, :2]) * grid[:, 2:]
        sizes = torch.exp(raw[..., 2:4]) * grid[:, 2:]
        return torch.cat((centres - sizes / 2, sizes), dim=-1), raw[..., 4:5] * raw[..., 5:]


def _grid(maps: Sequence[Tensor]) -> Tensor:
    """The column, row and stride of every cell, [n, 3]. They follow from the maps' sizes."""
    levels = []
    for level_map, stride in zip(maps, STRIDES, strict=True):
        height, width = level_map.shape[-2:]
        rows = torch.arange(height, dtype=level_map.dtype, device=level_map.device)
        columns = torch.arange(width, dtype=level_map.dtype, device=level_map.device)
        row, column = torch.meshgrid(rows, columns, indexing="ij")
        level = torch.stack((column, row), dim=-1).reshape(-1, 2)
        levels.append(torch.cat((level, torch.full_like(level[:, :1], stride)), dim=-1))
    return torch.cat(levels)


LAYOUTS: Mapping[str, type[BoxReading]] = {"packed": PackedBoxes, "split": SplitBoxes, "none": CellBoxes}
"""The values of ``wrapper.decode`` with NMS outside of the graph, the default first, and the reading of
each."""


class _Yolox:
    name = "yolox"

    def build(self, job: Job, checkpoint: Checkpoint | None) -> WrappedModel:
        if checkpoint is None:
            raise JobError("model.checkpoint is missing: the family yolox reads a trained checkpoint")
        task = task_of(job, "detection")
        batch, height, width = _dims(job)
        official = megvii.recognised(checkpoint.state_dict)
        network, classes = _load_network(_variant(job, checkpoint, official), checkpoint, official)
        decode = decode_of(job, *LAYOUTS, *detection.IN_GRAPH)
        stage, spec, preprocess = _input(job, checkpoint, official, (batch, height, width))
        in_graph = decode in detection.IN_GRAPH
        module = YoloxInference(network, stage, "split" if in_graph else decode)
        if in_graph:
            headed = detection.with_nms(module, batch.name, job.validation, decode)
        else:
            fixed = height.fixed and width.fixed
            anchors = len(cells(height.max, width.max, STRIDES)) if fixed else "anchors"
            outputs, fields = _outputs(decode, len(classes), anchors)
            names = tuple(one.name for one in outputs)
            reading = detection.box_reading(LAYOUTS[decode], names, job.validation, tuple(STRIDES))
            headed = Headed(module, outputs, fields, reading)
        contract = Contract(
            name=job.name,
            task=task,
            inputs=(spec,),
            outputs=headed.outputs,
            dims=(batch, height, width),
            fields=headed.fields,
            preprocess=preprocess,
            classes=classes,
            reading=headed.reading,
        )
        if official is None:
            own = tutorial_pipeline(contract, network, stage, STRIDES)
        else:
            normalizes = _normalizes(job)
            own = megvii_pipeline(contract, network, stage, STRIDES, normalizes=normalizes)
        return WrappedModel(headed.module.eval(), contract, self.name, own=own)

    def recognise(self, checkpoint: Checkpoint) -> Recognised | None:
        """What the checkpoint is, in either layout, by its names and the shapes of a few tensors."""
        state = checkpoint.state_dict
        official = megvii.recognised(state)
        if official is None and CLASS_WEIGHT not in state:
            return None
        layout = "cjm_yolox_pytorch's" if official is None else "Megvii's"
        variant = official.variant if official is not None else _variant_by_shape(state)
        told = f"the sizes of {variant or 'no known variant'}"
        if variant is None and "variant" in checkpoint.asked:
            variant, told = str(checkpoint.asked["variant"]), "sizes of which the variant is given"
        settings: list[Setting] = []
        if official is None and read_norm_stats(checkpoint.folder) is None:
            why = "no norm_stats.json lies beside the checkpoint: set what it was trained with"
            settings.append(Setting("wrapper.normalize", "imagenet", why))
        return Recognised(
            self.name,
            "detection",
            variant,
            f"its tensors have the names of {layout} YOLOX, and {told}",
            tuple(settings),
            (*LAYOUTS, *detection.IN_GRAPH),
            () if variant is not None else tuple(VARIANTS),
        )


FAMILY = _Yolox()


def _dims(job: Job) -> tuple[Dim, Dim, Dim]:
    batch, height, width = dims_of(job, DEFAULT_DIMS)
    for dim in (height, width):
        stride = max(STRIDES)
        if not dim.in_steps_of(stride):
            raise JobError(
                f'dims.{dim.name} = "{dim}": every size must be a multiple of the model\'s largest stride, '
                f'{stride}; write "{dim.rounded_to(stride)}"'
            )
    return batch, height, width


def _input(
    job: Job, checkpoint: Checkpoint, official: Megvii | None, dims: tuple[Dim, Dim, Dim]
) -> tuple[PictureInput, TensorSpec, Preprocess]:
    """The input stage, the file's input, and how the host fits pictures.

    Megvii's networks take pixels in 0..255 as they are, in the order blue, green, red, unless the job
    normalises them as its first release did, which took red first.
    """
    batch, height, width = dims
    fit: dict[str, Any] = {}
    if official is not None:
        fixed = height.fixed and width.fixed
        fit = {**megvii.FIT, "size": max(height.max, width.max) if fixed else official.size}
    if official is None or job.wrapper.normalization() != (None, None):
        own = {**fit, "channels": "rgb"} if _normalizes(job) and official is not None else fit
        return (
            picture_stage(job, checkpoint),
            picture_spec(job, batch, height, width),
            picture_preprocess(job, height, width, **own),
        )
    wrapper = job.wrapper
    if wrapper.scale_input:
        raise JobError(
            "wrapper.scale_input = true with a checkpoint of Megvii's: its network takes pixels in 0..255 as "
            "they are; leave the key out"
        )
    stage = PictureInput(*NORMALIZATIONS["none"], scale=False, channels_last=wrapper.channels_last)
    as_bytes = job.model_copy(update={"wrapper": wrapper.model_copy(update={"scale_input": True})})
    spec = picture_spec(as_bytes, batch, height, width)
    return stage, spec, picture_preprocess(as_bytes, height, width, **fit)


def _normalizes(job: Job) -> bool:
    """Whether pictures are normalised as in Megvii's first release."""
    return job.wrapper.normalization() == NORMALIZATIONS["imagenet"]


def _variant(job: Job, checkpoint: Checkpoint, official: Megvii | None) -> str:
    """The job's variant. If it has none: of Megvii's checkpoints the one that their shapes say, of others
    the one that the file is named after: tiny or yolox_tiny."""
    given = job.model.variant
    if given is None:
        given = checkpoint.file.stem if official is None else official.variant or checkpoint.file.stem
    variant = given.removeprefix("yolox_")
    known = ", ".join(VARIANTS)
    if official is not None and official.variant not in (None, variant):
        raise JobError(
            f'model.variant = "{given}", and the shapes in {checkpoint.file} are those of '
            f"{official.variant}: leave model.variant out"
        )
    if variant in VARIANTS:
        return variant
    if job.model.variant is not None:
        raise JobError(
            f'model.variant = "{given}" is not known; there are: {known}{meant(variant, VARIANTS)}'
        )
    raise JobError(
        f"the file name {checkpoint.file.name} names no variant of YOLOX: give model.variant, one of "
        f"{known}, or call the file yolox_VARIANT"
    )


def _variant_by_shape(state: Mapping[str, Tensor]) -> str | None:
    """The variant of a checkpoint of cjm_yolox_pytorch. Returns None if the shapes are no known one's."""
    stem = state.get(STEM_WEIGHT)
    blocks = {name.split(".")[4] for name in state if name.startswith("backbone.stage1.1.blocks.")}
    if stem is None:
        return None
    for name, config in VARIANTS.items():
        width, depth = config["backbone"]["widen_factor"], config["backbone"]["deepen_factor"]
        if (int(megvii.CHANNELS * width), max(round(3 * depth), 1)) == (int(stem.shape[0]), len(blocks)):
            return name
    return None


def _load_network(
    variant: str, checkpoint: Checkpoint, official: Megvii | None
) -> tuple[nn.Module, tuple[ClassInfo, ...]]:
    if official is not None:
        checkpoint = replace(checkpoint, state_dict=megvii.renamed(checkpoint.state_dict), prefix="")
    weight = checkpoint.state_dict.get(CLASS_WEIGHT)
    if weight is None:
        raise CheckpointError(
            f"{checkpoint.file} has neither the tensor {CLASS_WEIGHT} of cjm_yolox_pytorch's YOLOX nor "
            f"{megvii.CLASSES} of Megvii's: is model.family right?"
        )
    num_classes = int(weight.shape[0])
    classes = read_classes(checkpoint.folder)
    if classes is None:
        classes = number_classes(num_classes)
    if len(classes) != num_classes:
        raise CheckpointError(
            f"checkpoint {checkpoint.file} has {num_classes} classes, the colormap beside it names "
            f"{len(classes)}: pass the colormap that the model was trained with"
        )
    if official is not None and official.depthwise:
        network = megvii.make_depthwise(build_network(MEGVII_NANO, num_classes), ConvModule)
    else:
        network = build_network(variant, num_classes)
    advice = f"is model.variant right? There are: {', '.join(VARIANTS)}"
    return load_weights(network, checkpoint, f"yolox_{variant}", advice), classes


def _outputs(
    decode: str, num_classes: int, anchors: int | str
) -> tuple[tuple[TensorSpec, ...], tuple[Field, ...]]:
    def spec(name: str, channels: int) -> TensorSpec:
        return TensorSpec(name, "float32", ("batch", anchors, channels))

    if decode == "packed":
        return (spec("output", 6),), (
            Field("output", "box_xy", "px", 0, 2),
            Field("output", "box_wh", "px", 2, 4),
            Field("output", "label", "class", 4, 5, kind="label", ranks="score"),
            Field("output", "score", "probability", 5, 6),
        )
    if decode == "split":
        return detection.split_outputs(("batch", anchors, 4), ("batch", anchors, num_classes))
    return (spec("output", 5 + num_classes),), (
        Field("output", "box_offset", "cells", 0, 2),
        Field("output", "box_log_size", "log strides", 2, 4),
        Field("output", "objectness", "probability", 4, 5),
        Field("output", "class_probability", "probability", 5, None),
    )
