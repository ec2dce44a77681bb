"""Write src/onnxproof/wrappers/fingerprints.json: the networks of torchvision and timm by their tensors.

python benchmarks/fingerprints.py [VARIANT]...

builds every network without memory for its weights (on the device meta) and takes minutes. With names, it
prints those networks' lines in place of writing the file.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import timm
import torch
from torch import nn
from torchvision import models

from onnxproof.wrappers.families import torchvision_detector
from onnxproof.wrappers.fingerprints import FILE, fingerprint, sketch

CLASSES = 1009
"""A prime that is no network's width: a tensor with an axis of this size, or a multiple, is of the head."""

Make = Callable[[str], nn.Module]


def made(make: Make, variant: str) -> nn.Module:
    """The network without memory, or with it if its builder reads a tensor's value (as RegNet's does)."""
    try:
        with torch.device("meta"):
            return make(variant)
    except (NotImplementedError, RuntimeError):
        return make(variant)


def line_of(network: nn.Module) -> list[str]:
    """The network's hash, its sketch, and the names in its head."""
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    head = sorted(
        name for name, shape in shapes.items() if any(size and size % CLASSES == 0 for size in shape)
    )
    return [fingerprint(shapes, head), sketch(shapes, head), *head]


def makers() -> Iterator[tuple[str, Sequence[str], Make]]:
    """Each family, its variants, and what makes one."""
    yield (
        "torchvision_classifier",
        models.list_models(module=models),
        lambda name: models.get_model(name, weights=None, num_classes=CLASSES),
    )
    yield (
        "torchvision_detector",
        torchvision_detector.variants(),
        lambda name: torchvision_detector.make(name, CLASSES, {}),
    )
    yield (
        "timm_classifier",
        timm.list_models(),
        lambda name: timm.create_model(name, pretrained=False, num_classes=CLASSES),
    )


def main(wanted: Sequence[str]) -> None:
    """Write the file, or print the lines of some networks."""
    tables: dict[str, dict[str, list[str]]] = {}
    for family, variants, make in makers():
        table = tables.setdefault(family, {})
        for variant in variants:
            if wanted and variant not in wanted:
                continue
            # A few networks need another package.
            with suppress(Exception):
                table[variant] = line_of(made(make, variant))
        print(f"{family}: {len(table)} of {len(variants)}", file=sys.stderr)
    parts = []
    for family, table in tables.items():
        lines = [f" {json.dumps(name)}: {json.dumps(line)}" for name, line in table.items()]
        parts.append(f'"{family}": {{\n' + ",\n".join(lines) + "\n}")
    text = "{" + ",\n".join(parts) + "}\n"
    if wanted:
        print(text, end="")
    else:
        FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
