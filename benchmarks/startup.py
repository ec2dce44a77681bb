"""How long a user waits before anything happens: whole processes, in turn with ``import torch``."""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable

from _demo import PICTURES, demo_bundle
from _rounds import take_turns

PICTURE = PICTURES[0]

BARE = """\
import sys
import numpy as np
import onnxruntime
from PIL import Image
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
picture = Image.open(sys.argv[2]).convert("RGB").resize((256, 256))
pixels = np.asarray(picture, np.float32).transpose(2, 0, 1)[None] / 255
(rows,) = session.run(None, {session.get_inputs()[0].name: pixels})
print(rows[rows[..., 5] > 0.45])
"""
"""What people write by hand: neither crop, nor NMS, nor a check of anything."""

BARE_NAME = "a script of NumPy, Pillow and ONNX Runtime, one picture"
PREDICT_NAME = "onnxproof predict, one picture"


def process(*arguments: str) -> Callable[[], object]:
    """A contestant that runs Python with these arguments and fails loudly."""
    return lambda: subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        bundle = demo_bundle(folder)
        contestants = {
            "python -c 'import torch'": process("-c", "import torch"),
            "python -c pass": process("-c", "pass"),
            "python -c 'import onnxproof'": process("-c", "import onnxproof"),
            "onnxproof --help": process("-m", "onnxproof", "--help"),
            BARE_NAME: process("-c", BARE, str(bundle / "model.onnx"), str(PICTURE)),
            PREDICT_NAME: process("-m", "onnxproof", "predict", str(bundle), str(PICTURE), "--json"),
        }
        timings = take_turns(contestants, rounds)
    asked = {
        "python -c 'import onnxproof'": "under 0.1 more than pass",
        "onnxproof --help": "under 0.5",
        PREDICT_NAME: "under 1.5",
    }
    print("| process | median s | over import torch | asked, s |\n| --- | ---: | ---: | --- |")
    for timing in timings:
        ratio = timing.over(timings[0])
        print(f"| `{timing.name}` | {timing.median:.3f} | {ratio:.3f} | {asked.get(timing.name, '')} |")
    bare, predict = (next(one for one in timings if one.name == name) for name in (BARE_NAME, PREDICT_NAME))
    print(f"\nonnxproof predict over the script: {predict.over(bare):.2f} (asked: 1.3 or less)")


if __name__ == "__main__":
    main()
