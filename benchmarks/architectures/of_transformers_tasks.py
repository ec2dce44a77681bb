"""transformers' small networks for tasks: decoding with a cache, boxes, masks, depth, text with pictures."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import transformers
from torch import Tensor, nn

from architectures.architecture import BATCH, STEPS, Architecture, Chosen, picture
from architectures.of_transformers import (
    ENCODER_DECODER,
    IDS,
    LIBRARY,
    PAIR,
    PAIR_STEPS,
    SIZES,
    VOCABULARY,
    decoder,
    of,
    seen,
    sound,
    text,
)

LAYERS = 2

VISION: dict[str, Any] = {**SIZES, "image_size": 32, "patch_size": 8}
WORDS: dict[str, Any] = {**SIZES, "vocab_size": VOCABULARY, "max_position_embeddings": 16}


def new(kind: str, *arguments: Any, **options: Any) -> Any:
    """What a class of transformers, called ``kind``, makes of arguments."""
    return getattr(transformers, kind)(*arguments, **options)


class Cached(nn.Module):
    """A decoder that goes on from a cache, and gives the cache back."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        """Tokens [b, t] and keys and values [b, heads, p, d] a layer to logits and the longer cache."""
        cache = transformers.DynamicCache()
        for layer in range(LAYERS):
            cache.update(past[2 * layer], past[2 * layer + 1], layer)
        answered = self.network(input_ids=input_ids, past_key_values=cache, use_cache=True)
        kept = answered.past_key_values.layers
        return (answered.logits, *(one for layer in kept for one in (layer.keys, layer.values)))


def cached(name: str, kind: str, *, heads: int, **options: Any) -> Architecture:
    """A causal language model with its cache as inputs and outputs."""

    def build() -> nn.Module:
        model = getattr(transformers, kind)
        config = model.config_class(vocab_size=VOCABULARY, **{**SIZES, **options})
        return Cached(model(config).eval())

    past = {
        f"past_{part}_{layer}": f"float32[batch, {heads}, past, 8] in -2..2"
        for layer in range(LAYERS)
        for part in ("key", "value")
    }
    return Architecture(name, LIBRARY, build, {**IDS, **past}, {**STEPS, "past": "4..9"})


def built(make: Callable[[], nn.Module], names: Mapping[str, str], answer: str | int) -> nn.Module:
    return Chosen(make(), tuple(names), answer)


def composed(
    name: str,
    make: Callable[[], nn.Module],
    inputs: Mapping[str, str],
    dims: Mapping[str, str],
    answer: str | int,
) -> Architecture:
    """A network whose configuration is made of others."""
    return Architecture(name, LIBRARY, partial(built, make, inputs, answer), inputs, dims)


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


IMAGE_AND_TEXT = {"pixel_values": picture(32)["image"], "input_ids": "int64[batch, time] in 3..98"}
NAMED = {"input_ids": "int64[batch, 8] in 3..98", "pixel_values": picture(32)["image"]}

SEEN = {"pixel_values": picture(64)["image"]}
SEEN_32 = {"pixel_values": picture(32)["image"]}
ANY_SIZE = {"pixel_values": "float32[batch, 3, height, width] in -2..2"}
SIZES_OF_ANY = {"batch": "1..2", "height": "64..128 step 32", "width": "64..128 step 32"}

ARCHITECTURES: tuple[Architecture, ...] = (
    cached("gpt2-cached", "GPT2LMHeadModel", heads=4, n_embd=32, n_layer=2, n_head=4, n_positions=32),
    cached("llama-cached", "LlamaForCausalLM", heads=2, num_key_value_heads=2, max_position_embeddings=32),
    cached("qwen2-cached", "Qwen2ForCausalLM", heads=2, num_key_value_heads=2, max_position_embeddings=32),
    of(
        "t5",
        "T5",
        PAIR,
        PAIR_STEPS,
        vocab_size=VOCABULARY,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        use_cache=False,
    ),
    of("marian", "Marian", PAIR, PAIR_STEPS, **ENCODER_DECODER, pad_token_id=1, use_cache=False),
    decoder("mixtral", "Mixtral", num_key_value_heads=2, num_local_experts=4),
    decoder("falcon", "Falcon", multi_query=True),
    decoder("phi", "Phi"),
    text("electra", "Electra", embedding_size=16),
    text("distilbert", "DistilBert", dim=32, n_layers=2, n_heads=4, hidden_dim=48),
    text("xlnet", "XLNet", IDS, d_model=32, n_layer=2, n_head=4, d_inner=48),
    # Whether the sequence is padded to whole windows is decided in Python (modeling_longformer.py:1347 in
    # _pad_to_window_size), and so is whether a token looks at all others (549 in forward), which leaves
    # TorchScript. It cannot write views of overlapping memory: ``onnx_export`` is the library's switch.
    of(
        "longformer",
        "Longformer",
        IDS,
        {**STEPS, "time": "12"},
        vocab_size=VOCABULARY,
        **{**SIZES, "max_position_embeddings": 40},
        attention_window=4,
        onnx_export=True,
    ),
    text("esm", "Esm", max_position_embeddings=32, pad_token_id=1, mask_token_id=2),
    of(
        "layoutlm",
        "LayoutLM",
        {"input_ids": "int64[batch, time] in 3..99", "bbox": "int64[batch, time, 4] in 5..5"},
        STEPS,
        vocab_size=VOCABULARY,
        **SIZES,
        max_2d_position_embeddings=16,
    ),
    sound("hubert", "Hubert"),
    sound("sew", "SEW", squeeze_factor=2),
    Architecture("hifigan", LIBRARY, Vocoder, {"spectrogram": "float32[batch, time, 8] in -2..2"}, STEPS),
    seen("deit", "DeiT", 32, **VISION),
    seen("convnextv2", "ConvNextV2", 64, hidden_sizes=[8, 12, 16, 24], depths=[1, 1, 1, 1]),
    seen(
        "pvt",
        "Pvt",
        64,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1] * 4,
        num_attention_heads=[1, 1, 2, 2],
        image_size=64,
    ),
    of(
        "videomae",
        "VideoMAE",
        {"pixel_values": "float32[batch, 4, 3, 32, 32] in -2..2"},
        BATCH,
        **VISION,
        num_frames=4,
        tubelet_size=2,
    ),
    of(
        "swin2sr",
        "Swin2SRForImageSuperResolution",
        {"pixel_values": "float32[batch, 3, 32, 32] in 0..1"},
        BATCH,
        "reconstruction",
        image_size=32,
        embed_dim=12,
        depths=[1, 1],
        num_heads=[2, 2],
        window_size=4,
        upscale=2,
    ),
    seen(
        "yolos",
        "YolosForObjectDetection",
        32,
        "logits",
        **{**VISION, "image_size": [32, 32]},
        num_detection_tokens=5,
    ),
    composed("detr", detr, ANY_SIZE, SIZES_OF_ANY, "pred_boxes"),
    composed("deformable-detr", deformable, SEEN, BATCH, "pred_boxes"),
    composed("rt-detr", real_time, SEEN, BATCH, "pred_boxes"),
    composed("mask2former", masked, SEEN, BATCH, "masks_queries_logits"),
    composed("dpt", dense_depth, SEEN_32, BATCH, "predicted_depth"),
    composed("depth-anything", depth_anything, SEEN_32, BATCH, "predicted_depth"),
    composed("clip", clip, NAMED, BATCH, "logits_per_image"),
    composed("siglip", siglip, NAMED, BATCH, "logits_per_image"),
    composed("blip", blip, NAMED, BATCH, "itm_score"),
    # modeling_llava.py takes the features of a batch apart into a list and joins it again: a fixed batch.
    Architecture("llava", LIBRARY, Illustrated, IMAGE_AND_TEXT, {**STEPS, "batch": "2"}),
    of(
        "patchtsmixer",
        "PatchTSMixer",
        {"past_values": "float32[batch, 32, 3] in -1..1"},
        BATCH,
        num_input_channels=3,
        context_length=32,
        patch_length=8,
        patch_stride=8,
        d_model=16,
        num_layers=2,
    ),
)
