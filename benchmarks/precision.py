"""How fast and how large files of lower precision are, and how many decisions they keep.

The demo's detector is trained. YOLOX-tiny at 416, a ResNet-50, a MobileNet and a ViT are trained for some
minutes on handwritten digits, by ``_trained.py``. Each row is a model and a contestant: ours without a
search, ours with it, ONNX Runtime's defaults, ours in fp16, and NNCF with accuracy control by an interpreter
that has it. Times are paired and in turn with the float32 file, without spinning.

Each row is kept in DIR/rows.jsonl as soon as it is there, and its times in DIR/times.jsonl; the same command
goes on where it was stopped. ``--plot`` draws what each model's files cost.

    python benchmarks/precision.py DIR [--reduced] [--nncf PYTHON] [--only NAME...]
        [--judge-only | --times-only]
"""

import argparse
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from _rounds import take_turns
from _trained import ROOT, VARIANTS, trained, write_pictures
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_static
from onnxruntime.quantization.calibrate import CalibrationDataReader
from scenes import Split, coco_document, compose, load_backgrounds, load_scans

import onnxproof
from onnxproof.export.model import build_model
from onnxproof.export.quantize import static
from onnxproof.job import Job, load_job
from onnxproof.job.asked import calibrating_of
from onnxproof.runtime.folder import MODEL_FILE
from onnxproof.runtime.preprocess import prepare
from onnxproof.runtime.session import SessionSettings, open_session
from onnxproof.steps.budgeted import budget_of, exam_of, opened, plan_budget
from onnxproof.steps.makers import maker_of
from onnxproof.steps.searching import search
from onnxproof.validate.budget.exam import Exam
from onnxproof.validate.budget.judge import judge_budget
from onnxproof.validate.legs.pytorch import TorchLeg
from onnxproof.validate.verdict import conclude

CALIBRATION, JUDGED = 48, 400
REDUCED = 8, 40
ROUNDS = 21

OURS, DEFAULTS, FP16 = "ours, int8", "ONNX Runtime's defaults, int8", "ours, fp16"
SEARCHED, NNCF = "ours, int8, with the search", "NNCF with accuracy control, int8"

JOB = """
name = "{short}"
[model]
family = "{family}"
variant = "{variant}"
checkpoint = "{checkpoint}"
{model}
[dims]
batch = "1"
height = "{side}"
width = "{side}"
[predict]
{predict}
[validate]
images = "{pictures}/judged/*.png"
annotations = "{pictures}/judged/{labels}"
effort = "quick"
threads = {threads}
{validate}
[precision]
mode = "int8"
images = "{pictures}/calibration/*.png"
[precision.budget]
{budget}
"""

DETECTION = {
    "predict": "",
    "labels": "scenes.json",
    "validate": "class_agnostic = true",
    "budget": "changed = 0.01\nbox_px = 8.0\nscore = 0.12\nmap_drop = 0.01",
}
CLASSIFICATION = {
    "side": 224,
    "pictures": "digits",
    "predict": 'resize = "stretch"\nsize = 224',
    "labels": "labels.json",
    "validate": "top_k = 3",
    "budget": "changed = 0.02\nscore = 0.25\nmap_drop = 0.01",
}
KWARGS = 'task = "classification"\n[model.kwargs]\nglobal_pool = "avg"'
MODELS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "demo": (
        "demo detector, 256",
        {**DETECTION, "family": "yolox", "variant": "nano", "side": 256, "pictures": ".", "model": ""},
    ),
    "tiny": (
        "YOLOX-tiny, 416",
        {**DETECTION, "family": "yolox", "variant": "tiny", "side": 416, "pictures": "large", "model": ""},
    ),
    "resnet50": (
        "ResNet-50, 224",
        {**CLASSIFICATION, "family": "torchvision_classifier", "model": 'task = "classification"'},
    ),
    "mobilenet": (
        "MobileNetV3-Large, 224",
        {**CLASSIFICATION, "family": "torchvision_classifier", "model": 'task = "classification"'},
    ),
    "vit": ("ViT-Ti/16, 224", {**CLASSIFICATION, "family": "timm_classifier", "model": KWARGS}),
}
"""The models by their short names: what the table calls them, and what their jobs say."""


@dataclass
class Subject:
    """A float32 file and the job that judges others beside it."""

    name: str
    file: Path
    job: Path

    @cached_property
    def asked(self) -> Job:
        return load_job(self.job)

    @cached_property
    def exam(self) -> Exam:
        """What PyTorch decides in float32."""
        model, _ = build_model(self.asked)
        questions = plan_budget(self.asked, model, None)
        return exam_of(model, questions, TorchLeg(model, self.asked.validation.threads), silent)

    @cached_property
    def inputs(self) -> list[dict[str, NDArray[Any]]]:
        """Those that calibrate."""
        spec = onnxproof.load(self.file.parent).contract.preprocess
        assert spec is not None
        return [{spec.input: prepare(one, spec)[0]} for one in calibrating_of(self.asked)]


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Inputs, one after the other."""

    def __init__(self, inputs: Sequence[dict[str, NDArray[Any]]]) -> None:
        self._left = iter(inputs)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._left, None)


def silent(*_: object) -> None:
    """Progress that nobody watches."""


def draw_scenes(folder: Path, side: int, counts: tuple[int, int]) -> None:
    """Draw the scenes that calibrate and, from other digits and photographs, those that judge."""
    splits: dict[str, tuple[Split, int, int]] = {
        "calibration": ("train", counts[0], 5),
        "judged": ("held-out", counts[1], 7),
    }
    for name, (split, count, seed) in splits.items():
        place = folder / name
        if (place / "scenes.json").exists():
            continue
        place.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(seed)
        scans, photos = load_scans(split), load_backgrounds(split)
        made = [compose(random, scans, photos, side, side) for _ in range(count)]
        for number, scene in enumerate(made, start=1):
            scene.image.save(place / f"scene-{number:02d}.png")
        (place / "scenes.json").write_text(json.dumps(coco_document(made)), encoding="utf-8")


def subject_of(short: str, folder: Path, counts: tuple[int, int], threads: int) -> Subject:
    """Train, draw and export what is not there yet."""
    name, told = MODELS[short]
    if told["labels"] == "scenes.json":
        draw_scenes(folder / told["pictures"], told["side"], counts)
    else:
        splits: tuple[tuple[str, Split, int, int], ...] = (
            ("calibration", "train", counts[0], 5),
            ("judged", "held-out", counts[1], 7),
        )
        write_pictures(folder / told["pictures"], splits)
    demo = ROOT / "examples" / "digits" / "yolox"
    checkpoint = demo if short == "demo" else trained(short, folder / "trained").resolve()
    job = folder / f"{short}.toml"
    values = {"variant": VARIANTS.get(short), **told, "short": short, "threads": threads}
    job.write_text(JOB.format(**values, checkpoint=checkpoint), encoding="utf-8")
    file = folder / "dist" / short / MODEL_FILE
    if not file.exists():
        onnxproof.export(job, out=folder / "dist", validate=False, set=["precision.mode=float32"])
    return Subject(name, file, job)


def ours(subject: Subject, made: Path) -> None:
    """int8 as the job makes it, without a search: per channel, heads and decoding in float32."""
    calibrated = static.calibrate(static.prepared(subject.file), subject.inputs, "minmax")
    network = calibrated.network
    heads = [node for block in network.blocks if block.layer in network.heads for node in block.nodes]
    onnx.save(static.quantised(calibrated, heads), made)


def searched(subject: Subject, made: Path) -> None:
    """int8 with as few layers in float32 as meet the budget. The curve is kept beside the file."""
    job = subject.asked
    model, _ = build_model(job)
    maker = maker_of(job, model, subject.file, calibrating_of(job), silent)

    def write(kept: Sequence[str], into: Path) -> None:
        onnx.save(maker.make(kept), into / MODEL_FILE)

    chosen = search(job, maker, subject.exam, subject.file, write, silent)
    assert chosen.figures is not None
    if chosen.figures.search is not None:
        found = asdict(chosen.figures.search)
        (made.parent / f"{subject.asked.name}-curve.json").write_text(json.dumps(found), encoding="utf-8")
    onnx.save(maker.make(chosen.kept), made)


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
    set_ = ["precision.mode=fp16", "precision.search=false"]
    bundle = onnxproof.export(subject.job, out=made.parent / "fp16", set=set_, validate=False)
    assert bundle.lowered is not None
    onnx.save(onnx.load(bundle.lowered.path / MODEL_FILE), made)


def nncf(python: str) -> Callable[[Subject, Path], None]:
    """NNCF in another interpreter."""

    def make(subject: Subject, made: Path) -> None:
        script = Path(__file__).with_name("_nncf.py")
        command = [python, str(script), str(subject.job), str(subject.file), str(made)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])

    return make


def judged(subject: Subject, file: Path) -> dict[str, Any]:
    """What a file decides beside PyTorch in float32."""
    found = subject.exam.take(opened(subject.asked, file))
    checks = judge_budget(found, budget_of(subject.asked))
    moved = {one.quantity: round(one.largest, 3) for one in found.tally.moved}
    quality = {one.name: round(one.candidate - one.reference, 4) for one in found.quality}
    return {
        "size": round(size_of(file) / size_of(subject.file), 3),
        "decisions": found.tally.decisions,
        "changed": found.tally.changed,
        **moved,
        "quality": next(iter(quality.values()), None),
        "reference": round(found.quality[0].reference, 4) if found.quality else None,
        "budget": conclude(checks),
        "beyond": [one.name for one in checks if one.status in ("fail", "error")],
    }


def timed(subject: Subject, file: Path, threads: int) -> dict[str, float]:
    """How long a file takes, of the float32 file's time."""
    settings = SessionSettings(threads=threads, in_turn=True)
    sessions = [open_session(one, settings) for one in (subject.file, file)]
    inputs = subject.inputs[0]

    def run(session: Any) -> Callable[[], object]:
        return lambda: session.run(None, inputs)

    base, found = take_turns({"float32": run(sessions[0]), "other": run(sessions[1])}, ROUNDS, warmup=3)
    return {"time": round(found.over(base), 3), "float32_ms": round(1e3 * base.median, 1)}


def size_of(file: Path) -> int:
    """Bytes of a file and of its external data."""
    return sum(one.stat().st_size for one in (file, file.with_name(f"{file.name}.data")) if one.exists())


def table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The rows in Markdown."""
    moved = "largest move: box px, score"
    yield f"| model | contestant | time, of float32 | size | changed | {moved} | mAP, top 1 | budget |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |"
    for one in rows:
        if "failed" in one:
            yield f"| {one['model']} | {one['contestant']} | {one['failed']} | | | | | |"
            continue
        moved = ", ".join(f"{one[key]:.3g}" for key in ("box", "score") if key in one)
        drop = "" if one["quality"] is None else f"{one['quality']:+.4f}"
        time = f"{one['time']:.2f}" if "time" in one else ""
        kept = "within" if one["budget"] == "pass" else f"beyond: {', '.join(one['beyond'])}"
        yield (
            f"| {one['model']} | {one['contestant']} | {time} | {one['size']:.2f} | "
            f"{one['changed']} of {one['decisions']} | {moved} | {drop} | {kept} |"
        )


def read(file: Path) -> list[dict[str, Any]]:
    """The objects of a file, one a line; empty if it is not there."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def append(file: Path, value: Mapping[str, Any]) -> None:
    """Add a line."""
    with file.open("a", encoding="utf-8") as stream:
        stream.write(f"{json.dumps(value)}\n")
    print(value, flush=True)


def plot(rows: Sequence[Mapping[str, Any]], folder: Path, to: Path) -> None:
    """Draw the share of changed decisions over the time, a panel for each model."""
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("agg")
    from matplotlib import pyplot  # noqa: PLC0415

    shorts = [short for short in MODELS if any(one["short"] == short and "time" in one for one in rows)]
    figure, panels = pyplot.subplots(1, len(shorts), figsize=(3.1 * len(shorts), 3.4), layout="constrained")
    colours = {OURS: "C0", SEARCHED: "C0", DEFAULTS: "C3", FP16: "C2", NNCF: "C1"}
    marks = {OURS: "o", SEARCHED: "*", DEFAULTS: "s", FP16: "^", NNCF: "D"}
    for short, axes in zip(shorts, np.atleast_1d(panels), strict=True):
        curve = folder / f"{short}-curve.json"
        if curve.exists():
            tried = json.loads(curve.read_text(encoding="utf-8"))["tried"]
            points = sorted((one["time"], 100 * one["changed"] / one["decisions"]) for one in tried)
            axes.plot(*zip(*points, strict=True), ".-", color="C0", lw=1, label="files that the search tried")
        for one in rows:
            if one["short"] == short and "time" in one and "changed" in one:
                share = 100 * one["changed"] / max(one["decisions"], 1)
                name = one["contestant"]
                axes.plot(one["time"], share, marks[name], color=colours[name], ms=8, label=name, mec="white")
        limit = 100 * budget_of(load_job(folder / f"{short}.toml")).changed
        axes.axhline(limit, color="grey", ls=":", lw=1, label="budget")
        axes.set(title=MODELS[short][0], xlabel="time, of float32", xlim=(0, None), yscale="symlog")
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(-0.05, 120)
        axes.set_yticks([0, 0.5, 1, 10, 100], ["0", "0.5", "1", "10", "100"])
        axes.grid(alpha=0.3)
    np.atleast_1d(panels)[0].set_ylabel("decisions changed, %")
    handles: dict[str, Any] = {}
    for axes in np.atleast_1d(panels):
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, fontsize=8)
    figure.savefig(to, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure files of lower precision.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--reduced", action="store_true", help="few pictures, the demo only")
    parser.add_argument("--nncf", metavar="PYTHON", help="an interpreter that has NNCF")
    parser.add_argument("--only", nargs="*", default=[], choices=MODELS, help="some models")
    parser.add_argument("--judge-only", action="store_true", help="leave the times to a later, quiet run")
    parser.add_argument("--times-only", action="store_true", help="the times of the rows that are there")
    parser.add_argument("--plot", type=Path, help="a PNG")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    makers: dict[str, Callable[[Subject, Path], None]] = {
        OURS: ours,
        DEFAULTS: defaults,
        FP16: fp16,
        SEARCHED: searched,
    }
    if options.nncf:
        makers[NNCF] = nncf(options.nncf)
    counts = REDUCED if options.reduced else (CALIBRATION, JUDGED)
    kept, clock = folder / "rows.jsonl", folder / "times.jsonl"
    for short in options.only or (["demo"] if options.reduced else MODELS):
        have = {one["contestant"]: one for one in read(kept) if one["short"] == short}
        measured = {one["contestant"] for one in read(clock) if one["short"] == short}
        measured |= {name for name, one in have.items() if "failed" in one}
        wanted = set(have) if options.times_only else set(makers)
        if wanted <= set(have) and (options.judge_only or wanted <= measured):
            continue
        subject = subject_of(short, folder, counts, options.threads)
        for name, make in makers.items():
            if name not in wanted:
                continue
            file = folder / f"{short}-{name.replace(' ', '-').replace(',', '')}.onnx"
            head = {"short": short, "model": subject.name, "contestant": name}
            if name not in have:
                try:
                    if not file.exists():
                        make(subject, file)
                    append(kept, {**head, **judged(subject, file)})
                except Exception as error:  # noqa: BLE001
                    # A contestant that does not manage a model is a row of its own.
                    append(
                        kept, {**head, "failed": (str(error).strip() or repr(error)).splitlines()[0][:120]}
                    )
                    continue
            if name not in measured and not options.judge_only:
                append(clock, {**head, **timed(subject, file, options.threads)})
    times = {(one["short"], one["contestant"]): one for one in read(clock)}
    found = {(one["short"], one["contestant"]): one for one in read(kept)}
    rows = [
        {**times.get(key, {}), **found[key]}
        for key in ((short, name) for short in MODELS for name in makers)
        if key in found
    ]
    print("\n".join(table(rows)))
    if options.plot is not None:
        plot(rows, folder, options.plot)


if __name__ == "__main__":
    main()
