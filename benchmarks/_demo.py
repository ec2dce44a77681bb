"""The demo's bundle, as the benchmarks of what is deployed take it."""

from pathlib import Path

import onnxproof

ROOT = Path(__file__).parents[1]
PICTURES = tuple(sorted((ROOT / "examples" / "digits" / "images").glob("*.png")))


def demo_bundle(folder: str) -> Path:
    """Export the demo into a folder, without a verdict. Returns the bundle."""
    job = ROOT / "configs" / "digits-yolox.toml"
    return onnxproof.export(job, out=folder, set=["export.exporter=torchscript"], validate=False).path
