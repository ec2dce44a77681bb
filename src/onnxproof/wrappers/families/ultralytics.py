"""YOLOv5u, v8 to v12, YOLO26 and RT-DETR of Ultralytics: detect, segment, pose, obb, classify.

A checkpoint is the ``best.pt`` that its trainer writes, or a state dict with ``model.variant = "yolo11n"``.
The package is licensed under the AGPL-3.0, or by its makers under other terms.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from onnxproof.contract import ClassInfo, Contract
from onnxproof.errors import CheckpointError, JobError
from onnxproof.job import Job, ValidateTable
from onnxproof.normalizations import NORMALIZATIONS
from onnxproof.runtime.readings.boxes import ChannelBoxes
from onnxproof.runtime.readings.chosen_rows import KeypointRows, MaskRows, OrientedRows
from onnxproof.runtime.readings.sets import QuerySet
from onnxproof.tensors import Dim, Field, TensorSpec
from onnxproof.wrappers.copies import copied
from onnxproof.wrappers.family import Checkpoint, WrappedModel, decode_of, dims_of, task_of
from onnxproof.wrappers.folder import name_classes, number_classes, read_classes
from onnxproof.wrappers.head import Bare, Headed, attach_head
from onnxproof.wrappers.heads import get_head
from onnxproof.wrappers.heads.detection import IN_GRAPH, box_reading, score_threshold
from onnxproof.wrappers.heads.keypoints import point_fields
from onnxproof.wrappers.input import PictureInput, picture_preprocess, picture_spec
from onnxproof.wrappers.own.pipeline import Own
from onnxproof.wrappers.own.ultralytics import ultralytics_pipeline
from onnxproof.wrappers.recognise import Recognised, Setting, dim_settings, names_given
from onnxproof.wrappers.ultralytics.networks import (
    KINDS,
    Kind,
    Network,
    answers_once,
    build_network,
    configured,
    kind_of,
)
from onnxproof.wrappers.ultralytics.saved import Saved, saved_model
from onnxproof.wrappers.weights import load_weights

EXTRA = "ultralytics"
"""The extra that brings the library. It is read here before this module is imported."""
AXES = ("batch", "height", "width")
"""The names in ``[dims]``. They are read here before this module is imported."""

SIZE, CLASSIFIER_SIZE = 640, 224
"""The sizes of pictures, px, if the checkpoint does not say: Ultralytics' defaults (cfg/default.yaml, and the
classifiers' documentation)."""

LARGEST, SMALLEST = 640, 64
"""The sizes of pictures that are declared if the job does not say, px; the size that the network was trained
with if that is larger."""

CONFIDENCE, OVERLAP, MOST = 0.25, 0.7, 300
"""The score threshold, the IoU threshold of NMS and the number of detections by which Ultralytics predicts
(cfg/default.yaml: conf, iou, max_det)."""

CLASS_LAYERS = {
    **dict.fromkeys(
        ("DetectionModel", "SegmentationModel", "PoseModel", "OBBModel"),
        re.compile(r"model\.\d+\.(one2one_)?cv3\.0\.\d+\.weight"),
    ),
    "ClassificationModel": re.compile(r"model\.\d+\.linear\.weight"),
    "RTDETRDetectionModel": re.compile(r"model\.\d+\.enc_score_head\.weight"),
}
"""The names of the weights that have a row for each class."""

FIRST = "model.0.conv.weight"
"""The name of the first weight of every network of Ultralytics but RT-DETR."""

WITH_NMS = ("model.kwargs.end2end=false",)
"""What exports a network that has two heads with the one that needs NMS, as Ultralytics does by default."""

CHANNELS = "channels"
"""The value of ``wrapper.decode`` with which a detector's output is that of Ultralytics' own export."""

ROWS = "rows"
"""The same for a detector without NMS: the graph chooses its best rows, as in Ultralytics' own export."""

ADVICE = "is model.variant right?"


class _Ultralytics:
    name = "ultralytics"

    def build(self, job: Job, checkpoint: Checkpoint | None) -> WrappedModel:
        if checkpoint is None:
            raise JobError("model.checkpoint is missing: the family ultralytics reads a trained checkpoint")
        saved = saved_model(checkpoint)
        config, called = _config(job, checkpoint, saved)
        kind = kind_of(config)
        task = task_of(job, kind.task)
        count = _count_classes(kind, checkpoint)
        classes = _classes(job, checkpoint, saved, count)
        network = load_weights(build_network(config, count), checkpoint, called, ADVICE).eval()
        eager = copied(network, network.state_dict(keep_vars=True).values())
        without_nms = _without_nms(job, config)
        decode = decode_of(job, *_decodes(kind, without_nms=without_nms))
        rows = (job.validation.max_detections or MOST) if decode == ROWS else None
        module = Network(
            network, _stage(job), kind, without_nms=without_nms, native=decode == CHANNELS, rows=rows
        ).eval()
        size = _size(job, saved, kind)
        batch, height, width = _dims(job, module, size)
        inputs = (picture_spec(job, batch, height, width),)
        outputs = _outputs(module, (batch, height, width), count)
        bare = Bare(module, network, inputs, outputs, classes)
        validation = _decisions(job.validation, module)
        if decode == ROWS:
            validation = validation.model_copy(update={"max_detections": outputs[0].shape[1]})
        if decode == CHANNELS:
            headed = _channels(module, outputs[0], validation)
        elif decode == ROWS and kind != KINDS["detect"]:
            headed = _carrying(module, outputs, validation)
        else:
            headed = attach_head(get_head(task), bare, decode, validation)
        reading = headed.reading
        if isinstance(reading, QuerySet):
            reading = replace(reading, selects=True)  # RT-DETR's queries are the best places of the picture
        contract = Contract(
            name=job.name,
            task=task,
            inputs=inputs,
            outputs=headed.outputs,
            dims=(batch, height, width),
            fields=headed.fields,
            preprocess=picture_preprocess(job, height, width, **_fit(kind, size)),
            classes=classes,
            reading=reading,
        )
        own: Own = "the job exports another head than the one that Ultralytics predicts with"
        if "end2end" not in job.model.kwargs:
            own = ultralytics_pipeline(contract, eager, kind)
        return WrappedModel(headed.module.eval(), contract, self.name, own=own)

    def recognise(self, checkpoint: Checkpoint) -> Recognised | None:
        saved = saved_model(checkpoint)
        if saved is not None:
            said = f"it holds a {saved.kind} of Ultralytics with {len(saved.names)} classes"
            return _recognised(saved.config, None, said, saved.size)
        if not any(checkpoint.prefix + name == FIRST for name in checkpoint.state_dict):
            return None
        variant, config, said = _named(checkpoint)
        return _recognised(config, variant, said, None)


FAMILY = _Ultralytics()


def _recognised(config: Mapping[str, Any], variant: str | None, said: str, size: int | None) -> Recognised:
    """What is known of a network by its yaml. ``size`` is that of its training pictures, if it is known."""
    kind = kind_of(config)
    default = CLASSIFIER_SIZE if kind == KINDS["classify"] else SIZE
    why = "as it was trained (train_args.imgsz)" if size else "Ultralytics' default; the checkpoint has none"
    twice = answers_once(config) and kind != KINDS["rtdetr"]
    decodes = [_decodes(kind, without_nms=answers_once(config))]
    if twice:
        decodes.append(_decodes(kind, without_nms=False))
    return Recognised(
        _Ultralytics.name,
        kind.task,
        variant,
        said,
        (Setting("predict.size", size or default, why), *dim_settings((Dim("batch", 1, 8),))),
        tuple(dict.fromkeys(name for names in decodes for name in names)),
        heads=(WITH_NMS,) if twice else (),
    )


def _named(checkpoint: Checkpoint) -> tuple[str, Mapping[str, Any], str]:
    """The yaml of a checkpoint that holds tensors alone: its name, what it says, and who names it.

    Raises CheckpointError if nothing names one, JobError if the user names one that the package lacks.
    """
    asked, are = checkpoint.asked.get("variant"), "its tensors are those of a YOLO of Ultralytics"
    if asked is not None:
        return asked, configured(asked), f"{are}, and the variant is given"
    for name, source in names_given(checkpoint):
        with suppress(JobError):
            return name, configured(name), f"{are}, and {source} names {name}"
    raise CheckpointError(
        f"{checkpoint.file} holds the tensors of a YOLO of Ultralytics, and not which one it is: name its "
        "yaml with --set model.variant=yolo11n (or yolov8s, yolo11n-seg, …), or give the best.pt that the "
        "trainer wrote"
    )


def _config(job: Job, checkpoint: Checkpoint, saved: Saved | None) -> tuple[Mapping[str, Any], str]:
    """The network's yaml, and what messages call the network: the job's variant, or the checkpoint's own."""
    if job.model.variant is not None:
        return configured(job.model.variant), job.model.variant
    if saved is None:
        raise JobError(
            f"{checkpoint.file} holds no module of Ultralytics, only tensors: give model.variant, the name "
            'of its yaml, such as "yolo11n"'
        )
    return saved.config, f"the {saved.kind} of its own yaml"


def _without_nms(job: Job, config: Mapping[str, Any]) -> bool:
    """Whether the head is exported that needs no NMS: if the network has it, unless the job says otherwise.

    Raises JobError for any other of model.kwargs, and if the job wants a head that the network lacks.
    """
    unknown = [name for name in job.model.kwargs if name != "end2end"]
    wanted = job.model.kwargs.get("end2end")
    if unknown or not isinstance(wanted, bool | None):
        name = unknown[0] if unknown else "end2end"
        raise JobError(
            f"model.kwargs.{name} = {job.model.kwargs[name]!r}: the family ultralytics has end2end alone, "
            "true or false: whether the head is exported that needs no NMS"
        )
    there = answers_once(config)
    if job.validation.nms == "none" and wanted is False:
        raise JobError('validate.nms = "none" with model.kwargs.end2end = false: leave one of them out')
    if not there and (wanted or job.validation.nms == "none"):
        raise JobError(
            "the network has no head that needs no NMS (YOLOv10, YOLO26 and RT-DETR have one): leave "
            f"{'model.kwargs.end2end' if wanted else 'validate.nms'} out"
        )
    if wanted is False and kind_of(config) == KINDS["rtdetr"]:
        raise JobError("model.kwargs.end2end = false: RT-DETR has no other head; leave it out")
    return there and wanted is not False


def _decodes(kind: Kind, *, without_nms: bool) -> tuple[str, ...]:
    """The values of ``wrapper.decode``, the default first."""
    if kind == KINDS["rtdetr"]:
        return ("sigmoid",)
    if kind == KINDS["detect"]:
        return ("split", ROWS) if without_nms else ("split", *IN_GRAPH, CHANNELS)
    if without_nms and kind != KINDS["classify"]:
        return ("split", ROWS)
    return get_head(kind.task).decodes


def _channels(module: Network, output: TensorSpec, validation: ValidateTable) -> Headed:
    """A detector whose output is that of Ultralytics' own export."""
    fields = (Field(output.name, "prediction", ""),)
    reading = box_reading(ChannelBoxes, (output.name,), validation, module.strides)
    return Headed(module, (output,), fields, reading)


def _carrying(module: Network, outputs: tuple[TensorSpec, ...], validation: ValidateTable) -> Headed:
    """A network whose head chooses rows that carry the angle of a box, keypoints, or the coefficients of a
    mask."""
    name, names = outputs[0].name, tuple(output.name for output in outputs)
    turned = module.kind == KINDS["obb"]
    fields = [
        Field(name, "box_xywh" if turned else "box_xyxy", "px", 0, 4),
        Field(name, "score", "probability", 4, 5),
        Field(name, "label", "class", 5, 6, kind="label"),
    ]
    kind: type[OrientedRows | KeypointRows | MaskRows]
    if turned:
        kind, fields = OrientedRows, [*fields, Field(name, "angle", "rad", 6, 7)]
    elif module.kind == KINDS["pose"]:
        kind, fields = KeypointRows, [*fields, *point_fields(outputs[1])]
    else:
        kind = MaskRows
        fields += [Field(name, "coefficient", "", 6, None), Field(names[1], "prototype", "")]
    reading = kind(names, score_threshold(validation), validation.max_detections)
    return Headed(module, outputs, tuple(fields), reading)


def _count_classes(kind: Kind, checkpoint: Checkpoint) -> int:
    """The number of classes, by the last layer for classes."""
    for name, tensor in checkpoint.state_dict.items():
        if CLASS_LAYERS[kind.network].fullmatch(checkpoint.prefix + name):
            return int(tensor.shape[0])
    raise CheckpointError(f"{checkpoint.file} has no layer for the classes of a {kind.network}: {ADVICE}")


def _classes(job: Job, checkpoint: Checkpoint, saved: Saved | None, count: int) -> tuple[ClassInfo, ...]:
    """The job's names, those of the checkpoint, of the files beside it, or numbers."""
    if job.model.classes is not None:
        classes = name_classes(job.model.classes)
    elif saved is not None:
        classes = name_classes(saved.names)
    else:
        classes = read_classes(checkpoint.folder) or number_classes(count)
    if len(classes) != count:
        raise CheckpointError(
            f"{len(classes)} classes are named, the network of {checkpoint.file} has {count}"
        )
    return classes


def _stage(job: Job) -> PictureInput:
    """Ultralytics only scales pictures to [0, 1]; the job may state another normalisation."""
    mean, std = job.wrapper.normalization()
    nothing = NORMALIZATIONS["none"]
    return PictureInput(
        mean or nothing[0],
        std or nothing[1],
        scale=job.wrapper.scale_input,
        channels_last=job.wrapper.channels_last,
    )


def _size(job: Job, saved: Saved | None, kind: Kind) -> int:
    """To what pictures are fitted: what the job says, a file's only size, or as the network was trained."""
    if job.predict.size is not None:
        return job.predict.size
    sides = [job.dims[name] for name in ("height", "width") if name in job.dims]
    if len(sides) == 2 and all(side.fixed for side in sides) and kind != KINDS["classify"]:
        return max(side.max for side in sides)
    trained = None if saved is None else saved.size
    return trained or (CLASSIFIER_SIZE if kind == KINDS["classify"] else SIZE)


def _dims(job: Job, module: Network, size: int) -> tuple[Dim, Dim, Dim]:
    """The job's sizes, or every size in steps of the largest stride; a classifier and RT-DETR have one."""
    step = max(module.strides, default=0)
    sides = {name: Dim(name, size, size) for name in ("height", "width")}
    if step:
        largest = -(-max(size, LARGEST) // step) * step
        sides = {name: Dim(name, max(SMALLEST, step), largest, step) for name in ("height", "width")}
    batch, height, width = dims_of(job, {"batch": Dim("batch", 1, 8), **sides})
    for dim in (height, width):
        if step and not dim.in_steps_of(step):
            raise JobError(
                f'dims.{dim.name} = "{dim}": every size must be a multiple of the model\'s largest stride, '
                f'{step}; write "{dim.rounded_to(step)}"'
            )
    return batch, height, width


def _outputs(module: Network, dims: tuple[Dim, Dim, Dim], classes: int) -> tuple[TensorSpec, ...]:
    """The outputs of the network, in the order of its names."""
    batch, height, width = dims
    head = module.head
    if module.names == ("logits",):
        return (TensorSpec("logits", "float32", (batch.name, classes)),)
    least = sum((height.min // stride) * (width.min // stride) for stride in module.strides)
    if module.names == ("logits", "boxes"):
        rows: int | str = int(head.num_queries)
    elif module.rows is not None:
        rows = _most_rows(module.rows, least, fixed=height.fixed and width.fixed)
    elif height.fixed and width.fixed:
        rows = least
    else:
        rows = "anchors"
    axes: Mapping[str, tuple[int | str, ...]] = {
        "output0": (4 + classes, rows),
        "rows": (rows, 6 + {KINDS["obb"]: 1, KINDS["segment"]: getattr(head, "nm", 0)}.get(module.kind, 0)),
        "logits": (rows, classes),
        "boxes": (rows, 5 if module.kind == KINDS["obb"] else 4),
        "scores": (rows, classes),
        "keypoints": (rows, *getattr(head, "kpt_shape", ())),
        "coefficients": (rows, getattr(head, "nm", 0)),
        "prototypes": (getattr(head, "nm", 0), *(_quarter(dim) for dim in (height, width))),
    }
    return tuple(TensorSpec(name, "float32", (batch.name, *axes[name])) for name in module.names)


def _most_rows(most: int, least: int, *, fixed: bool) -> int:
    """How many rows the graph chooses of the cells of the smallest picture, ``least``.

    Raises JobError if larger pictures have more.
    """
    if most > least and not fixed:
        raise JobError(
            f'wrapper.decode = "{ROWS}" chooses {most} rows, and the smallest picture has {least} cells: '
            "declare larger sizes in [dims], or fewer rows with validate.max_detections"
        )
    return min(most, least)


def _quarter(dim: Dim) -> int | str:
    """The prototypes' size: they are a quarter of the picture's."""
    return dim.min // 4 if dim.fixed else f"prototype_{dim.name}"


def _decisions(validation: ValidateTable, module: Network) -> ValidateTable:
    """The thresholds by which Ultralytics itself predicts, where the job states none."""
    own: dict[str, Any] = {"score_threshold": CONFIDENCE, "max_detections": MOST}
    own |= {"nms": "none"} if module.without_nms else {"iou_threshold": OVERLAP}
    stated = {name: getattr(validation, name) for name in own if name != "nms"}
    return validation.model_copy(
        update={**own, **{name: value for name, value in stated.items() if value is not None}}
    )


def _fit(kind: Kind, size: int) -> dict[str, Any]:
    """How Ultralytics fits a picture (data/augment.py: LetterBox, classify_transforms)."""
    if kind == KINDS["classify"]:
        return {"resize": "crop", "size": size, "filter": "pillow-bilinear", "half": "even"}
    if kind == KINDS["rtdetr"]:
        return {"resize": "stretch", "size": size, "filter": "opencv-linear"}
    return {"resize": "letterbox", "size": size, "filter": "opencv-linear"}
