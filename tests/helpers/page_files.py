"""What the reader of a page has and the page does not make: a checkpoint, pictures, somebody's export."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from programs import program

Names = dict[str, Any]
Bundle = Callable[..., Path]
"""``bundle(*arguments)`` is the bundle that ``onnxproof export ARGUMENTS`` wrote into ``dist``."""
Prepare = Callable[[Path, Names, Bundle], None]

JOB = """
name = "small"
[model]
family = "yolox"
variant = "nano"
checkpoint = "examples/digits/yolox"
[dims]
batch = "1..2"
height = 64
width = 64
[export]
exporter = "torchscript"
simplify = "none"
[validate]
images = "examples/digits/images/scene-0[12].png"
effort = "quick"
threads = 1
[predict]
resize = "stretch"
size = 64
"""


def _readme(folder: Path, names: Names, bundle: Bundle) -> None:
    (folder / "job.toml").write_text(JOB, encoding="utf-8")
    (folder / "samples").mkdir()
    shutil.copy(folder / "examples/digits/images/scene-01.png", folder / "samples/one.jpg")
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9]], dtype=np.float32)
    scores, labels = np.array([0.9, 0.8], dtype=np.float32), np.array([1, 1])
    names.update(boxes_xyxy=boxes, scores=scores, labels=labels)


def _any_model(folder: Path, names: Names, bundle: Bundle) -> None:
    import torch
    from torch import Tensor, nn

    import onnxproof

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.low, self.high = nn.Linear(8, 4), nn.Linear(16, 4)

        def forward(self, batch: dict[str, Tensor], levels: list[Tensor], return_dict: bool = False) -> Any:
            seen = batch["image"].mean(dim=(1, 2, 3))[:, None] + batch["sizes"]
            joined = self.low(levels[0]) + self.high(levels[1])
            return {"seen": seen, "joined": joined} if return_dict else (seen, joined)

    torch.manual_seed(0)
    names.update(network=Network().eval(), onnxproof=onnxproof, torch=torch, nn=nn, Tensor=Tensor)


LAYER = "stage1.1.short_conv.conv.weight"
"""The weights of the demo that ``docs/verdict.md`` and ``docs/ci.md`` make larger."""


def _ci(folder: Path, names: Names, bundle: Bundle) -> None:
    scale = np.float32(1.002)
    _change(folder / "dist/digits-yolox/model.onnx", folder / "damaged.onnx", LAYER, lambda w: w * scale)
    job = JOB.replace('"examples/', '"../examples/').replace('"small"', '"detector"')
    (folder / "configs/detector.toml").write_text(job, encoding="utf-8")


def _check(folder: Path, names: Names, bundle: Bundle) -> None:
    """An untrained network of oriented boxes, and its file as Ultralytics exports it with NMS."""
    import yolos
    from ultralytics.models import YOLO

    network = yolos.network_of("obb", "yolo11n-obb")
    network.args, network.task = {"imgsz": 96}, "obb"
    model: Any = YOLO(str(yolos.save_best(folder, network, "obb", size=96)))
    file = model.export(format="onnx", imgsz=96, nms=True, max_det=50, opset=17, verbose=False)
    shutil.move(file, folder / "yolo11n-obb.onnx")
    shutil.copy(folder / "examples/digits/images/scene-01.png", folder)


def _compare(folder: Path, names: Names, bundle: Bundle) -> None:
    demo = "configs/digits-yolox.toml"
    before = bundle(demo, "--no-validate")
    before.rename(folder / "dist/before")
    bundle(demo, "--no-validate", "--set", "export.fold_batch_norms=false").rename(folder / "dist/after")


def _deploy(folder: Path, names: Names, bundle: Bundle) -> None:
    import onnx

    for job in ("digits-segmenter", "digits-reader"):
        bundle(f"configs/{job}.toml", "--no-validate")
    plain = onnx.load(folder / "dist/digits-yolox/model.onnx")
    del plain.metadata_props[:]
    onnx.save(plain, folder / "other.onnx")
    pixels = np.random.default_rng(0).random((2, 3, 256, 256), dtype=np.float32)
    np.savez(folder / "arrays.npz", input=pixels)


def _errors(folder: Path, names: Names, bundle: Bundle) -> None:
    import torch

    state = torch.load(folder / "examples/digits/yolox/yolox_nano.pth", weights_only=True)
    torch.save(
        {name: tensor * 1 for name, tensor in state.items()} | {"one.more": torch.ones(1)}, "other.pth"
    )


def _files(folder: Path, names: Names, bundle: Bundle) -> None:
    job = (folder / "configs/digits-reader.toml").read_text(encoding="utf-8")
    job = job.replace('"../examples/', '"examples/').replace('"digits-reader"', '"reader"')
    (folder / "reader.toml").write_text(job, encoding="utf-8")
    (folder / "reader").mkdir()
    (folder / "reader/classes.json").write_text("[]", encoding="utf-8")
    shutil.copy(folder / "examples/digits/reader/reader.pth", folder / "reader")


def _model(folder: Path, names: Names, bundle: Bundle) -> None:
    for name in ("model", "other"):
        shutil.copy(folder / "dist/digits-yolox/model.onnx", folder / f"{name}.onnx")


def _runtimes(folder: Path, names: Names, bundle: Bundle) -> None:
    """ONNX Runtime Web, where it is installed for the clients."""
    (folder / "node_modules").symlink_to(folder / "examples/clients/node_modules")


def _verdict(folder: Path, names: Names, bundle: Bundle) -> None:
    """The demo's file, twice, and one whose weights of a layer are larger by a millionth."""
    _model(folder, names, bundle)
    scale = np.float32(1.000001)
    _change(folder / "model.onnx", folder / "larger.onnx", LAYER, lambda w: w * scale)


def _bisect(folder: Path, names: Names, bundle: Bundle) -> None:
    """The demo's file with the largest weight of a convolution larger by a millionth."""

    def one_larger(weight: Any) -> Any:
        largest = np.abs(weight) == np.abs(weight).max()
        return np.where(largest, weight * np.float32(1.000001), weight)

    name = "stage2.1.blocks.1.conv2.conv.weight"
    _change(folder / "dist/digits-yolox/model.onnx", folder / "damaged.onnx", name, one_larger)


def _change(source: Path, target: Path, name: str, change: Callable[[Any], Any]) -> None:
    """Change the one tensor whose name holds ``name``."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(source)
    (weight,) = (tensor for tensor in model.graph.initializer if name in tensor.name)
    weight.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(weight)), weight.name))
    onnx.save(model, target)


def _digits(folder: Path, names: Names, bundle: Bundle) -> None:
    for job in ("digits-segmenter", "digits-reader"):
        bundle(f"configs/{job}.toml", "--no-validate")


def _damaged(folder: Path, names: Names, bundle: Bundle) -> None:
    """The demo's file with its largest tensor off by a thousandth."""
    larger = program(folder / "examples/faults/larger.py")
    larger.main(str(folder / "dist/digits-yolox/model.onnx"), str(folder / "damaged.onnx"))


PREPARE: Mapping[str, Prepare] = {
    "README.md": _readme,
    "docs/any-model.md": _any_model,
    "docs/bisect.md": _bisect,
    "docs/check.md": _check,
    "docs/ci.md": _ci,
    "docs/compare.md": _compare,
    "docs/deploy.md": _deploy,
    "docs/errors.md": _errors,
    "docs/files.md": _files,
    "docs/hazards.md": _model,
    "docs/differs.md": _damaged,
    "docs/runtimes.md": _runtimes,
    "docs/verdict.md": _verdict,
    "examples/digits/README.md": _digits,
}
