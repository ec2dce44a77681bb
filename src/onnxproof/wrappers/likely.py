"""Tell by its tensors' names which architecture a checkpoint is likely of, and which families may know it."""

from collections.abc import Collection
from dataclasses import dataclass

CLASSIFIERS = ("torchvision_classifier", "timm_classifier")


@dataclass(frozen=True, slots=True)
class Mark:
    """The name of a tensor, in full or after a prefix, that only one architecture has.

    ``families`` are those to ask whether the checkpoint is theirs, in this order.
    """

    tensor: str
    architecture: str
    families: tuple[str, ...] = ()


MARKS = (
    Mark("backbone.backbone.stem.conv.conv.weight", "a YOLOX in Megvii's layout", ("yolox",)),
    Mark("backbone.backbone.stem.conv.bn.weight", "a YOLOX in Megvii's layout", ("yolox",)),
    Mark("backbone.stem.conv.conv.weight", "a YOLOX of cjm_yolox_pytorch (family yolox)", ("yolox",)),
    Mark("backbone.stem.conv.bn.weight", "a YOLOX of cjm_yolox_pytorch (family yolox)", ("yolox",)),
    Mark("model.0.conv.weight", "a YOLO of Ultralytics", ("ultralytics",)),
    Mark(
        "backbone.body.layer1.0.conv1.weight",
        "a detector of torchvision (family torchvision_detector)",
        ("torchvision_detector",),
    ),
    Mark(
        "backbone.body.conv1.weight",
        "a detector or segmenter of torchvision",
        ("torchvision_detector", "torchvision_segmenter"),
    ),
    Mark("classifier.0.convs.0.0.weight", "a DeepLabV3 of torchvision", ("torchvision_segmenter",)),
    Mark("classifier.low_classifier.weight", "an LR-ASPP of torchvision", ("torchvision_segmenter",)),
    Mark("classifier.high_classifier.weight", "an LR-ASPP of torchvision", ("torchvision_segmenter",)),
    Mark("backbone.features.0.weight", "an SSD of torchvision", ("torchvision_detector",)),
    Mark("backbone.features.0.0.0.weight", "an SSDlite of torchvision", ("torchvision_detector",)),
    Mark("backbone.conv_encoder.model.conv1.weight", "a DETR of transformers", ("transformers",)),
    Mark(
        "segformer.encoder.patch_embeddings.0.proj.weight", "a SegFormer of transformers", ("transformers",)
    ),
    Mark("vit.embeddings.cls_token", "a ViT of transformers", ("transformers",)),
    Mark(
        "embeddings.word_embeddings.weight",
        "a BERT or one of its kind, of transformers",
        ("transformers",),
    ),
    Mark("model.embed_tokens.weight", "a language model of transformers", ("transformers",)),
    Mark(
        "backbone.layer1.0.conv1.weight",
        "a network on a ResNet, as torchvision and mmengine name it",
        ("torchvision_segmenter",),
    ),
    Mark("encoder.layers.encoder_layer_0.ln_1.weight", "a ViT of torchvision", CLASSIFIERS[:1]),
    Mark(
        "layers.0.blocks.0.attn.relative_position_bias_table",
        "a Swin transformer of timm",
        ("timm_classifier",),
    ),
    Mark("blocks.0.attn.qkv.weight", "a vision transformer of timm", ("timm_classifier",)),
    Mark("stages.0.blocks.0.conv_dw.weight", "a ConvNeXt of timm", ("timm_classifier",)),
    Mark("features.0.0.weight", "a MobileNet, EfficientNet or ConvNeXt of torchvision", CLASSIFIERS[:1]),
    Mark("conv_stem.weight", "an EfficientNet or MobileNet of timm", ("timm_classifier",)),
    Mark("segmentation_head.0.weight", "a segmenter of segmentation-models-pytorch", ("smp",)),
    Mark("layer1.0.conv1.weight", "a ResNet of torchvision or timm", CLASSIFIERS),
)
"""From the most telling to the least."""

PACKAGES = {
    "ultralytics": "ultralytics",
    "segmentation_models_pytorch": "smp",
    "transformers": "transformers",
}
"""The families of the packages whose classes a pickled model names."""


def likely_marks(names: Collection[str]) -> tuple[Mark, ...]:
    """The marks among the names, from the most telling to the least."""
    return tuple(
        mark
        for mark in MARKS
        if any(name == mark.tensor or name.endswith(f".{mark.tensor}") for name in names)
    )


def likely_architecture(names: Collection[str]) -> str | None:
    """The architecture that names point to. Returns None if they point to none that is known."""
    found = likely_marks(names)
    return found[0].architecture if found else None
