"""How fast and how large files of lower precision are, and how many decisions they keep.

The demo's detector is trained. YOLOX-tiny at 416, a ResNet-50, a MobileNet and a ViT have seeded weights, so
only their time and size say something: what an untrained network decides is no witness. Each row is a model
and a contestant: ours without a search, ONNX Runtime's defaults, ours in fp16, and NNCF with accuracy control
by an interpreter that has it. Times are paired and in turn with the float32 file, without spinning.

Each row is kept in DIR/rows.jsonl as soon as it is there; the same command goes on where it was stopped.

    python benchmarks/precision.py DIR [--reduced] [--nncf PYTHON] [--only NAME...] [--threads 1]
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
import torchvision
from _rounds import take_turns
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_static
from onnxruntime.quantization.calibrate import CalibrationDataReader
from torch import nn

import onnxproof
from onnxproof.export.quantize import half, static
from onnxproof.runtime.session import SessionSettings, open_session
from onnxproof.wrappers.families.yolox import build_network

ROOT = Path(__file__).parents[1]
CALIBRATION, JUDGED = 48, 400
REDUCED = 8, 40
ROUNDS = 21
SIDE = 256

Inputs = list[dict[str, NDArray[Any]]]

DEMO = """
name = "demo"
[model]
family = "yolox"
variant = "nano"
checkpoint = "{checkpoint}"
[dims]
batch = "1"
height = "256"
width = "256"
[validate]
images = "judged/*.png"
annotations = "judged/scenes.json"
class_agnostic = true
effort = "quick"
threads = {threads}
[precision]
images = "calibration/*.png"
[precision.budget]
changed = 0.03
box_px = 8.0
score = 0.15
map_drop = 0.02
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """A float32 file, the inputs that calibrate it, and the job that judges it; None if it is untrained."""

    name: str
    file: Path
    inputs: Inputs
    job: Path | None
    module: nn.Module | None = None


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Inputs, one after the other."""

    def __init__(self, inputs: Inputs) -> None:
        self._left = iter(inputs)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._left, None)


def scenes(folder: Path, counts: tuple[int, int]) -> None:
    """Draw the scenes that calibrate and, from other digits and photographs, those that judge."""
    sys.path.insert(0, str(ROOT / "examples" / "digits"))
    import scenes as drawn  # noqa: PLC0415

    splits: dict[str, tuple[Literal["train", "held-out"], int, int]] = {
        "calibration": ("train", counts[0], 5),
        "judged": ("held-out", counts[1], 7),
    }
    for name, (split, count, seed) in splits.items():
        place = folder / name
        if (place / "scenes.json").exists():
            continue
        place.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(seed)
        scans, photos = drawn.load_scans(split), drawn.load_backgrounds(split)
        made = [drawn.compose(random, scans, photos, SIDE, SIDE) for _ in range(count)]
        for number, scene in enumerate(made, start=1):
            scene.image.save(place / f"scene-{number:02d}.png")
        (place / "scenes.json").write_text(json.dumps(drawn.coco_document(made)), encoding="utf-8")


def demo(folder: Path, counts: tuple[int, int], threads: int) -> Subject:
    """The trained detector of the examples."""
    scenes(folder, counts)
    job = folder / "demo.toml"
    text = DEMO.format(checkpoint=ROOT / "examples" / "digits" / "yolox", threads=threads)
    job.write_text(text, encoding="utf-8")
    file = folder / "dist" / "demo" / "model.onnx"
    if not file.exists():
        onnxproof.export(job, out=folder / "dist", validate=False)
    predictor = onnxproof.load(file.parent)
    spec = predictor.contract.preprocess
    assert spec is not None
    from onnxproof.runtime.preprocess import prepare  # noqa: PLC0415

    pictures = sorted((folder / "calibration").glob("*.png"))
    return Subject("demo detector, 256", file, [{spec.input: prepare(one, spec)[0]} for one in pictures], job)


def seeded(name: str, build: Callable[[], nn.Module], side: int, folder: Path) -> Subject:
    """A network with seeded weights, exported by PyTorch."""
    torch.manual_seed(0)
    module = build().eval()
    file = folder / f"{name.split(',')[0].replace(' ', '-')}.onnx"
    random = np.random.default_rng(0)
    inputs: Inputs = [{"input": random.random((1, 3, side, side), dtype=np.float32)} for _ in range(4)]
    if not file.exists():
        example = (torch.from_numpy(inputs[0]["input"]),)
        program = torch.onnx.export(module, example, input_names=["input"], dynamo=True)
        assert program is not None
        program.save(file)
    return Subject(name, file, inputs, None, module)


class Maps(nn.Module):
    """YOLOX without its decoding: a flat tuple of maps."""

    def __init__(self) -> None:
        super().__init__()
        self.network = build_network("tiny", 80)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(one for level in self.network(x) for one in level)


def subjects(folder: Path, counts: tuple[int, int], threads: int) -> dict[str, Callable[[], Subject]]:
    """What is measured, by a short name. Nothing is made before it is asked for."""
    models = torchvision.models
    return {
        "demo": lambda: demo(folder, counts, threads),
        "tiny": lambda: seeded("YOLOX-tiny, 416", Maps, 416, folder),
        "resnet50": lambda: seeded("ResNet-50, 224", models.resnet50, 224, folder),
        "mobilenet": lambda: seeded("MobileNetV3-Large, 224", models.mobilenet_v3_large, 224, folder),
        "vit": lambda: seeded("ViT-B/16, 224", models.vit_b_16, 224, folder),
    }


def ours(subject: Subject, made: Path) -> None:
    """int8 as the job makes it, without a search: per channel, heads and decoding in float32."""
    calibrated = static.calibrate(static.prepared(subject.file), subject.inputs, "minmax")
    network = calibrated.network
    heads = [node for block in network.blocks if block.layer in network.heads for node in block.nodes]
    onnx.save(static.quantised(calibrated, heads), made)


def defaults(subject: Subject, made: Path) -> None:
    """``quantize_static`` as it comes, but for uint8 activations, which its documentation asks for on x86."""
    quantize_static(
        str(subject.file),
        str(made),
        Reader(subject.inputs),
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def fp16(subject: Subject, made: Path) -> None:
    """The network in float16 before capture."""
    if subject.module is None:
        assert subject.job is not None
        set_ = ["precision.mode=fp16", "precision.search=false"]
        bundle = onnxproof.export(subject.job, out=made.parent / "fp16", set=set_, validate=False)
        assert bundle.lowered is not None
        onnx.save(onnx.load(bundle.lowered.path / "model.onnx"), made)
        return
    module = half.halved(subject.module, torch.float16)
    example = (torch.from_numpy(subject.inputs[0]["input"]),)
    program = torch.onnx.export(module, example, input_names=["input"], dynamo=True)
    assert program is not None
    program.save(made)


NNCF = """
import sys
import numpy as np, nncf, onnx, onnxruntime as ort
source, inputs, made = sys.argv[1:]
model, held = onnx.load(source), np.load(inputs)
name = model.graph.input[0].name
items = [held[key] for key in held.files]
wanted = ort.InferenceSession(source)
wanted = [wanted.run(None, {name: one})[0] for one in items]

def kept(model, data):
    session = ort.InferenceSession(model.SerializeToString())
    apart = [np.square(session.run(None, {name: a})[0] - b).sum() / np.square(b).sum()
             for a, b in zip(items, wanted)]
    return 1.0 - float(np.mean(apart)), None

data = nncf.Dataset(items, lambda one: {name: one})
done = nncf.quantize_with_accuracy_control(model, data, data, kept, max_drop=0.01,
                                           subset_size=len(items))
onnx.save(done, made)
"""
"""NNCF's accuracy control, by the power of the outputs' error: at most 1 % of the outputs' own."""


def nncf(python: str) -> Callable[[Subject, Path], None]:
    """NNCF in another interpreter."""

    def make(subject: Subject, made: Path) -> None:
        inputs = made.with_suffix(".npz")
        np.savez(inputs, *[next(iter(one.values())) for one in subject.inputs])
        command = [python, "-c", NNCF, str(subject.file), str(inputs), str(made)]
        subprocess.run(command, check=True, capture_output=True, timeout=900)

    return make


def row(subject: Subject, contestant: str, file: Path, threads: int) -> dict[str, Any]:
    """What a file costs and brings."""
    settings = SessionSettings(threads=threads, in_turn=True)
    sessions = [open_session(one, settings) for one in (subject.file, file)]
    inputs = {sessions[0].get_inputs()[0].name: next(iter(subject.inputs[0].values()))}

    def run(session: Any) -> Callable[[], object]:
        return lambda: session.run(None, inputs)

    base, found = take_turns({"float32": run(sessions[0]), contestant: run(sessions[1])}, ROUNDS, warmup=3)
    made: dict[str, Any] = {
        "model": subject.name,
        "contestant": contestant,
        "time": round(found.over(base), 3),
        "float32_ms": round(1e3 * base.median, 1),
        "size": round(size_of(file) / size_of(subject.file), 3),
    }
    if subject.job is not None:
        verdict = onnxproof.validate(subject.job, onnx=file, policy="budget")
        assert verdict.budget is not None
        tally = verdict.budget.tally
        moved = {one.quantity: round(one.largest, 3) for one in tally.moved}
        quality = {one.name: round(one.candidate - one.reference, 4) for one in verdict.budget.quality}
        made |= {"decisions": tally.decisions, "changed": tally.changed, **moved, **quality}
    return made


def size_of(file: Path) -> int:
    """Bytes of a file and of its external data."""
    return sum(one.stat().st_size for one in (file, file.with_name(f"{file.name}.data")) if one.exists())


def table(rows: list[Mapping[str, Any]]) -> Iterator[str]:
    """The rows in Markdown."""
    yield "| model | contestant | time, of float32 | size | changed | largest move: box px, score | mAP |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    for one in rows:
        changed = f"{one['changed']} of {one['decisions']}" if "changed" in one else "untrained"
        moved = f"{one['box']:.2f}, {one['score']:.3f}" if "box" in one else ""
        drop = f"{one['mAP']:+.4f}" if "mAP" in one else ""
        told = f"{one['time']:.2f} | {one['size']:.2f}" if "time" in one else f"{one['failed']} | "
        yield f"| {one['model']} | {one['contestant']} | {told} | {changed} | {moved} | {drop} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure files of lower precision.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--reduced", action="store_true", help="few pictures, the demo and YOLOX-tiny only")
    parser.add_argument("--nncf", metavar="PYTHON", help="an interpreter that has NNCF")
    parser.add_argument("--only", nargs="*", default=[], help="some models by their short names")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    kept = options.folder / "rows.jsonl"
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    done = {(one["short"], one["contestant"]) for one in rows}
    makers: dict[str, Callable[[Subject, Path], None]] = {
        "ours, int8": ours,
        "ONNX Runtime's defaults, int8": defaults,
        "ours, fp16": fp16,
    }
    if options.nncf:
        makers["NNCF with accuracy control, int8"] = nncf(options.nncf)
    counts = REDUCED if options.reduced else (CALIBRATION, JUDGED)
    for short, build in subjects(options.folder, counts, options.threads).items():
        wanted = short in options.only if options.only else not options.reduced or short in ("demo", "tiny")
        left = [name for name in makers if (short, name) not in done]
        if not wanted or not left:
            continue
        subject = build()
        for name in left:
            file = options.folder / f"{short}-{name.replace(' ', '-').replace(',', '')}.onnx"
            try:
                makers[name](subject, file)
                found = row(subject, name, file, options.threads)
            except Exception as error:  # noqa: BLE001
                # A contestant that does not manage a model is a row of its own.
                reason = str(error).strip().splitlines()[0][:80]
                found = {"model": subject.name, "contestant": name, "failed": reason}
            rows.append({"short": short, **found})
            with kept.open("a", encoding="utf-8") as stream:
                stream.write(f"{json.dumps(rows[-1])}\n")
            print(rows[-1], flush=True)
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
