"""The normalisations of pictures that have a name: mean and standard deviation of each channel in [0, 1]."""

from collections.abc import Mapping
from typing import Literal

Channels = tuple[float, float, float]
Name = Literal["imagenet", "clip", "inception", "none"]

NORMALIZATIONS: Mapping[str, tuple[Channels, Channels]] = {
    # torchvision's pretrained models are documented with these (torchvision.transforms.Normalize).
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    # openai/CLIP, clip.py: _transform.
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    # TensorFlow's Inception preprocessing: [0, 1] becomes [-1, 1].
    "inception": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


def name_of(mean: Channels, std: Channels) -> str | None:
    """The name of a normalisation. Returns None if it has none."""
    found = (name for name, known in NORMALIZATIONS.items() if known == (tuple(mean), tuple(std)))
    return next(found, None)


def in_words(mean: Channels, std: Channels) -> str:
    """A normalisation in words: "mean [0.5, 0.5, 0.5], std [0.5, 0.5, 0.5] (inception)"."""
    told = ", ".join(
        f"{kind} [{', '.join(f'{value:.6g}' for value in values)}]"
        for kind, values in (("mean", mean), ("std", std))
    )
    name = name_of(mean, std)
    return told if name is None else f"{told} ({name})"
