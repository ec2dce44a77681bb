"""transformers' small networks whose configuration is made of others: boxes, masks, depth, text."""

from typing import Any

import transformers
from torch import Tensor, nn

from architectures.of_transformers import ENCODER_DECODER, SIZES, VOCABULARY

VISION: dict[str, Any] = {**SIZES, "image_size": 32, "patch_size": 8}
WORDS: dict[str, Any] = {**SIZES, "vocab_size": VOCABULARY, "max_position_embeddings": 16}


def new(kind: str, *arguments: Any, **options: Any) -> Any:
    """What a class of transformers, called ``kind``, makes of arguments."""
    return getattr(transformers, kind)(*arguments, **options)


def backbone() -> Any:
    network = new(
        "ResNetConfig",
        embedding_size=8,
        hidden_sizes=[8, 12, 16, 24],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    return network


def detr() -> nn.Module:
    one = backbone()
    one.out_features = ["stage4"]
    network: nn.Module = new(
        "DetrForObjectDetection",
        new(
            "DetrConfig",
            use_timm_backbone=False,
            use_pretrained_backbone=False,
            backbone=None,
            backbone_config=one,
            num_queries=5,
            **{key: value for key, value in ENCODER_DECODER.items() if key != "vocab_size"},
        ),
    )
    return network


def deformable() -> nn.Module:
    sizes = {key: value for key, value in ENCODER_DECODER.items() if key != "vocab_size"}
    network: nn.Module = new(
        "DeformableDetrForObjectDetection",
        new(
            "DeformableDetrConfig",
            use_timm_backbone=False,
            use_pretrained_backbone=False,
            backbone=None,
            backbone_config=backbone(),
            num_queries=5,
            num_feature_levels=3,
            **sizes,
        ),
    )
    return network


def real_time() -> nn.Module:
    network: nn.Module = new(
        "RTDetrForObjectDetection",
        new(
            "RTDetrConfig",
            backbone_config=new(
                "RTDetrResNetConfig",
                embedding_size=8,
                hidden_sizes=[8, 12, 16, 24],
                depths=[1, 1, 1, 1],
                layer_type="basic",
                out_features=["stage2", "stage3", "stage4"],
            ),
            encoder_hidden_dim=16,
            encoder_in_channels=[12, 16, 24],
            encoder_ffn_dim=24,
            encoder_attention_heads=2,
            d_model=16,
            decoder_in_channels=[16, 16, 16],
            decoder_attention_heads=2,
            decoder_ffn_dim=24,
            decoder_layers=2,
            num_queries=6,
            num_denoising=0,
            num_labels=4,
        ),
    )
    return network


def masked() -> nn.Module:
    swin = new(
        "SwinConfig",
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 2, 2, 2],
        window_size=4,
        image_size=64,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    network: nn.Module = new(
        "Mask2FormerForUniversalSegmentation",
        new(
            "Mask2FormerConfig",
            backbone_config=swin,
            feature_size=32,
            mask_feature_size=32,
            hidden_dim=32,
            encoder_feedforward_dim=16,
            encoder_layers=1,
            decoder_layers=2,
            num_attention_heads=2,
            dim_feedforward=24,
            num_queries=4,
        ),
    )
    return network


def dense_depth() -> nn.Module:
    network: nn.Module = new(
        "DPTForDepthEstimation",
        new(
            "DPTConfig",
            **{**VISION, "num_hidden_layers": 4},
            backbone_out_indices=[0, 1, 2, 3],
            neck_hidden_sizes=[8, 8, 8, 8],
            fusion_hidden_size=8,
        ),
    )
    return network


def depth_anything() -> nn.Module:
    dino = new(
        "Dinov2Config",
        **{**VISION, "num_hidden_layers": 4},
        mlp_ratio=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
        reshape_hidden_states=False,
        apply_layernorm=True,
    )
    network: nn.Module = new(
        "DepthAnythingForDepthEstimation",
        new(
            "DepthAnythingConfig",
            backbone_config=dino,
            patch_size=8,
            reassemble_hidden_size=32,
            neck_hidden_sizes=[8, 8, 8, 8],
            fusion_hidden_size=8,
            head_hidden_size=8,
        ),
    )
    return network


def clip() -> nn.Module:
    network: nn.Module = new(
        "CLIPModel",
        new("CLIPConfig", text_config={**WORDS, "eos_token_id": 99}, vision_config=VISION, projection_dim=16),
    )
    return network


def siglip() -> nn.Module:
    network: nn.Module = new("SiglipModel", new("SiglipConfig", text_config=WORDS, vision_config=VISION))
    return network


def blip() -> nn.Module:
    network: nn.Module = new(
        "BlipForImageTextRetrieval",
        new(
            "BlipConfig",
            text_config={**WORDS, "encoder_hidden_size": 32},
            vision_config=VISION,
            image_text_hidden_size=16,
        ),
    )
    return network


def llava() -> nn.Module:
    text_config = new("LlamaConfig", **WORDS, num_key_value_heads=2)
    vision = new("CLIPVisionConfig", **VISION)
    network: nn.Module = new(
        "LlavaForConditionalGeneration",
        new(
            "LlavaConfig",
            text_config=text_config,
            vision_config=vision,
            image_token_index=99,
            vision_feature_select_strategy="default",
        ),
    )
    return network


def vits() -> nn.Module:
    network: nn.Module = new(
        "SpeechT5HifiGan",
        new(
            "SpeechT5HifiGanConfig",
            model_in_dim=8,
            upsample_initial_channel=16,
            upsample_rates=[2, 2],
            upsample_kernel_sizes=[4, 4],
            resblock_kernel_sizes=[3],
            resblock_dilation_sizes=[[1, 3]],
        ),
    )
    return network


class Vocoder(nn.Module):
    """HiFi-GAN: spectrograms to waves."""

    def __init__(self) -> None:
        super().__init__()
        self.network = vits()

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Spectrograms [b, t, 8] to waves."""
        wave: Tensor = self.network(spectrogram)
        return wave


class Illustrated(nn.Module):
    """LLaVA: the logits of a text that holds a picture. The picture's tokens stand in front."""

    def __init__(self) -> None:
        super().__init__()
        self.network = llava()

    def forward(self, pixel_values: Tensor, input_ids: Tensor) -> Tensor:
        """Pictures [b, 3, 32, 32] and tokens [b, t] to logits."""
        ids = nn.functional.pad(input_ids, (16, 0), value=99)
        logits: Tensor = self.network(input_ids=ids, pixel_values=pixel_values, use_cache=False).logits
        return logits
