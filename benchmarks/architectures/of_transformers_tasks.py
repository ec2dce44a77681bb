"""transformers' small networks for tasks: decoding with a cache, boxes, masks, depth, text with pictures."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import transformers
from torch import Tensor, nn

from architectures.architecture import BATCH, STEPS, Architecture, Chosen, picture
from architectures.composed_transformers import (
    VISION,
    Illustrated,
    Vocoder,
    blip,
    clip,
    deformable,
    dense_depth,
    depth_anything,
    detr,
    masked,
    real_time,
    siglip,
)
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
