"""How long an export of yolox_tiny takes, height and width dynamic, against the usual ways.

- torch.export: our capture and simplification against ``torch.onnx.export(dynamo=True)`` with free
  height and width (and no simplification).
- TorchScript: our capture and simplification against the steps of the model's own tutorial: its wrapper,
  ``torch.onnx.export``, ``onnx.load``, ``onnxsim.simplify``, ``onnx.save``.

One thread, one process, taking turns; writing the file is inside both.
"""

import argparse
import contextlib
import io
import tempfile
import warnings
from pathlib import Path

import onnx
import onnxsim
import torch
from _rounds import take_turns
from cjm_yolox_pytorch.inference import YOLOXInferenceWrapper

from onnxproof.export.make import make_graph
from onnxproof.job import Job
from onnxproof.wrappers.families.yolox import build_network
from onnxproof.wrappers.family import Checkpoint, WrappedModel
from onnxproof.wrappers.registry import get_family

CLASSES = 19
MEAN, STD = (0.5, 0.5, 0.5), (1.0, 1.0, 1.0)


def job(exporter: str) -> Job:
    document = {
        "name": "bench",
        "model": {"family": "yolox", "variant": "tiny"},
        "wrapper": {"mean": list(MEAN), "std": list(STD)},
        "dims": {"batch": "1..8", "height": "64..640 step 32", "width": "64..640 step 32"},
        "export": {"exporter": exporter, "opset": 20},
    }
    return Job.from_document(document, folder=Path(), source="benchmark")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = build_network("tiny", CLASSES).eval()
    folder = tempfile.TemporaryDirectory()
    file = Path(folder.name) / "model.onnx"
    checkpoint = Checkpoint(Path(folder.name) / "yolox_tiny.pth", "", network.state_dict())

    model: WrappedModel = get_family("yolox").build(job("auto"), checkpoint)

    def ours(exporter: str) -> None:
        onnx.save(make_graph(job(exporter), model).proto, file)

    def free_dimensions() -> None:
        batch, height, width = (torch.export.Dim(name, min=2) for name in ("batch", "height", "width"))
        with contextlib.redirect_stdout(io.StringIO()):
            program = torch.onnx.export(
                model.module,
                (torch.rand(2, 3, 96, 128),),
                dynamo=True,
                opset_version=20,
                dynamic_shapes=({0: batch, 2: height, 3: width},),
                input_names=["input"],
                output_names=["output"],
            )
        assert program is not None
        program.save(file)

    def tutorial() -> None:
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
        wrapped = YOLOXInferenceWrapper(network, mean, std)
        with contextlib.redirect_stdout(io.StringIO()):
            torch.onnx.export(
                wrapped,
                (torch.randn(1, 3, 256, 256),),
                file,
                dynamo=False,
                do_constant_folding=False,
                input_names=["input"],
                output_names=["output"],
                dynamic_axes={"input": {2: "height", 3: "width"}},
            )
        simplified, _ = onnxsim.simplify(onnx.load(file))
        onnx.save(simplified, file)

    print("| export of yolox_tiny | median s | ratio |\n| --- | ---: | ---: |")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for exporter, peer_name, peer, limit in (
            ("torch.export", "torch.onnx.export(dynamo=True), free dimensions", free_dimensions, 0.5),
            ("torchscript", "the tutorial's steps", tutorial, 1.2),
        ):
            name = f"onnxproof, {exporter}"
            mine, theirs = take_turns({name: lambda e=exporter: ours(e), peer_name: peer}, rounds)  # type: ignore[misc]
            print(f"| {theirs.name} | {theirs.median:.2f} | 1 |")
            print(f"| {mine.name} | {mine.median:.2f} | {mine.over(theirs):.2f} (asked: {limit} or less) |")
    folder.cleanup()


if __name__ == "__main__":
    main()
