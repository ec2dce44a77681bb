"""The architectures of other libraries whose healthy files and planted faults are measured."""

from collections.abc import Mapping
from dataclasses import replace

from architectures.architecture import STEPS, Architecture
from architectures.catalogue import architectures_of

NAMES: Mapping[str, str] = {
    "of_torchvision": """
        resnet resnext densenet squeezenet mobilenet-v2 mobilenet-v3 shufflenet convnext swin swin-v2 vit fcn
        ssd-head fcos-head swin3d mvit raft
    """,
    "of_timm": """
        bit convnext-v2 convmixer poolformer focalnet dla46_c test_efficientnet_gn efficientvit_b0
        mobilevitv2_050 levit twins davit hiera nest pit sequencer2d volo tnt crossvit beit cait eva gmlp
        mixer resmlp xcit
    """,
    "of_transformers": """
        bert albert mpnet deberta-v2 modernbert roformer squeezebert fnet t5-encoder bart gpt2 gpt-neox bloom
        llama gemma2 qwen3 mamba whisper-encoder wav2vec2 wavlm ast encodec patchtst dinov2 segformer
        rt-detr-resnet
    """,
    "of_ultralytics": "yolo12n yolov8n-cls yolov8n-seg yolov8n-pose yolov8n-obb",
}
"""Their names, by the file that defines them."""

FROZEN: Mapping[str, Mapping[str, str]] = {"mamba": STEPS}
"""Sizes that an exporter freezes though they are declared free: what it writes has to be found wrong."""

ARCHITECTURES: tuple[Architecture, ...] = tuple(
    replace(found[name], dims=FROZEN.get(name, found[name].dims))
    for module, names in NAMES.items()
    for found in (architectures_of(module),)
    for name in names.split()
)
"""All of them; their names are unique."""

BY_NAME: Mapping[str, Architecture] = {one.name: one for one in ARCHITECTURES}
