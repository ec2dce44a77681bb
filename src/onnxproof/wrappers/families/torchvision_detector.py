"""torchvision's detectors, by name or from your own builder: Faster and Mask R-CNN, RetinaNet, FCOS, SSD.

Besides torchvision's own names, ``fasterrcnn_X_fpn`` and ``maskrcnn_X_fpn`` exist for every ResNet X
(resnet18, resnet34, …, wide_resnet101_2). A checkpoint is a state dict. The class names
(``*-colormap.json`` or ``*-classes.json``) are beside it.
"""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn
from torchvision import models
from torchvision.models import detection
from torchvision.models.detection import FCOS, FasterRCNN, KeypointRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.ssd import SSD
from torchvision.ops import FrozenBatchNorm2d

from onnxproof.contract import ClassInfo, Contract, Reading
from onnxproof.errors import CheckpointError, JobError
from onnxproof.job import Job
from onnxproof.runtime.readings.rows import MaskReading, RowReading
from onnxproof.runtime.readings.scored_anchors import AnchorBoxes
from onnxproof.runtime.tasks.detection import DEFAULT_THRESHOLD
from onnxproof.tensors import Dim, Field, TensorSpec
from onnxproof.text import near
from onnxproof.wrappers.builder import build_with
from onnxproof.wrappers.detectors import batched, one_stage, two_stage
from onnxproof.wrappers.family import Checkpoint, WrappedModel, decode_of, dims_of, task_of
from onnxproof.wrappers.fingerprints import variants_of
from onnxproof.wrappers.folder import number_classes, read_classes
from onnxproof.wrappers.heads.detection import require_nms
from onnxproof.wrappers.input import PictureInput, picture_preprocess, picture_spec
from onnxproof.wrappers.own.torchvision_detector import detector_pipeline, untouched
from onnxproof.wrappers.recognise import Recognised, Setting, chosen_variant, dim_settings
from onnxproof.wrappers.weights import load_weights

EXTRA = "torchvision"
"""The extra that brings the library. It is read here before this module is imported."""
AXES = ("batch", "height", "width")
"""The names in ``[dims]``. They are read here before this module is imported."""

STEP = 32
"""All of torchvision's detectors pad the picture's sides to multiples of this, in px."""

IN_GRAPH_DIMS = {
    "batch": Dim("batch", 1, 1),
    "height": Dim("height", 320, 1024, STEP),
    "width": Dim("width", 320, 1024, STEP),
}
"""The sizes by default with NMS in the graph."""

SHORT_SIDE = 800
"""px; torchvision's detectors resize pictures to this (``min_size``)."""

ONE_STAGE = (RetinaNet, FCOS, SSD)

BATCHED = "nms-batch"
ONE_STAGE_DECODES = ("nms", BATCHED, "none")
"""The values of ``wrapper.decode``: the network's own NMS and resize for one picture, NMS for any batch at
sizes that need no resize, or raw heads."""

MASK_THRESHOLD = 0.5
"""The probability above which a pixel belongs to an instance, as in He et al. 2017 (arXiv:1703.06870)."""

FROZEN_NORM_EPS = 1e-5
"""The default of torchvision's FrozenBatchNorm2d. A checkpoint does not contain it, and networks that were
trained from torchvision's COCO_V1 weights use 0, so ``model.kwargs.frozen_norm_eps`` can replace it."""

ROWS = "detections"
"""The name of the outputs' axis whose size is the number of detections, in a file with NMS in the graph."""

RESNETS = ("resnet", "resnext", "wide_resnet")
ON_RESNETS = {"fasterrcnn": FasterRCNN, "maskrcnn": MaskRCNN}
"""The detectors that this family offers for every ResNet. torchvision names them for a few only."""

DATA_DEPENDENT = "torch.export does not follow NMS, whose number of results depends on the picture"

CLASS_AND_BOX_WEIGHTS = (
    ("roi_heads.box_predictor.cls_score.weight", None),
    ("head.classification_head.cls_logits.weight", "head.regression_head.bbox_reg.weight"),
    ("head.classification_head.module_list.0.weight", "head.regression_head.module_list.0.weight"),
    ("head.classification_head.module_list.0.1.weight", "head.regression_head.module_list.0.1.weight"),
)
"""For each kind of network, the weights of the last layers that score classes and that place boxes. Those of
a one-stage network have C and 4 rows for each anchor of a cell."""


class _TorchvisionDetector:
    name = "torchvision_detector"

    def build(self, job: Job, checkpoint: Checkpoint | None) -> WrappedModel:
        if checkpoint is None:
            raise JobError(f"model.checkpoint is missing: the family {self.name} reads a trained checkpoint")
        require_nms(job.validation)
        num_classes = _num_classes(checkpoint)
        network = _network(job, checkpoint, num_classes).eval()
        eager = untouched(network)
        stage = _stage(job, network)
        decode = decode_of(job, *(ONE_STAGE_DECODES if isinstance(network, ONE_STAGE) else ("nms",)))
        in_graph = decode == "nms"
        batch, height, width = _dims(job, network, in_graph=in_graph)
        classes, first_label = _classes(checkpoint, num_classes)
        if in_graph:
            module, outputs, fields, reading = _with_nms(job, network, stage, first_label)
        elif decode == BATCHED:
            made = batched.with_nms(network, stage, num_classes, first_label, batch.name, job.validation)
            module, outputs, fields, reading = made.module, made.outputs, made.fields, made.reading
        else:
            module, outputs, fields = _raw(network, stage, num_classes, height, width)
            reading = _anchor_reading(job, network, outputs, first_label)
        contract = Contract(
            name=job.name,
            task=task_of(job, "instance_segmentation" if isinstance(network, MaskRCNN) else "detection"),
            inputs=(picture_spec(job, batch, height, width),),
            outputs=outputs,
            dims=(batch, height, width),
            fields=fields,
            preprocess=picture_preprocess(job, height, width),
            classes=classes,
            reading=reading,
        )
        traced = DATA_DEPENDENT if in_graph else None
        own = detector_pipeline(contract, eager, first_label)
        return WrappedModel(module.eval(), contract, self.name, traced, own=own)

    def recognise(self, checkpoint: Checkpoint) -> Recognised | None:
        found = chosen_variant(checkpoint, variants_of(self.name, checkpoint.state_dict))
        if found is None or found[0] not in variants():
            return None
        variant, others, why = found
        one_stage_ = not variant.startswith(("fasterrcnn", "maskrcnn"))
        return Recognised(
            self.name,
            "instance_segmentation" if variant.startswith("maskrcnn") else "detection",
            variant,
            why,
            (
                Setting("predict.resize", "crop", "keeps the aspect; the graph resizes as the network does"),
                Setting("predict.size", SHORT_SIDE, "the short side, px, of torchvision's own detectors"),
                *dim_settings(IN_GRAPH_DIMS.values()),
            ),
            ONE_STAGE_DECODES if one_stage_ else ("nms",),
            others,
        )

    def make(self, variant: str, num_classes: int, kwargs: Mapping[str, Any]) -> nn.Module:
        return make(variant, num_classes, kwargs)


FAMILY = _TorchvisionDetector()


def _num_classes(checkpoint: Checkpoint) -> int:
    """The number of classes that a checkpoint's last layers score, with the background if there is one."""
    state = checkpoint.state_dict
    for scores, boxes in CLASS_AND_BOX_WEIGHTS:
        if scores not in state:
            continue
        if boxes is None:
            return int(state[scores].shape[0])
        if boxes in state:
            return int(state[scores].shape[0]) * 4 // int(state[boxes].shape[0])
    raise CheckpointError(
        f"{checkpoint.file} has none of the last layers of torchvision's detectors (such as "
        f"{CLASS_AND_BOX_WEIGHTS[0][0]}): is model.family right?"
    )


def _network(job: Job, checkpoint: Checkpoint, num_classes: int) -> nn.Module:
    """Build the network that the job names, with the checkpoint's weights."""
    if job.model.builder is not None:
        called = f"what {job.model.builder} makes"
        network = build_with(job.model.builder, job.folder, job.model.kwargs)
    else:
        called = _variant(job, checkpoint)
        network = _by_name(job, called, checkpoint, num_classes)
    if isinstance(network, KeypointRCNN) or not isinstance(network, (FasterRCNN, *ONE_STAGE)):
        raise JobError(
            f"{called} is a {type(network).__name__}; the family {FAMILY.name} knows FasterRCNN, MaskRCNN, "
            "RetinaNet, FCOS and SSD of torchvision"
        )
    return load_weights(network, checkpoint, called, "are model.variant and model.kwargs right?")


def variants() -> tuple[str, ...]:
    """The names of all detectors that the family offers."""
    own = [name for name in models.list_models(module=detection) if not name.startswith("keypoint")]
    resnets = [name for name in models.list_models(module=models) if name.startswith(RESNETS)]
    return (*own, *(f"{kind}_{name}_fpn" for kind in ON_RESNETS for name in resnets))


def _variant(job: Job, checkpoint: Checkpoint) -> str:
    """The job's variant. If it has none, the one in the checkpoint's file name (…_fpn-258fb6c6.pth)."""
    known, given = variants(), job.model.variant
    if given is None:
        stem = checkpoint.file.stem
        for name in (stem, stem.partition("-")[0]):
            if name in known:
                return name
        raise JobError(
            f"the file name {checkpoint.file.name} names no detector: give model.variant, a detector's name "
            f"such as {known[0]}, or model.builder"
        )
    if given not in known:
        close = near(given, known, 3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(known)}"
        raise JobError(f'model.variant = "{given}" is no detector of torchvision; {hint}')
    return given


def make(variant: str, num_classes: int, kwargs: Mapping[str, Any]) -> nn.Module:
    """A network with random weights; ``num_classes`` counts the background, if the network has one."""
    if variant in models.list_models(module=detection):
        own: nn.Module = models.get_model(
            variant, weights=None, weights_backbone=None, num_classes=num_classes, **kwargs
        )
        return own
    kind, _, resnet = variant.removesuffix("_fpn").partition("_")
    backbone = resnet_fpn_backbone(backbone_name=resnet, weights=None, norm_layer=nn.BatchNorm2d)
    network: nn.Module = ON_RESNETS[kind](backbone, num_classes=num_classes, **kwargs)
    return network


def _by_name(job: Job, variant: str, checkpoint: Checkpoint, num_classes: int) -> nn.Module:
    kwargs = dict(job.model.kwargs)
    frozen_eps = kwargs.pop("frozen_norm_eps", FROZEN_NORM_EPS)
    try:
        network = make(variant, num_classes, kwargs)
    except (TypeError, ValueError) as error:
        raise JobError(f"model.kwargs = {job.model.kwargs} do not make a {variant}: {error}") from error
    _refuse_unknown(kwargs, network)
    if not any(name.endswith("num_batches_tracked") for name in checkpoint.state_dict):
        _freeze_norms(network.backbone, float(frozen_eps))
    return network


def _refuse_unknown(kwargs: Mapping[str, Any], network: nn.Module) -> None:
    """Raise JobError if ``model.kwargs`` has a setting that torchvision ignores without an error."""
    known = {"trainable_backbone_layers", "frozen_norm_eps"}
    for kind in type(network).__mro__:
        if kind is not nn.Module and issubclass(kind, nn.Module):
            known |= inspect.signature(kind).parameters.keys() - {"kwargs", "backbone"}
    for name in kwargs:
        if name not in known:
            close = near(name, known)
            hint = f'did you mean "{close[0]}"?' if close else f"there are: {', '.join(sorted(known))}"
            raise JobError(f"unknown key model.kwargs.{name} = {kwargs[name]!r}; {hint}")


def _freeze_norms(module: Any, eps: float) -> None:
    """Replace batch norms by torchvision's frozen ones, which networks with a pretrained backbone have."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, FrozenBatchNorm2d(child.num_features, eps=eps))
        else:
            _freeze_norms(child, eps)


def _stage(job: Job, network: Any) -> PictureInput:
    """The input stage. It normalises in place of the network's own transform, with the same numbers."""
    wrapper, transform = job.wrapper, network.transform
    mean, std = wrapper.normalization()
    return PictureInput(
        mean or transform.image_mean,
        std or transform.image_std,
        scale=wrapper.scale_input,
        channels_last=wrapper.channels_last,
        stated="the network's own transform",
    )


def _dims(job: Job, network: Any, *, in_graph: bool) -> tuple[Dim, Dim, Dim]:
    fixed = network.transform.fixed_size
    if in_graph:
        batch, height, width = dims_of(job, IN_GRAPH_DIMS)
        if batch.max > 1:
            raise JobError(
                f'dims.batch = "{batch}": with NMS in the graph the number of detections differs between '
                "pictures, so torchvision's detectors export at batch 1 only; leave dims.batch out, or, "
                'for RetinaNet, FCOS and SSD, set wrapper.decode = "nms-batch" or "none"'
            )
        return batch, height, width
    sides = fixed[::-1] if fixed is not None else None
    defaults = {
        "batch": Dim("batch", 1, 8),
        "height": Dim("height", 256, 1024, STEP) if sides is None else Dim("height", sides[0], sides[0]),
        "width": Dim("width", 256, 1024, STEP) if sides is None else Dim("width", sides[1], sides[1]),
    }
    batch, height, width = dims_of(job, defaults)
    for dim, default in ((height, defaults["height"]), (width, defaults["width"])):
        if sides is not None and dim != default:
            raise JobError(
                f'dims.{dim.name} = "{dim}": this network takes only pictures of {default} px; leave '
                f"dims.{dim.name} out"
            )
        if sides is None and not dim.in_steps_of(STEP):
            raise JobError(
                f'dims.{dim.name} = "{dim}": with wrapper.decode = "{job.wrapper.decode}" every size must be '
                f'a multiple of {STEP}; write "{dim.rounded_to(STEP)}"'
            )
    return batch, height, width


def _classes(checkpoint: Checkpoint, num_classes: int) -> tuple[tuple[ClassInfo, ...], int]:
    """The classes, and the label of the first: 1 if the names do not include the background, otherwise 0."""
    classes = read_classes(checkpoint.folder)
    if classes is None:
        return number_classes(num_classes), 0
    if len(classes) not in (num_classes, num_classes - 1):
        raise CheckpointError(
            f"checkpoint {checkpoint.file} has {num_classes} classes with the background, the file of "
            f"classes beside it names {len(classes)}: pass the names that the model was trained with"
        )
    return classes, num_classes - len(classes)


Wrapped = tuple[nn.Module, tuple[TensorSpec, ...], tuple[Field, ...]]


def _with_nms(
    job: Job, network: nn.Module, stage: PictureInput, first_label: int
) -> tuple[*Wrapped, Reading]:
    """Wrap the network with NMS in the graph. The outputs have one row for each detection."""
    validation = job.validation
    if validation.iou_threshold is not None or validation.class_agnostic or validation.max_detections:
        raise JobError(
            "validate.iou_threshold, validate.class_agnostic and validate.max_detections are for NMS that "
            "onnxproof adds, and this file has the network's own: set that one's in model.kwargs "
            "(box_nms_thresh, nms_thresh, box_detections_per_img, detections_per_img)"
        )
    outputs = (
        TensorSpec("boxes", "float32", (ROWS, 4)),
        TensorSpec("labels", "int64", (ROWS,)),
        TensorSpec("scores", "float32", (ROWS,)),
    )
    fields = (Field("boxes", "box_xyxy", "px"), Field("scores", "score", "probability"))
    names, threshold = tuple(spec.name for spec in outputs), _score_threshold(job)
    if isinstance(network, ONE_STAGE):
        one = RowReading(names, threshold, first_label, one_stage.settings_of(network))
        return one_stage.OneStageInference(network, stage), outputs, fields, one
    module, graph = two_stage.TwoStageInference(network, stage), two_stage.settings_of(network)
    if not module.has_masks:
        return module, outputs, fields, RowReading(names, threshold, first_label, graph)
    return (
        module,
        (*outputs, TensorSpec("masks", "float32", (ROWS, 1, "height", "width"))),
        (*fields, Field("masks", "mask", "probability")),
        MaskReading(
            (*names, "masks"), threshold, first_label, graph, MASK_THRESHOLD, two_stage.mask_side(network)
        ),
    )


def _raw(network: nn.Module, stage: PictureInput, num_classes: int, height: Dim, width: Dim) -> Wrapped:
    """Wrap the backbone and the head alone. They return logits, box deltas and, for FCOS, centerness."""
    fixed = height.fixed and width.fixed
    places = one_stage.anchors_of(network).places
    anchors = places.count(height.max, width.max) if fixed else "anchors"
    outputs = [
        TensorSpec("logits", "float32", ("batch", anchors, num_classes)),
        TensorSpec("deltas", "float32", ("batch", anchors, 4)),
    ]
    fields = [Field("logits", "logit", ""), Field("deltas", "box_delta", "")]
    if isinstance(network, FCOS):
        outputs.append(TensorSpec("centerness", "float32", ("batch", anchors, 1)))
        fields.append(Field("centerness", "centerness_logit", ""))
    return one_stage.RawHeads(network, stage), tuple(outputs), tuple(fields)


def _anchor_reading(
    job: Job, network: nn.Module, outputs: tuple[TensorSpec, ...], first_label: int
) -> AnchorBoxes:
    """The reading of raw heads.

    If the job sets no IoU threshold, it is the network's own. If it sets no score threshold, it is the task's
    default.
    """
    settings, overlap = one_stage.settings_of(network), job.validation.iou_threshold
    assert settings.anchors is not None
    assert settings.top_candidates is not None
    assert settings.max_detections is not None
    return AnchorBoxes(
        tuple(spec.name for spec in outputs),
        settings.anchors,
        score_threshold=_score_threshold(job),
        iou_threshold=settings.iou_threshold if overlap is None else overlap,
        class_agnostic=job.validation.class_agnostic,
        top_candidates=settings.top_candidates,
        max_detections=job.validation.max_detections or settings.max_detections,
        first_label=first_label,
    )


def _score_threshold(job: Job) -> float:
    given = job.validation.score_threshold
    return DEFAULT_THRESHOLD if given is None else given
