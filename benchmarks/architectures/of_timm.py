"""Small networks of timm's architectures: its own smallest, or its classes with few and narrow layers."""

from functools import partial
from typing import Any

import timm
from timm.layers.mlp import GatedMlp
from timm.layers.norm_act import GroupNormAct
from timm.models import (
    beit,
    cait,
    convmixer,
    convnext,
    crossvit,
    davit,
    eva,
    focalnet,
    hiera,
    levit,
    metaformer,
    mlp_mixer,
    nest,
    pit,
    resnetv2,
    sequencer,
    tnt,
    twins,
    volo,
    xcit,
)
from torch import nn

from architectures.architecture import BATCH, Architecture, picture

CLASSES = 10
LIBRARY = "timm"


def named(name: str, **more: Any) -> Architecture:
    """One of timm's own models, for pictures of any size."""
    build = partial(timm.create_model, name, pretrained=False, num_classes=CLASSES, **more)
    return Architecture(name, LIBRARY, build)


def named_of(size: int, name: str, **more: Any) -> Architecture:
    """One of timm's own models, for pictures of one size."""
    build = partial(timm.create_model, name, pretrained=False, num_classes=CLASSES, **more)
    return Architecture(name, LIBRARY, build, picture(size), BATCH)


def classy(name: str, build: type[nn.Module], **more: Any) -> Architecture:
    """A class of timm's, for pictures of any size."""
    return Architecture(name, LIBRARY, partial(build, num_classes=CLASSES, **more))


def classy_of(size: int, name: str, build: type[nn.Module], **more: Any) -> Architecture:
    """A class of timm's, for pictures of one size."""
    return Architecture(name, LIBRARY, partial(build, num_classes=CLASSES, **more), picture(size), BATCH)


PATCHES = {"img_size": 32, "patch_size": 8, "embed_dim": 32}
BLOCKS = {**PATCHES, "depth": 2, "num_heads": 2}

ARCHITECTURES: tuple[Architecture, ...] = (
    classy(
        "bit",
        resnetv2.ResNetV2,
        layers=(1, 1),
        channels=(64, 128),
        stem_chs=32,
        bottle_ratio=0.5,
        norm_layer=partial(GroupNormAct, num_groups=8),
    ),
    classy(
        "convnext-v2",
        convnext.ConvNeXt,
        depths=(1, 1, 1, 1),
        dims=(16, 24, 32, 40),
        use_grn=True,
        ls_init_value=None,
    ),
    classy("convmixer", convmixer.ConvMixer, dim=32, depth=2, kernel_size=5, patch_size=4),
    classy("poolformer", metaformer.MetaFormer, depths=(1, 1), dims=(16, 32)),
    classy(
        "focalnet", focalnet.FocalNet, embed_dim=16, depths=(1, 1), focal_levels=(2, 2), focal_windows=(3, 3)
    ),
    named("dla46_c"),
    named("test_efficientnet_gn"),
    named("test_byobnet"),
    named("test_nfnet"),
    named("test_mambaout"),
    named_of(64, "test_coatnet", img_size=64),
    named("ghostnetv2_100"),
    named("repvit_m0_9", embed_dim=(8, 12, 16, 24), depth=(1, 1, 2, 1)),
    named("fastvit_t8", layers=(1, 1, 1, 1)),
    named_of(64, "edgenext_xx_small", depths=(1, 1, 1, 1), dims=(8, 16, 24, 32)),
    named("starnet_s050"),
    named("hrnet_w18_small"),
    named("tiny_vit_5m_224", embed_dims=(16, 24, 32, 40), depths=(1, 1, 1, 1), num_heads=(2, 2, 2, 2)),
    named_of(64, "maxvit_rmlp_pico_rw_256", img_size=64),
    named_of(64, "efficientvit_b0"),
    named_of(64, "mobilevitv2_050"),
    classy_of(
        64, "levit", levit.Levit, img_size=64, embed_dim=(32, 48), key_dim=8, depth=(1, 1), num_heads=(2, 3)
    ),
    classy_of(
        64,
        "twins",
        twins.Twins,
        img_size=64,
        embed_dims=(16, 32),
        num_heads=(1, 2),
        mlp_ratios=(2, 2),
        depths=(2, 1),
        sr_ratios=(2, 1),
        wss=(4, 4),
    ),
    classy_of(64, "davit", davit.DaVit, depths=(1, 1), embed_dims=(16, 32), num_heads=(2, 4), window_size=4),
    classy_of(
        64,
        "hiera",
        hiera.Hiera,
        img_size=(64, 64),
        embed_dim=16,
        stages=(1, 1, 1),
        mask_unit_size=(4, 4),
        mask_unit_attn=(True, True, False),
        q_pool=2,
    ),
    classy_of(
        64, "nest", nest.Nest, img_size=64, num_levels=2, embed_dims=(16, 32), num_heads=(2, 4), depths=(1, 1)
    ),
    classy_of(
        64, "pit", pit.PoolingVisionTransformer, img_size=64, base_dims=(8, 8), depth=(1, 1), heads=(2, 4)
    ),
    classy_of(
        64,
        "sequencer2d",
        sequencer.Sequencer2d,
        img_size=64,
        layers=(1, 1),
        patch_sizes=(8, 2),
        embed_dims=(16, 32),
        hidden_sizes=(4, 8),
        mlp_ratios=(2.0, 2.0),
    ),
    classy_of(
        64,
        "volo",
        volo.VOLO,
        layers=(1, 1),
        img_size=64,
        embed_dims=(16, 32),
        num_heads=(2, 4),
        downsamples=(True, False),
        outlook_attention=(True, False),
        mlp_ratio=2.0,
        use_aux_head=False,
    ),
    classy_of(
        48,
        "tnt",
        tnt.TNT,
        img_size=48,
        patch_size=16,
        embed_dim=32,
        inner_dim=8,
        depth=2,
        num_heads_inner=2,
        num_heads_outer=2,
    ),
    classy_of(
        48,
        "crossvit",
        crossvit.CrossVit,
        img_size=48,
        patch_size=(8, 16),
        embed_dim=(16, 32),
        depth=((1, 1, 0),),
        num_heads=(2, 2),
        mlp_ratio=(2.0, 2.0, 2.0),
    ),
    classy_of(32, "beit", beit.Beit, **BLOCKS, use_rel_pos_bias=True, init_values=0.1),
    classy_of(32, "cait", cait.Cait, **BLOCKS, depth_token_only=1, init_values=0.1),
    classy_of(32, "eva", eva.Eva, **BLOCKS, use_rot_pos_emb=True, swiglu_mlp=True, scale_mlp=True),
    classy_of(
        32,
        "gmlp",
        mlp_mixer.MlpMixer,
        **PATCHES,
        num_blocks=2,
        mlp_ratio=4,
        block_layer=mlp_mixer.SpatialGatingBlock,
        mlp_layer=GatedMlp,
    ),
    classy_of(32, "mixer", mlp_mixer.MlpMixer, **PATCHES, num_blocks=2),
    classy_of(
        32,
        "resmlp",
        mlp_mixer.MlpMixer,
        **PATCHES,
        num_blocks=2,
        mlp_ratio=4,
        block_layer=mlp_mixer.ResBlock,
        norm_layer=mlp_mixer.Affine,
    ),
    classy_of(32, "xcit", xcit.Xcit, **BLOCKS, cls_attn_layers=1),
)
