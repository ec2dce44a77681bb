"""The float32 files that are lowered, and the jobs that judge what is made of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

import onnxproof
from lowered import ROOT
from lowered.networks import trained
from lowered.pictures import LABELS, Kind, write_pictures
from onnxproof.export.model import build_model
from onnxproof.job import Job, load_job
from onnxproof.job.asked import calibrating_of
from onnxproof.runtime.folder import MODEL_FILE
from onnxproof.runtime.preprocess import prepare
from onnxproof.steps.budgeted import exam_of, plan_budget
from onnxproof.validate.budget.exam import Exam
from onnxproof.validate.legs.pytorch import TorchLeg

CALIBRATION = 48

JOB = """
name = "{short}"
[model]
family = "{family}"
variant = "{variant}"
checkpoint = "{checkpoint}"
{told}
[dims]
batch = "1"
height = "{side}"
width = "{side}"
[predict]
resize = "stretch"
size = {side}
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
changed = 0.01
box_px = 8.0
score = 0.12
map_drop = 0.01
"""
VALIDATE: Mapping[Kind, str] = {"scenes": "class_agnostic = true", "digits": "top_k = 3"}
CLASSIFIER = 'task = "classification"'


@dataclass(frozen=True, slots=True)
class Model:
    """A row's model: its name in the table, what its job says, and the pictures that it is judged on.

    ``side`` is that of the pictures. ``large`` is a second side at which the file is timed, where a network
    takes any.
    """

    name: str
    family: str
    variant: str
    kind: Kind
    side: int
    judged: int = 400
    large: int | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)


MODELS: Mapping[str, Model] = {
    "demo": Model("demo detector, 256", "yolox", "nano", "scenes", 256),
    "tiny": Model("YOLOX-tiny, 416", "yolox", "tiny", "scenes", 416, judged=200),
    "resnet50": Model(
        "ResNet-50, 64", "torchvision_classifier", "resnet50", "digits", 64, judged=600, large=224
    ),
    "mobilenet": Model(
        "MobileNetV3-Large, 64",
        "torchvision_classifier",
        "mobilenet_v3_large",
        "digits",
        64,
        judged=600,
        large=224,
    ),
    "vit": Model(
        "ViT-Ti/16 of 6 blocks, 64",
        "timm_classifier",
        "vit_tiny_patch16_224",
        "digits",
        64,
        judged=600,
        kwargs={"img_size": 64, "patch_size": 16, "global_pool": "avg", "depth": 6},
    ),
}
"""The models by their short names."""


@dataclass
class Subject:
    """A float32 file and the job that judges others beside it."""

    model: Model
    file: Path
    job: Path

    @cached_property
    def asked(self) -> Job:
        """The job, read."""
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


def silent(*_: object) -> None:
    """Progress that nobody watches."""


def subject_of(short: str, folder: Path, counts: tuple[int, int] | None, threads: int) -> Subject:
    """Train, draw and export what is not there yet. ``counts`` of None are the model's own."""
    model = MODELS[short]
    pictures = folder / f"{model.kind}-{model.side}"
    write_pictures(pictures, model.kind, model.side, counts or (CALIBRATION, model.judged))
    checkpoint = ROOT / "examples" / "digits" / "yolox"
    if short != "demo":
        checkpoint = trained(short, model.variant, model.kwargs, folder / "trained").resolve()
    job = folder / f"{short}.toml"
    job.write_text(_job(short, model, pictures.name, checkpoint, threads), encoding="utf-8")
    file = folder / "dist" / short / MODEL_FILE
    if not file.exists():
        onnxproof.export(job, out=folder / "dist", validate=False, set=["precision.mode=float32"])
    return Subject(model, file, job)


def _job(short: str, model: Model, pictures: str, checkpoint: Path, threads: int) -> str:
    told = "" if model.kind == "scenes" else CLASSIFIER
    if model.kwargs:
        lines = (f"{key} = {json.dumps(value)}" for key, value in model.kwargs.items())
        told = "\n".join((told, "[model.kwargs]", *lines))
    return JOB.format(
        short=short,
        family=model.family,
        variant=model.variant,
        checkpoint=checkpoint,
        told=told,
        side=model.side,
        validate=VALIDATE[model.kind],
        pictures=pictures,
        labels=LABELS,
        threads=threads,
    )
