"""Small networks of libraries of attention: vit-pytorch, x-transformers, open_clip, conformer."""

from functools import partial

from torch import Tensor, nn

from architectures.architecture import BATCH, STEPS, Architecture, by, made, picture

SERIES = {"series": "float32[batch, time, 16] in -2..2"}
SMALL = {"num_classes": 5, "dim": 16, "depth": 1, "heads": 2, "mlp_dim": 32}


class Matched(nn.Module):
    """CLIP of open_clip: pictures and texts to embeddings of unit length."""

    def __init__(self) -> None:
        super().__init__()
        vision = {"layers": 2, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32}
        text = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 2}
        self.network = made(
            "open_clip:CLIP",
            16,
            made("open_clip.model:CLIPVisionCfg", **vision),
            made("open_clip.model:CLIPTextCfg", **text),
        )

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures [b, 3, 32, 32] and tokens [b, 8] to embeddings [b, 16] of both."""
        image_features, text_features, _ = self.network(image, text)
        return image_features, text_features


def language(**options: object) -> nn.Module:
    layers = made("x_transformers:Decoder", dim=16, depth=2, heads=2, attn_dim_head=8, **options)
    network: nn.Module = made(
        "x_transformers:TransformerWrapper", num_tokens=50, max_seq_len=16, attn_layers=layers
    )
    return network


TOKENS = {"tokens": "int64[batch, time] in 0..49"}

_lucid = partial(Architecture, library="vit-pytorch", dims=BATCH)

ARCHITECTURES: tuple[Architecture, ...] = (
    _lucid(
        "simple-vit",
        build=by("vit_pytorch:SimpleViT", image_size=32, patch_size=8, **SMALL),
        inputs=picture(32),
    ),
    _lucid(
        "cvt",
        build=by(
            "vit_pytorch.cvt:CvT",
            num_classes=5,
            s1_emb_dim=8,
            s2_emb_dim=16,
            s2_heads=2,
            s2_depth=1,
            s3_emb_dim=16,
            s3_heads=2,
            s3_depth=1,
        ),
        inputs=picture(64),
    ),
    _lucid(
        "vit-pytorch-maxvit",
        build=by(
            "vit_pytorch.max_vit:MaxViT",
            num_classes=5,
            dim=16,
            depth=(1, 1),
            dim_head=8,
            dim_conv_stem=8,
            window_size=4,
        ),
        inputs=picture(64),
    ),
    Architecture("x-transformer", "x-transformers", language, TOKENS, STEPS),
    Architecture(
        "x-transformer-rotary",
        "x-transformers",
        partial(language, rotary_pos_emb=True, ff_glu=True, use_rmsnorm=True),
        TOKENS,
        STEPS,
    ),
    Architecture(
        "open-clip",
        "open-clip-torch",
        Matched,
        {**picture(32), "text": "int64[batch, 8] in 1..63"},
        BATCH,
    ),
    Architecture(
        "conformer",
        "conformer",
        by("conformer:Conformer", 16, depth=1, dim_head=8, heads=2, conv_kernel_size=7),
        SERIES,
        STEPS,
    ),
)
