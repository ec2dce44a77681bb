"""The models whose files are damaged: small, some trained, some seeded, each with its job."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from soundness import fcos, modules
from torch import Tensor

from onnxproof.export.capture import capture
from onnxproof.export.finish import finish, stamped
from onnxproof.export.make import make_graph
from onnxproof.export.model import build_model
from onnxproof.export.write import manifest_of
from onnxproof.job import Job, load_job
from onnxproof.job.document import override
from onnxproof.wrappers.family import Checkpoint, WrappedModel
from onnxproof.wrappers.registry import get_family

FOLDER = Path(__file__).parent
CONFIGS = FOLDER.parents[1] / "configs"
PICTURES = "../../examples/digits/images/*.png"

QUICK = ("validate.effort=quick", "validate.threads=1")
SMALL = ("dims.batch=1..3", 'dims.height="64..160 step 32"', 'dims.width="64..160 step 32"')


@dataclass(frozen=True, slots=True)
class Subject:
    """A model and how it is exported. ``source`` is a job file of ``configs/`` or a job's document, whose
    paths start at this folder; ``weights`` makes the state dict of a seeded network whose family reads a
    checkpoint, and is None where the job names one or its builder seeds the network. ``plain`` captures
    without any optimizer, so that batch norms stay nodes."""

    name: str
    source: str | Mapping[str, Any]
    overrides: tuple[str, ...]
    trained: bool
    weights: Callable[[], Mapping[str, Tensor]] | None = None
    plain: bool = False

    def job(self, *more: str) -> Job:
        """The subject's job, with more overrides behind its own."""
        changes = (*QUICK, *self.overrides, *more)
        if isinstance(self.source, str):
            return load_job(CONFIGS / self.source, changes)
        document = override({"name": self.name, **self.source}, changes)
        return Job.from_document(document, folder=FOLDER, source=self.name)

    def build(self, job: Job) -> WrappedModel:
        """The wrapped model that ``job`` (one of ``self.job``) asks for."""
        if self.weights is None:
            return build_model(job)[0]
        checkpoint = Checkpoint(FOLDER / f"{self.name}.pth", "0" * 64, self.weights())
        return get_family(job.model.family).build(job, checkpoint)

    def export(self, job: Job, model: WrappedModel) -> onnx.ModelProto:
        """The model's graph, stamped with its manifest as a bundle's file is."""
        if self.plain:
            captured = capture(model, "torch.export", job.export.opset, optimize=False)
            proto, simplifier = finish(captured.proto, model.contract.inputs, model.contract.outputs), "none"
        else:
            graph = make_graph(job, model)
            captured, proto, simplifier = graph.captured, graph.proto, graph.simplifier
        manifest = manifest_of(job, model, None, captured.exporter, simplifier)
        return stamped(proto, manifest)


def _picture_module(builder: str, task: str, **tables: Any) -> dict[str, Any]:
    return {
        "model": {"family": "module", "task": task, "builder": f"{modules.__file__}:{builder}"},
        "inputs": {"image": "float32[batch, 3, height, width] in 0..1"},
        "dims": {"batch": "1..3", "height": "64..160 step 32", "width": "64..160 step 32"},
        "predict": {"input": "image", "size": 96},
        "validate": {"images": PICTURES},
        **tables,
    }


SUBJECTS = (
    Subject(
        "yolox",
        "digits-yolox.toml",
        (*SMALL, "wrapper.scale_input=true", "export.exporter=torch.export", "predict.size=160"),
        trained=True,
    ),
    Subject(
        "yolox-raw",
        "digits-yolox.toml",
        (
            *SMALL,
            "wrapper.decode=none",
            "predict.size=160",
        ),
        trained=True,
        plain=True,
    ),
    Subject(
        "yolox-split",
        "digits-yolox-uint8.toml",
        (*SMALL, "export.exporter=torchscript", "predict.size=160"),
        trained=True,
    ),
    Subject("classifier", "digits-classifier.toml", ("dims.batch=1..3",), trained=True),
    Subject(
        "multilabel",
        "digits-multilabel.toml",
        ("dims.batch=1..3", 'dims.height="64..128 step 32"', 'dims.width="64..128 step 32"'),
        trained=True,
    ),
    Subject(
        "segmenter",
        "digits-segmenter.toml",
        ("dims.batch=1..3", 'dims.height="64..160 step 16"', 'dims.width="64..160 step 16"'),
        trained=True,
    ),
    Subject("reader", "digits-reader.toml", ("dims.batch=1..3", "dims.time=1..48"), trained=True),
    Subject(
        "maskrcnn",
        "digits-maskrcnn.toml",
        ("dims.height=96..160", "dims.width=96..160", "predict.size=128"),
        trained=True,
    ),
    Subject(
        "resnet",
        _picture_module("resnet", "classification"),
        ("validate.top_k=3",),
        trained=False,
        plain=True,
    ),
    Subject(
        "mobile",
        _picture_module("mobile", "classification", wrapper={"decode": "probabilities"}),
        ("validate.top_k=3", "export.exporter=torchscript"),
        trained=False,
    ),
    Subject(
        "encoder",
        {
            "model": {
                "family": "module",
                "task": "classification",
                "builder": f"{modules.__file__}:encoder",
            },
            "inputs": {
                "input_ids": "int64[batch, time] in 0..99",
                "attention_mask": "int64[batch, time] as mask",
            },
            "dims": {"batch": "1..4", "time": "1..24"},
        },
        (),
        trained=False,
    ),
    Subject(
        "finder",
        {
            "model": {"family": "module", "task": "detection", "builder": f"{modules.__file__}:finder"},
            "inputs": {
                "picture": "float32[batch, 3, height, width] in 0..1",
                "query": "float32[batch, 5] in -1..1",
            },
            "dims": {"batch": "1..3", "height": "32..96 step 8", "width": "32..96 step 8"},
            "predict": {"input": "picture", "size": 64},
            "validate": {"images": PICTURES},
        },
        (),
        trained=False,
    ),
    Subject("dense", _picture_module("dense", "raw"), (), trained=False),
    Subject("dense-normed", _picture_module("dense", "raw"), ("model.kwargs.normed=true",), trained=False),
    Subject(
        "small-variance",
        _picture_module("small_variance", "classification"),
        (),
        trained=False,
        plain=True,
    ),
    Subject(
        "averaged",
        _picture_module("small_variance", "classification"),
        ("model.kwargs.averaged=true",),
        trained=False,
    ),
    Subject(
        "fcos",
        {
            "model": {"family": "torchvision_detector", "builder": f"{fcos.__file__}:plain_fcos"},
            "wrapper": {"decode": "nms"},
            "dims": {"batch": "1", "height": "64..160", "width": "64..160"},
            "predict": {"size": 96},
            "export": {"opset": 20},
            "validate": {"images": PICTURES},
        },
        ("validate.score_threshold=0.41",),
        trained=False,
        weights=fcos.fcos_weights,
    ),
)
"""Every subject; their names are unique."""

BY_NAME: Mapping[str, Subject] = {subject.name: subject for subject in SUBJECTS}
