"""Networks that take pictures: what is in front of them, and the heads behind them."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from torch import nn

from onnxproof.contract import ClassInfo
from onnxproof.errors import CheckpointError, JobError
from onnxproof.job import ValidateTable
from onnxproof.runtime.readings.query_masks import QueryMaskReading
from onnxproof.runtime.readings.sets import QuerySet
from onnxproof.runtime.tasks.depth import MapValues
from onnxproof.runtime.tasks.embedding import Pairs
from onnxproof.runtime.tasks.panoptic import QueryMasks
from onnxproof.runtime.tasks.segmentation import PixelLogits
from onnxproof.tensors import Dim, Field, TensorSpec
from onnxproof.wrappers.family import WrappedModel, decode_of, task_of
from onnxproof.wrappers.heads import get_head
from onnxproof.wrappers.huggingface.calls import Called, Enlarged
from onnxproof.wrappers.huggingface.opened import FAMILY_NAME, Opened
from onnxproof.wrappers.huggingface.processor import (
    HEIGHT,
    PIXELS,
    WIDTH,
    fitting_of,
    picture_dims,
    picture_port,
)
from onnxproof.wrappers.huggingface.taken import taken
from onnxproof.wrappers.huggingface.texts import IDS, MASK, TIME, most_tokens
from onnxproof.wrappers.wrap import wrap_module

LOGITS, DEPTH = "logits", "depth"

SOFTMAX = ("DetrForObjectDetection", "YolosForObjectDetection", "TableTransformerForObjectDetection")
"""The detectors whose scores are a softmax over the classes and "no object"."""

SIGMOID: Mapping[str, int | None] = MappingProxyType(
    {
        "ConditionalDetrForObjectDetection": 100,
        "DabDetrForObjectDetection": 100,
        "DeformableDetrForObjectDetection": 100,
        "LwDetrForObjectDetection": 100,
        "RTDetrForObjectDetection": None,
        "RTDetrV2ForObjectDetection": None,
        "DFineForObjectDetection": None,
        "Deimv2ForObjectDetection": None,
    }
)
"""The detectors whose scores are sigmoids, and how many pairs of a query and a class they keep at most. None
is as many as there are queries. From transformers' ``post_process_object_detection`` of each."""

SELECTING = (
    "LwDetrForObjectDetection",
    "RTDetrForObjectDetection",
    "RTDetrV2ForObjectDetection",
    "DFineForObjectDetection",
    "Deimv2ForObjectDetection",
)
"""The detectors whose queries are always the best places of the picture. A deformable DETR's are if it has
two stages."""

ONE_SIZE = "DeformableDetrForObjectDetection"
"""The detector that needs one size: it cuts its tokens into levels by Python's numbers."""

SEGMENTS: Mapping[str, tuple[int, int] | None] = MappingProxyType(
    {"Mask2FormerForUniversalSegmentation": (384, 384), "MaskFormerForInstanceSegmentation": None}
)
"""The networks of segments, and the size that their post-processing brings all masks to first, px."""

SEGMENT_TASKS: Mapping[str, str] = MappingProxyType(
    {"panoptic": "none", "instance_segmentation": QueryMaskReading.decode}
)
"""The tasks of these networks, the usual one first, and the value of ``wrapper.decode`` of each."""

SCORE_THRESHOLD = 0.5
"""The score above which transformers' post-processing keeps a box, unless it is told another."""

TEXTS = "texts"
"""The axis of the texts that pictures are compared with."""

PAIR_OUTPUTS = ("logits_per_image", "image_embeds", "text_embeds")

SIGLIP = "Siglip"
"""Part of the names of SigLIP's networks."""

PROJECTED = "ModelWithProjection"
"""How the names of encoders end that project their vector into a space of pictures and texts."""

CUBIC_DEPTH = (
    "DPTForDepthEstimation",
    "DepthAnythingForDepthEstimation",
    "GLPNForDepthEstimation",
)
"""The networks whose map transformers brings to the picture's size by cubic interpolation alone."""


def class_tasks(opened: Opened) -> tuple[str, ...]:
    """The tasks of a picture classifier: multilabel first if it was trained for several classes a picture."""
    several = getattr(opened.config, "problem_type", None) == "multi_label_classification"
    return ("multilabel", "classification") if several else ("classification", "multilabel")


def classification(opened: Opened, network: nn.Module) -> WrappedModel:
    """A picture classifier."""
    called = Called(network, (PIXELS,), {LOGITS: LOGITS})
    task = task_of(opened.job, *class_tasks(opened))
    decode = decode_of(opened.job, *get_head(task).decodes)
    return wrap_pictures(opened, called, task, decode, opened.classes(opened.config.num_labels))


def segmentation(opened: Opened, network: nn.Module) -> WrappedModel:
    """A semantic segmenter.

    Its logits are coarser than the picture. transformers enlarges them to the size of the picture as the user
    has it, and takes each pixel's best class. With ``decode`` "none", which is the default, the runtime does
    the same. With "mask", the graph enlarges them to the size of its own input.
    """
    decode = decode_of(opened.job, "none", "mask")
    called = Called(network, (PIXELS,), {LOGITS: LOGITS})
    network = Enlarged(called) if decode == "mask" else called
    task = task_of(opened.job, "segmentation")
    model = wrap_pictures(opened, network, task, decode, opened.classes(opened.config.num_labels))
    if decode == "mask":
        return model
    reading = PixelLogits((LOGITS,), (HEIGHT, WIDTH))
    return replace(model, contract=replace(model.contract, reading=reading))


def scores_of(opened: Opened) -> tuple[str]:
    """The activation that makes a detector's scores. Raises CheckpointError if it is none that is known."""
    if opened.called in SOFTMAX:
        return ("softmax",)
    if opened.called in SIGMOID:
        return ("sigmoid",)
    raise CheckpointError(
        f"{opened.folder} holds a {opened.called}, which is none of the detectors that are read: "
        f"{', '.join((*SOFTMAX, *SIGMOID))}. Build it with the family module"
    )


def detection(opened: Opened, network: nn.Module) -> WrappedModel:
    """A detector with queries, which needs no NMS. Its scores are made as its own post-processing makes
    them."""
    decode = decode_of(opened.job, *scores_of(opened))
    _require_one_size(opened)
    # The best pairs of a query and a class count, as many as there are queries, or 100.
    most = (SIGMOID[opened.called] or opened.config.num_queries) if decode == "sigmoid" else None
    task = task_of(opened.job, "detection")
    called = Called(network, (PIXELS,), {LOGITS: LOGITS, "boxes": "pred_boxes"})
    stated = opened.job.validation
    validation = stated.model_copy(
        update={
            "score_threshold": SCORE_THRESHOLD if stated.score_threshold is None else stated.score_threshold,
            "max_detections": most if stated.max_detections is None else stated.max_detections,
        }
    )
    classes = opened.classes(opened.config.num_labels)
    model = wrap_pictures(opened, called, task, decode, classes, validation)
    reading = model.contract.reading
    assert isinstance(reading, QuerySet)
    reading = replace(reading, selects=_selects(opened))
    return replace(model, contract=replace(model.contract, reading=reading))


def detector_dims(opened: Opened) -> tuple[Dim, ...]:
    """The dims of a detector. Of one that needs one size, it is that in which the image processor leaves a
    lying picture of 4:3."""
    dims = picture_dims(opened)
    if opened.called != ONE_SIZE or all(side.fixed for side in dims[1:]):
        return dims
    fit = fitting_of(opened).fit
    height, width = fit["size"], min(fit["size"] * 4 // 3, fit.get("longest") or fit["size"])
    return dims[0], Dim(HEIGHT, height, height), Dim(WIDTH, width, width)


def _require_one_size(opened: Opened) -> None:
    """Raise JobError if a detector that needs one size is to be exported for several."""
    dims = detector_dims(opened)
    if dims != picture_dims(opened):
        raise JobError(
            f"{opened.called} needs one size, for the exporters freeze the sizes of its levels: set "
            f"dims.height = {dims[1].min} and dims.width = {dims[2].min}, say"
        )


def _selects(opened: Opened) -> bool:
    """Whether a detector's queries are the best places of the picture."""
    return opened.called in SELECTING or bool(getattr(opened.config, "two_stage", False))


def refuse_segments(opened: Opened) -> None:
    """Raise CheckpointError for a network of segments that is none of those that are read."""
    if opened.called not in SEGMENTS:
        raise CheckpointError(
            f"{opened.folder} holds a {opened.called}, which is none of the networks of segments that are "
            f"read: {', '.join(SEGMENTS)}. Build it with the family module"
        )


def segments(opened: Opened, network: nn.Module) -> WrappedModel:
    """A network whose queries are segments or instances: Mask2Former, MaskFormer."""
    task = task_of(opened.job, *SEGMENT_TASKS)
    decode = decode_of(opened.job, SEGMENT_TASKS[task])
    called = Called(
        network,
        (PIXELS,),
        {"class_logits": "class_queries_logits", "mask_logits": "masks_queries_logits"},
    )
    classes = opened.classes(opened.config.num_labels)
    model = wrap_pictures(opened, called, task, decode, classes)
    reading = model.contract.reading
    assert isinstance(reading, QueryMasks | QueryMaskReading)
    reading = replace(reading, between=SEGMENTS[opened.called])
    return replace(model, contract=replace(model.contract, reading=reading))


def refuse_depth(opened: Opened) -> None:
    """Raise CheckpointError for a network whose depth transformers reads in another way."""
    if opened.called not in CUBIC_DEPTH:
        raise CheckpointError(
            f"{opened.folder} holds a {opened.called}, whose depth transformers computes outside of the "
            f"network; those that are read: {', '.join(CUBIC_DEPTH)}. Build it with the family module"
        )


def depth(opened: Opened, network: nn.Module) -> WrappedModel:
    """A network that tells the depth of every pixel.

    The runtime brings the map to the picture's pixels by cubic interpolation, as transformers'
    ``post_process_depth_estimation`` does.
    """
    called = Called(network, (PIXELS,), {DEPTH: "predicted_depth"})
    model = wrap_pictures(opened, called, task_of(opened.job, "depth"), opened.job.wrapper.decode, ())
    reading = MapValues((DEPTH,), (HEIGHT, WIDTH), "cubic")
    return replace(model, contract=replace(model.contract, reading=reading))


def embedding(opened: Opened, network: nn.Module) -> WrappedModel:
    """A picture encoder. Its vector is the projection, or without one what the network's pooler returns."""
    key = "image_embeds" if opened.called.endswith(PROJECTED) else "pooler_output"
    called = Called(network, (PIXELS,), {"embeddings": key})
    return wrap_pictures(opened, called, task_of(opened.job, "embedding"), opened.job.wrapper.decode, ())


def pairs(opened: Opened, network: nn.Module) -> WrappedModel:
    """A network that says how well each picture and each text fit together: CLIP, SigLIP."""
    task = task_of(opened.job, "embedding")
    decode_of(opened.job, "none")
    sigmoid = SIGLIP in opened.called
    port, own, dims = picture_port(opened, _text_dims(opened))
    last = opened.config.text_config.vocab_size - 1.0
    inputs = [own, TensorSpec(IDS, "int64", (TEXTS, TIME), (0.0, last))]
    if not sigmoid:
        inputs.append(TensorSpec(MASK, "int64", (TEXTS, TIME), mask=True))
    inputs = taken(opened, network, inputs)
    names = [spec.name for spec in inputs]
    model = wrap_module(
        Called(network, names, {name: name for name in PAIR_OUTPUTS}),
        inputs,
        dims,
        name=opened.job.name,
        family=FAMILY_NAME,
        picture=port,
    )
    fields = tuple(
        Field(spec.name, "logit" if spec.name == PAIR_OUTPUTS[0] else spec.name, "")
        for spec in model.contract.outputs
    )
    reading = Pairs(PAIR_OUTPUTS[:2], "sigmoid" if sigmoid else "softmax")
    return replace(model, contract=replace(model.contract, task=task, fields=fields, reading=reading))


def pair_dims(opened: Opened) -> tuple[Dim, ...]:
    """The dims of pairs: of the pictures, then of the texts."""
    return picture_port(opened, _text_dims(opened))[2]


def _text_dims(opened: Opened) -> dict[str, Dim]:
    most = most_tokens(opened.config.text_config, opened)
    # SigLIP is trained with texts padded to one length.
    least = most if SIGLIP in opened.called else min(2, most)
    return {TEXTS: Dim(TEXTS, 1, 8), TIME: Dim(TIME, least, most)}


def wrap_pictures(
    opened: Opened,
    called: nn.Module,
    task: str,
    decode: str,
    classes: tuple[ClassInfo, ...],
    validation: ValidateTable | None = None,
) -> WrappedModel:
    """Put a task's head behind a network that takes a picture alone, and its input stage in front."""
    port, own, dims = picture_port(opened)
    return wrap_module(
        called,
        (own,),
        dims,
        name=opened.job.name,
        family=FAMILY_NAME,
        task=task,
        decode=decode,
        classes=classes,
        picture=port,
        validation=validation or opened.job.validation,
    )
