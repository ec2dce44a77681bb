"""A host written after the model's tutorial, in NumPy, runs on our files in both of its settings.

Input name ``input``, output name ``output``, the tutorial's grids, decoding, threshold and NMS by a full
IoU matrix: what it finds is what our own runtime finds.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from PIL import Image

import onnxproof

ROOT = Path(__file__).parents[2]
PICTURES = sorted((ROOT / "examples" / "digits" / "images").glob("*.png"))
THRESHOLD = 0.45

Array = NDArray[Any]


def grids(height: int, width: int) -> Iterator[Array]:
    for stride in (8, 16, 32):
        rows, columns = np.mgrid[: height // stride, : width // stride].reshape(2, -1)
        yield np.stack([columns, rows, np.full(rows.size, stride)], axis=1)


def decode(output: Array, height: int, width: int) -> Array:
    """[1, n, 15] to [1, n, 6] = x, y, width, height, label, score."""
    grid = np.concatenate(list(grids(height, width)))
    sizes = np.exp(output[..., 2:4]) * grid[:, 2:]
    corners = (output[..., :2] + grid[:, :2]) * grid[:, 2:] - sizes / 2
    scores = output[..., 4:5] * output[..., 5:]
    label_and_score = np.stack([scores.argmax(-1), scores.max(-1)], axis=-1)
    return np.concatenate([corners, sizes, label_and_score], axis=-1)


def detect(packed: Array) -> Array:
    """Threshold, sort, and suppress with the matrix of all IoUs."""
    found = packed[packed[..., 5] > THRESHOLD]
    found = found[np.argsort(-found[:, 5], kind="stable")]
    ends = found[:, :2] + found[:, 2:4]
    low = np.maximum(found[:, None, :2], found[None, :, :2])
    high = np.minimum(ends[:, None], ends[None])
    shared = np.prod(np.clip(high - low, 0, None), axis=-1)
    areas = np.prod(found[:, 2:4], axis=-1)
    ious = shared / (areas[:, None] + areas - shared)
    kept: list[int] = []
    for row in range(len(found)):
        if all(ious[row, other] <= THRESHOLD for other in kept):
            kept.append(row)
    return found[kept]


@pytest.mark.parametrize(
    "setting", ["default", pytest.param("scaled-channels-last-undecoded", marks=pytest.mark.slow)]
)
def test_the_tutorials_host_finds_what_we_find(setting: str, demo_job: Path, tmp_path: Path) -> None:
    overrides = ["export.exporter=torchscript"]
    if setting != "default":
        overrides += ["wrapper.scale_input=true", "wrapper.channels_last=true", "wrapper.decode=none"]
    bundle = onnxproof.export(demo_job, out=tmp_path, set=overrides, validate=False)
    session = ort.InferenceSession(str(bundle.path / "model.onnx"), providers=["CPUExecutionProvider"])
    predictor = onnxproof.load(bundle.path)
    compared = 0
    for file in PICTURES:
        # A picture whose sides are multiples of 32 needs no resizing, so the host's pixels are ours.
        picture = Image.open(file).convert("RGB").resize((320, 256))
        pixels = np.array(picture, dtype=np.float32)
        if setting == "default":
            found = detect(session.run(None, {"input": pixels.transpose(2, 0, 1)[None] / 255})[0])
        else:
            (output,) = session.run(["output"], {"input": pixels[None]})
            found = detect(decode(output, *pixels.shape[:2]))
        ours = predictor.predict(picture).decisions
        assert found[:, 4].astype(int).tolist() == ours.labels.tolist()
        np.testing.assert_allclose(found[:, 5], ours.scores, rtol=1e-6)
        starts = np.clip(found[:, :2], 0, (320, 256))
        np.testing.assert_allclose(starts, ours.boxes[:, :2], atol=1e-3)
        compared += len(found)
    assert compared > 20
