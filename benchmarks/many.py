"""Many pictures: what a second worker gains, how memory grows, and what mAP of a large set takes.

python benchmarks/many.py sleep     a leg that sleeps in place of computing, by one worker and by two
python benchmarks/many.py speed     predict and validate, by one worker and by two
python benchmarks/many.py memory    the peak memory of 200 and of 5,000 pictures, by no worker and by one
python benchmarks/many.py map       mAP of 3,000 labelled pictures, by both libraries

``sleep`` measures what handing out and gathering cost on any machine; ``speed`` wants one that does nothing
else. CPU seconds count the workers' starts, too. ``--bundle`` saves the export of the demo's classifier.
"""

import argparse
import json
import resource
import shlex
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _peak import watched
from PIL import Image

import onnxproof
from onnxproof.many.chunks import chunks_of
from onnxproof.many.engines import Processes
from onnxproof.many.journal import Journal
from onnxproof.many.run import completed
from onnxproof.many.worker import Work
from onnxproof.runtime.readings.boxes import Detections
from onnxproof.runtime.remote import Place
from onnxproof.validate.dataset import metrics
from onnxproof.validate.dataset.labels import Annotation, LabelledPicture, Labels
from onnxproof.validate.dataset.pycoco import evaluator_of, require_coco

JOB = Path(__file__).parents[1] / "configs" / "digits-classifier.toml"
SOURCES = Path(__file__).parents[1] / "examples" / "digits" / "classifier" / "images"

SLEEP_S = 0.02
"""Seconds a picture of the line that sleeps."""

FEW, MANY = 200, 5_000
LABELLED, CLASSES = 3_000, 20


@dataclass(frozen=True, slots=True)
class Sleep:
    """Sleeps for each picture: the work of a leg that takes no processor."""

    def open(self) -> Work:
        def work(pictures: Sequence[Place]) -> bytes:
            time.sleep(SLEEP_S * len(pictures))
            return b"done"

        return work


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("sleep", "speed", "memory", "map", "child"))
    parser.add_argument("--pictures", type=int, default=2_000, help="of sleep and speed")
    parser.add_argument("--bundle", type=Path, help="the bundle of the demo's classifier")
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.what == "map":
        of_labels()
        return
    if arguments.what == "child":
        child(arguments.bundle, *arguments.rest)
        return
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if arguments.what == "sleep":
            pictures = [place / f"{number}.png" for number in range(arguments.pictures)]
            print_speed(
                arguments.pictures,
                {
                    f"a leg that sleeps {SLEEP_S * 1000:.0f} ms": lambda workers: slept(
                        pictures, workers, place
                    )
                },
            )
            return
        bundle = arguments.bundle or exported(place)
        if arguments.what == "memory":
            memory(bundle, place)
            return
        made(place / "pictures", arguments.pictures)
        print_speed(
            arguments.pictures,
            {
                "predict --workers": lambda workers: predicted(bundle, place / "pictures", workers),
                "validate --images --workers": lambda workers: compared(bundle, place / "pictures", workers),
            },
        )


def print_speed(count: int, rows: Mapping[str, Callable[[int], float | None]]) -> None:
    """Print seconds and CPU seconds with one worker and with two."""
    print(f"| {count} pictures | one worker | two workers | times | CPU of one | CPU of two |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, work in rows.items():
        one, two = (timed(work, workers) for workers in (1, 2))
        print(
            f"| {name} | {one[0]:.1f} s | {two[0]:.1f} s | {one[0] / two[0]:.2f} "
            f"| {one[1]:.1f} s | {two[1]:.1f} s |",
            flush=True,
        )


def timed(work: Callable[[int], float | None], workers: int) -> tuple[float, float]:
    """Seconds and CPU seconds of a run with its processes. ``work`` may return the seconds to count."""
    began, used = time.perf_counter(), cpu()
    told = work(workers)
    spent = time.perf_counter() - began if told is None else told
    return spent, cpu() - used


def cpu() -> float:
    """CPU seconds of this process and of its children that ended."""
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in found)


def slept(pictures: Sequence[Path], workers: int, place: Path) -> None:
    journal = Journal(place / f"journal-{workers}", {"command": "sleep"})
    for _ in completed(Sleep(), chunks_of(pictures, journal.key), Processes(workers), journal):
        pass


def predicting(bundle: Path, pictures: Path, workers: int) -> list[str]:
    """The command; without workers the process that it starts does the work."""
    shared = ("--workers", str(workers)) if workers else ()
    return [sys.executable, "-m", "onnxproof", "predict", str(bundle), str(pictures), "--jsonl", *shared]


def predicted(bundle: Path, pictures: Path, workers: int) -> None:
    """Run ``predict`` in a process of its own, and throw its output away."""
    command = predicting(bundle, pictures, workers)
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"predict ended with {done.returncode}: {done.stderr}")


def compared(bundle: Path, pictures: Path, workers: int) -> float:
    """The seconds of the stage that compares on the pictures, the workers' starts among them."""
    stages: dict[str, float] = {}

    def progress(stage: str, *_: int) -> None:
        stages.setdefault(stage, time.perf_counter())

    verdict = onnxproof.validate(
        bundle, images=[str(pictures)], workers=onnxproof.Workers(workers), progress=progress
    )
    ended = time.perf_counter()
    assert verdict.pictures[0].pictures == len(list(pictures.iterdir()))
    return ended - next(began for stage, began in stages.items() if stage.startswith("compare on"))


def memory(bundle: Path, place: Path) -> None:
    """Print the peak memory of a whole run, its worker included if there is one."""
    print("| pictures | predict | predict by a worker | validate by a worker |")
    print("| ---: | ---: | ---: | ---: |")
    for count in (FEW, MANY):
        pictures = place / f"pictures-{count}"
        made(pictures, count)
        commands = {
            "predict": silent(predicting(bundle, pictures, 0)),
            "predict by a worker": silent(predicting(bundle, pictures, 1)),
            "validate": [sys.executable, __file__, "--bundle", str(bundle), "child", str(pictures)],
        }
        peaks = [watched(command, f"{name} of {count}")["peak"] for name, command in commands.items()]
        print(f"| {count} | {' | '.join(f'{peak / 1e6:.0f} MB' for peak in peaks)} |", flush=True)


def silent(command: Sequence[str]) -> list[str]:
    """A command whose output is thrown away, and that prints an empty JSON object in the end."""
    return ["sh", "-c", f"{shlex.join(command)} > /dev/null && echo '{{}}'"]


def child(bundle: Path, pictures: str) -> None:
    """A comparison by one worker, for ``memory``."""
    compared(bundle, Path(pictures), 1)
    print(json.dumps({}))


def exported(folder: Path) -> Path:
    return onnxproof.export(JOB, out=folder / "dist", validate=False).path


def made(folder: Path, count: int) -> tuple[Path, ...]:
    """Small pictures of digits with noise."""
    folder.mkdir(exist_ok=True)
    sources = [np.asarray(Image.open(file).convert("RGB")) for file in sorted(SOURCES.glob("*.png"))]
    random = np.random.default_rng(0)
    for number in range(count):
        source = sources[number % len(sources)].astype(np.int64)
        noisy = (source + random.integers(-20, 21, source.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{number:06}.png")
    return tuple(sorted(folder.iterdir()))


def of_labels() -> None:
    """Print the CPU seconds of mAP, and the largest difference between the libraries."""
    random = np.random.default_rng(0)
    measure = metrics.BoxPrecision(Labels((), tuple(map(str, range(CLASSES)))))
    tracemalloc.start()
    boxes = 0
    for number in range(LABELLED):
        picture, detections = labelled(random, number)
        measure.add(picture, detections)
        boxes += len(detections.labels)
    print(f"memory: {tracemalloc.get_traced_memory()[0] / boxes:.0f} bytes a detection, its labels included")
    tracemalloc.stop()
    found = {}
    for name, evaluator in (("faster-coco-eval", evaluator_of), ("pycocotools", reference)):
        vars(metrics)["evaluator_of"] = evaluator
        began = time.process_time()
        found[name] = measure.figures(range(LABELLED))
        print(f"{name}: {time.process_time() - began:.2f} s CPU, mAP {found[name]['mAP']:.4f}", flush=True)
    fast, slow = found.values()
    print(f"largest difference {max(abs(fast[key] - slow[key]) for key in fast):.1e}")


def reference(_: str) -> tuple[Any, Any]:
    modules = require_coco()
    return modules["coco"].COCO, modules["cocoeval"].COCOeval


def labelled(random: np.random.Generator, number: int) -> tuple[LabelledPicture, Detections]:
    """A picture with up to ten objects, and detections near them."""
    objects, rows = [], []
    for _ in range(int(random.integers(0, 10))):
        x, y, w, h = (
            float(random.uniform(low, high)) for low, high in ((0, 500), (0, 400), (5, 140), (5, 80))
        )
        label = int(random.integers(CLASSES))
        objects.append(Annotation(label, (x, y, w, h), None, None, crowd=False))
        rows += [(np.array([x, y, x + w, y + h]) + random.normal(0, 4, 4), label) for _ in range(3)]
    boxes = np.array([corners for corners, _ in rows], np.float32).reshape(-1, 4)
    scores, labels = (
        random.random(len(rows)).astype(np.float32),
        np.array([label for _, label in rows], np.int64),
    )
    picture = LabelledPicture(Path(f"{number}.png"), 640, 480, tuple(objects))
    return picture, Detections(boxes, scores, labels, np.arange(len(rows)))


if __name__ == "__main__":
    main()
