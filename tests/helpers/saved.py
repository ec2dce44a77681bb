"""Small seeded models as transformers saves them: configuration, weights and image processor."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
import transformers

LABELS = {0: "cat", 1: "dog", 2: "bird"}
NAMED: dict[str, Any] = {"id2label": LABELS, "label2id": {name: number for number, name in LABELS.items()}}

NARROW: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
"""A small transformer."""

RESNET: dict[str, Any] = {
    "model_type": "resnet",
    "num_channels": 3,
    "embedding_size": 8,
    "hidden_sizes": [8, 8, 8, 16],
    "depths": [1, 1, 1, 1],
    "out_features": ["stage4"],
}
WORDS: dict[str, Any] = {"vocab_size": 40, "max_position_embeddings": 24}

TAGS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}

DETR: dict[str, Any] = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "num_queries": 8,
}

RT_DETR: dict[str, Any] = {
    **NAMED,
    "backbone_config": {
        "model_type": "rt_detr_resnet",
        "embedding_size": 8,
        "hidden_sizes": [8, 8, 16, 16],
        "depths": [1, 1, 1, 1],
        "layer_type": "basic",
        "out_features": ["stage2", "stage3", "stage4"],
    },
    "use_timm_backbone": False,
    "backbone": None,
    "encoder_hidden_dim": 16,
    "encoder_in_channels": [8, 16, 16],
    "feat_strides": [8, 16, 32],
    "encoder_layers": 1,
    "encoder_ffn_dim": 16,
    "encoder_attention_heads": 2,
    "d_model": 16,
    "num_queries": 8,
    "decoder_in_channels": [16, 16, 16],
    "decoder_ffn_dim": 16,
    "num_feature_levels": 3,
    "decoder_n_points": 2,
    "decoder_layers": 2,
    "decoder_attention_heads": 2,
    "num_denoising": 0,
    "anchor_image_size": None,
}
D_FINE: dict[str, Any] = {
    **RT_DETR,
    "decoder_n_points": [2, 2, 2],
    "num_feature_levels": 3,
    "hidden_expansion": 1.0,
    "backbone_config": {
        "model_type": "hgnet_v2",
        "num_channels": 3,
        "embedding_size": 8,
        "hidden_sizes": [16, 16, 16, 16],
        "depths": [1, 1, 1, 1],
        "stem_channels": [3, 8, 8],
        "stage_in_channels": [8, 16, 16, 16],
        "stage_mid_channels": [8, 8, 8, 8],
        "stage_out_channels": [16, 16, 16, 16],
        "stage_num_blocks": [1, 1, 1, 1],
        "stage_downsample": [False, True, True, True],
        "stage_light_block": [False, False, True, True],
        "stage_kernel_size": [3, 3, 5, 5],
        "stage_numb_of_layers": [1, 1, 1, 1],
        "out_features": ["stage2", "stage3", "stage4"],
    },
}
SQUARE: dict[str, Any] = {"size": {"height": 64, "width": 64}}
SWIN: dict[str, Any] = {
    "model_type": "swin",
    "image_size": 64,
    "embed_dim": 8,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 1, 2, 2],
    "window_size": 4,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
MASK2FORMER: dict[str, Any] = {
    **NAMED,
    "feature_size": 64,
    "mask_feature_size": 16,
    "hidden_dim": 64,
    "encoder_feedforward_dim": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "dim_feedforward": 32,
    "num_attention_heads": 2,
    "num_queries": 6,
    "backbone_config": SWIN,
}
SPEECH: dict[str, Any] = {
    **NARROW,
    "vocab_size": 8,
    "conv_dim": [8, 8],
    "conv_kernel": [10, 3],
    "conv_stride": [5, 2],
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "num_feat_extract_layers": 2,
    "pad_token_id": 0,
}
HEARD: dict[str, Any] = {"do_normalize": True, "return_attention_mask": False, "sampling_rate": 400}


class Saved(NamedTuple):
    """How a model is made: the class of its network, the settings of its configuration, and its processor."""

    network: str
    settings: Mapping[str, Any]
    processor: str = ""
    pictures: Mapping[str, Any] = MappingProxyType({})


MODELS: Mapping[str, Saved] = MappingProxyType(
    {
        "vit": Saved(
            "ViTForImageClassification",
            {**NARROW, **NAMED, "image_size": 32, "patch_size": 8},
            "ViTImageProcessor",
            {"size": {"height": 32, "width": 32}},
        ),
        "convnext": Saved(
            "ConvNextForImageClassification",
            {**NAMED, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]},
            "ConvNextImageProcessor",
            {"size": {"shortest_edge": 64}, "crop_pct": 0.875},
        ),
        "resnet": Saved(
            "ResNetForImageClassification",
            {**NAMED, **{key: RESNET[key] for key in ("embedding_size", "hidden_sizes", "depths")}},
            "ConvNextImageProcessor",
            {"size": {"shortest_edge": 64}, "crop_pct": 0.875},
        ),
        "segformer": Saved(
            "SegformerForSemanticSegmentation",
            {
                **NAMED,
                "depths": [1, 1, 1, 1],
                "hidden_sizes": [8, 8, 16, 16],
                "num_attention_heads": [1, 1, 2, 2],
                "decoder_hidden_size": 16,
            },
            "SegformerImageProcessor",
            {"size": {"height": 64, "width": 64}},
        ),
        "detr": Saved(
            "DetrForObjectDetection",
            {**NAMED, **DETR, "use_timm_backbone": False, "backbone": None, "backbone_config": RESNET},
            "DetrImageProcessor",
            {"size": {"shortest_edge": 64, "longest_edge": 96}},
        ),
        "conditional-detr": Saved(
            "ConditionalDetrForObjectDetection",
            {**NAMED, **DETR, "use_timm_backbone": False, "backbone": None, "backbone_config": RESNET},
            "ConditionalDetrImageProcessor",
            {"size": {"shortest_edge": 64, "longest_edge": 96}},
        ),
        "table-transformer": Saved(
            "TableTransformerForObjectDetection",
            {
                **NAMED,
                **DETR,
                "decoder_layers": 3,
                "use_timm_backbone": False,
                "backbone": None,
                "backbone_config": RESNET,
            },
            "DetrImageProcessor",
            {"size": {"shortest_edge": 64, "longest_edge": 96}},
        ),
        "dab-detr": Saved(
            "DabDetrForObjectDetection",
            {
                **NAMED,
                **{key: value for key, value in DETR.items() if key != "d_model"},
                "hidden_size": 16,
                "use_timm_backbone": False,
                "backbone": None,
                "backbone_config": RESNET,
            },
            "ConditionalDetrImageProcessor",
            {"size": {"shortest_edge": 64, "longest_edge": 96}},
        ),
        "deformable-detr": Saved(
            "DeformableDetrForObjectDetection",
            {
                **NAMED,
                **DETR,
                "d_model": 64,
                "use_timm_backbone": False,
                "backbone": None,
                "backbone_config": {**RESNET, "out_features": ["stage2", "stage3", "stage4"]},
                "num_feature_levels": 4,
            },
            "DeformableDetrImageProcessor",
            {"size": {"shortest_edge": 64, "longest_edge": 96}},
        ),
        "lw-detr": Saved(
            "LwDetrForObjectDetection",
            {
                **NAMED,
                "backbone_config": {
                    "model_type": "lw_detr_vit",
                    **{key: value for key, value in NARROW.items() if key != "intermediate_size"},
                    "image_size": 64,
                    "pretrain_image_size": 64,
                    "window_block_indices": [0],
                    "num_windows": 4,
                    "out_indices": [1, 2],
                },
                "projector_scale_factors": [1.0],
                "c2f_num_blocks": 1,
                "d_model": 16,
                "decoder_layers": 2,
                "decoder_ffn_dim": 16,
                "decoder_n_points": 2,
                "decoder_self_attention_heads": 2,
                "decoder_cross_attention_heads": 2,
                "num_queries": 8,
                "group_detr": 2,
            },
            "DeformableDetrImageProcessor",
            SQUARE,
        ),
        "rt-detr": Saved("RTDetrForObjectDetection", RT_DETR, "RTDetrImageProcessor", SQUARE),
        "rt-detr-v2": Saved("RTDetrV2ForObjectDetection", RT_DETR, "RTDetrImageProcessor", SQUARE),
        "d-fine": Saved("DFineForObjectDetection", D_FINE, "RTDetrImageProcessor", SQUARE),
        "deimv2": Saved("Deimv2ForObjectDetection", D_FINE, "RTDetrImageProcessor", SQUARE),
        "yolos": Saved(
            "YolosForObjectDetection",
            {
                **NARROW,
                **NAMED,
                "image_size": [64, 96],
                "patch_size": 16,
                "num_detection_tokens": 8,
                "use_mid_position_embeddings": False,
            },
            "YolosImageProcessor",
            {"size": {"shortest_edge": 64, "longest_edge": 96}},
        ),
        "mask2former": Saved(
            "Mask2FormerForUniversalSegmentation", MASK2FORMER, "Mask2FormerImageProcessor", SQUARE
        ),
        "maskformer": Saved(
            "MaskFormerForInstanceSegmentation",
            {
                **NAMED,
                "fpn_feature_size": 32,
                "mask_feature_size": 32,
                "num_attention_heads": 2,
                "backbone_config": SWIN,
                "decoder_config": {"model_type": "detr", **DETR},
            },
            "MaskFormerImageProcessor",
            SQUARE,
        ),
        "dpt": Saved(
            "DPTForDepthEstimation",
            {
                **NARROW,
                "num_hidden_layers": 4,
                "image_size": 32,
                "patch_size": 8,
                "backbone_out_indices": [0, 1, 2, 3],
                "neck_hidden_sizes": [8, 8, 8, 8],
                "fusion_hidden_size": 8,
                "is_hybrid": False,
            },
            "DPTImageProcessor",
            {"size": {"height": 32, "width": 32}},
        ),
        "depth-anything": Saved(
            "DepthAnythingForDepthEstimation",
            {
                "backbone_config": {
                    "model_type": "dinov2",
                    **{key: value for key, value in NARROW.items() if key != "intermediate_size"},
                    "mlp_ratio": 2,
                    "num_hidden_layers": 4,
                    "image_size": 70,
                    "patch_size": 14,
                    "out_indices": [1, 2, 3, 4],
                    "reshape_hidden_states": False,
                },
                "patch_size": 14,
                "reassemble_hidden_size": 16,
                "neck_hidden_sizes": [8, 8, 8, 8],
                "fusion_hidden_size": 8,
                "head_hidden_size": 8,
            },
            "DPTImageProcessor",
            {"size": {"height": 70, "width": 70}},
        ),
        "glpn": Saved(
            "GLPNForDepthEstimation",
            {
                "depths": [1, 1, 1, 1],
                "hidden_sizes": [8, 8, 16, 16],
                "num_attention_heads": [1, 1, 2, 2],
                "decoder_hidden_size": 16,
            },
            "GLPNImageProcessor",
            {"size_divisor": 32},
        ),
        "bert": Saved("BertForSequenceClassification", {**NARROW, **NAMED, **WORDS}),
        "roberta-tokens": Saved(
            "RobertaForTokenClassification",
            {**NARROW, **WORDS, "type_vocab_size": 1, "id2label": TAGS},
        ),
        "esm": Saved(
            "EsmForSequenceClassification",
            {
                **NARROW,
                **NAMED,
                **WORDS,
                "pad_token_id": 1,
                "mask_token_id": 39,
                "position_embedding_type": "absolute",
            },
        ),
        "distilbert": Saved(
            "DistilBertModel",
            {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, **WORDS},
        ),
        "wav2vec2": Saved("Wav2Vec2ForCTC", SPEECH, "Wav2Vec2FeatureExtractor", HEARD),
        "hubert": Saved("HubertForCTC", SPEECH, "Wav2Vec2FeatureExtractor", HEARD),
        "wavlm": Saved(
            "WavLMForCTC",
            {**SPEECH, "num_buckets": 8, "max_bucket_distance": 16},
            "Wav2Vec2FeatureExtractor",
            HEARD,
        ),
        "vit-encoder": Saved(
            "ViTModel",
            {**NARROW, "image_size": 32, "patch_size": 8},
            "ViTImageProcessor",
            {"size": {"height": 32, "width": 32}},
        ),
        "clip": Saved(
            "CLIPModel",
            {
                "text_config": {**NARROW, "vocab_size": 40, "max_position_embeddings": 12},
                "vision_config": {**NARROW, "image_size": 32, "patch_size": 8},
                "projection_dim": 8,
            },
            "CLIPImageProcessor",
            {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}},
        ),
        "siglip": Saved(
            "SiglipModel",
            {
                "text_config": {**NARROW, "vocab_size": 40, "max_position_embeddings": 12},
                "vision_config": {**NARROW, "image_size": 32, "patch_size": 8},
            },
            "SiglipImageProcessor",
            {"size": {"height": 32, "width": 32}},
        ),
    }
)


SCORES = ("classifier", "class_labels_classifier", "class_embed", "score_head", "class_predictor")
"""Parts of the names of layers that score classes."""


def network_of(saved: Saved, seed: int = 0) -> Any:
    """The network in evaluation mode.

    Its weights keep the signal's size from layer to layer, and its scores differ, so that it decides
    something.
    """
    torch.manual_seed(seed)
    kind = getattr(transformers, saved.network)
    network = kind(kind.config_class(**saved.settings)).eval()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            scores = any(part in name for part in SCORES)
            if weight.ndim > 1:
                torch.nn.init.normal_(weight, std=(4 if scores else 1) * weight[0].numel() ** -0.5)
            elif scores and name.endswith("bias"):
                torch.nn.init.normal_(weight)
    return network


def save(folder: Path, saved: Saved, alter: Callable[[Any], None] = lambda network: None) -> Any:
    """Write the folder. Returns the network, after ``alter`` has changed it."""
    network = network_of(saved)
    alter(network)
    network.save_pretrained(folder)
    if saved.processor:
        getattr(transformers, saved.processor)(**saved.pictures).save_pretrained(folder)
    return network
