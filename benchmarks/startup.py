"""How long a user waits before anything happens: whole processes, in turn with ``import torch``."""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from _rounds import take_turns

import onnxproof

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "examples" / "digits" / "images" / "scene-01.png"


def process(*arguments: str) -> Callable[[], object]:
    """A contestant that runs Python with these arguments and fails loudly."""
    return lambda: subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        bundle = onnxproof.export(
            ROOT / "configs" / "digits-yolox.toml",
            out=folder,
            set=["export.exporter=torchscript"],
            validate=False,
        )
        contestants = {
            "python -c 'import torch'": process("-c", "import torch"),
            "python -c pass": process("-c", "pass"),
            "python -c 'import onnxproof'": process("-c", "import onnxproof"),
            "onnxproof --help": process("-m", "onnxproof", "--help"),
            "onnxproof predict, one picture": process(
                "-m", "onnxproof", "predict", str(bundle.path), str(PICTURE), "--json"
            ),
        }
        timings = take_turns(contestants, rounds)
    asked = {
        "python -c 'import onnxproof'": "under 0.1 more than pass",
        "onnxproof --help": "under 0.5",
        "onnxproof predict, one picture": "under 1.5",
    }
    print("| process | median s | over import torch | asked, s |\n| --- | ---: | ---: | --- |")
    for timing in timings:
        ratio = timing.over(timings[0])
        print(f"| `{timing.name}` | {timing.median:.3f} | {ratio:.3f} | {asked.get(timing.name, '')} |")


if __name__ == "__main__":
    main()
