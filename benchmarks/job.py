"""How long a user waits for a proven file of yolox_tiny: whole processes, cold, imports included.

Ours is ``onnxproof export`` of a job with a dynamic height and width: capture, simplification, the verdict
over all its cases and links, reports. The peer is the script that people write: the model's own inference
wrapper and ``torch.onnx.export(dynamo=True, verify=True)``, which compares the outputs of one input.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from _rounds import take_turns

from onnxproof.wrappers.families.yolox import build_network

CLASSES = 19
THREADS = 2

JOB = f"""\
name = "bench"
[model]
family = "yolox"
variant = "tiny"
checkpoint = "yolox_tiny.pth"
classes = {[f"class {number}" for number in range(CLASSES)]}
[wrapper]
mean = [0.5, 0.5, 0.5]
std = [1.0, 1.0, 1.0]
[dims]
batch = "1"
height = "64..640 step 32"
width = "64..640 step 32"
"""

PEER = f"""\
import torch
from cjm_yolox_pytorch.inference import YOLOXInferenceWrapper
from cjm_yolox_pytorch.model import build_model

network = build_model("yolox_tiny", {CLASSES}, pretrained=False)
network.load_state_dict(torch.load("yolox_tiny.pth", weights_only=True))
mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ((0.5, 0.5, 0.5), (1.0, 1.0, 1.0)))
wrapped = YOLOXInferenceWrapper(network.eval(), mean, std).eval()
height, width = (torch.export.Dim(name, min=2, max=20) for name in ("height", "width"))
torch.onnx.export(
    wrapped,
    (torch.rand(1, 3, 256, 320),),
    "peer.onnx",
    dynamo=True,
    verify=True,
    input_names=["input"],
    output_names=["output"],
    dynamic_shapes=({{2: 32 * height, 3: 32 * width}},),
)
"""


def process(arguments: Sequence[str], folder: Path) -> Callable[[], object]:
    """A contestant that runs Python in a folder and fails loudly."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
    command = [sys.executable, *arguments]
    return lambda: subprocess.run(
        command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.save(build_network("tiny", CLASSES).state_dict(), folder / "yolox_tiny.pth")
        (folder / "job.toml").write_text(JOB, encoding="utf-8")
        (folder / "peer.py").write_text(PEER, encoding="utf-8")
        contestants = {
            "torch.onnx.export(dynamo=True, verify=True)": process(["peer.py"], folder),
            "onnxproof export": process(["-m", "onnxproof", "export", "job.toml"], folder),
        }
        theirs, mine = take_turns(contestants, rounds)
    print("| yolox_tiny, from nothing to a verdict | median s | ratio |\n| --- | ---: | ---: |")
    print(f"| {theirs.name} | {theirs.median:.1f} | 1 |")
    print(f"| {mine.name} | {mine.median:.1f} | {mine.over(theirs):.2f} (asked: 0.7 or less) |")


if __name__ == "__main__":
    main()
