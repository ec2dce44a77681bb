"""Tell by its tensors' names which architecture a checkpoint is likely of."""

from collections.abc import Collection

MARKS = (
    ("backbone.backbone.stem.conv.conv.weight", "a YOLOX in Megvii's layout"),
    ("backbone.stem.conv.conv.weight", "a YOLOX of cjm_yolox_pytorch (family yolox)"),
    ("model.0.conv.weight", "a YOLO of Ultralytics"),
    ("backbone.body.layer1.0.conv1.weight", "a detector of torchvision (family torchvision_detector)"),
    ("backbone.body.conv1.weight", "a detector or segmenter of torchvision"),
    ("backbone.conv_encoder.model.conv1.weight", "a DETR of transformers"),
    ("segformer.encoder.patch_embeddings.0.proj.weight", "a SegFormer of transformers"),
    ("vit.embeddings.cls_token", "a ViT of transformers"),
    ("embeddings.word_embeddings.weight", "a BERT or one of its kind, of transformers"),
    ("model.embed_tokens.weight", "a language model of transformers"),
    ("backbone.layer1.0.conv1.weight", "a network on a ResNet, as torchvision and mmengine name it"),
    ("encoder.layers.encoder_layer_0.ln_1.weight", "a ViT of torchvision"),
    ("layers.0.blocks.0.attn.relative_position_bias_table", "a Swin transformer of timm"),
    ("blocks.0.attn.qkv.weight", "a vision transformer of timm"),
    ("stages.0.blocks.0.conv_dw.weight", "a ConvNeXt of timm"),
    ("features.0.0.weight", "a MobileNet, EfficientNet or ConvNeXt of torchvision"),
    ("conv_stem.weight", "an EfficientNet or MobileNet of timm"),
    ("encoder.conv1.weight", "a segmenter of segmentation-models-pytorch"),
    ("layer1.0.conv1.weight", "a ResNet of torchvision or timm"),
)
"""A name of each architecture, in full or after a prefix, from the most telling to the least."""


def likely_architecture(names: Collection[str]) -> str | None:
    """The architecture that names point to. Returns None if they point to none that is known."""
    for mark, architecture in MARKS:
        if any(name == mark or name.endswith(f".{mark}") for name in names):
            return architecture
    return None
