"""How near ``Predictor.stream`` comes to ONNX Runtime alone, taking turns in one process.

The stream gets the demo's pictures as files: it decodes, prepares, runs, decides and hands over predictions.
The bare session gets the same inputs as arrays that were prepared before, in batches as large, and its
outputs are dropped. ONNX Runtime has one thread in both.
"""

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _demo import PICTURES, demo_bundle
from _rounds import take_turns
from numpy.typing import NDArray

import onnxproof
from onnxproof.runtime import Predictor, Timings, prepare

TIMES = 20
"""How many times the stream gets each picture."""

BATCH = 8


def batches_of(predictor: Predictor, pictures: Sequence[Path]) -> list[NDArray[Any]]:
    """The pictures' inputs, those of one size together."""
    assert predictor.contract.preprocess is not None
    by_size: defaultdict[tuple[int, ...], list[NDArray[Any]]] = defaultdict(list)
    for picture in pictures:
        array, _ = prepare(picture, predictor.contract.preprocess)
        by_size[array.shape].append(array)
    return [
        np.concatenate(arrays[at : at + BATCH])
        for arrays in by_size.values()
        for at in range(0, len(arrays), BATCH)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        bundle = demo_bundle(folder)
        predictor = onnxproof.load(bundle, threads=1)
        pictures = PICTURES * TIMES
        batches = batches_of(predictor, pictures)
        timings = Timings()

        def bare() -> None:
            for batch in batches:
                predictor.session.run(None, {predictor.contract.inputs[0].name: batch})

        def stream() -> None:
            assert len([*predictor.stream(pictures, batch=BATCH, timings=timings)]) == len(pictures)

        alone, streamed = take_turns({"ONNX Runtime alone": bare, "Predictor.stream": stream}, rounds)
    ratio = 1 / streamed.over(alone)
    print(
        f"| {len(pictures)} pictures of the demo | pictures/s | of the bare session |\n| --- | ---: | ---: |"
    )
    print(f"| {alone.name} | {len(pictures) / alone.median:.0f} | 1 |")
    print(f"| {streamed.name} | {len(pictures) / streamed.median:.0f} | {ratio:.2f} (asked: 0.9 or more) |")
    stages = ("decode", "prepare", "run", "decide")
    told = ", ".join(f"{name} {getattr(timings, name) / timings.pictures * 1e3:.2f}" for name in stages)
    print(f"\nms a picture: {told}")


if __name__ == "__main__":
    main()
