"""Models that transformers saved: a folder with config.json and weights, or an id in the cache.

The task, the classes and the preprocessing come from the folder's own files. No code of the folder's runs,
and nothing is downloaded.
"""

from dataclasses import replace
from pathlib import Path

from onnxproof.errors import JobError
from onnxproof.job import Job
from onnxproof.wrappers.family import Checkpoint, WrappedModel
from onnxproof.wrappers.huggingface.kinds import kind_of
from onnxproof.wrappers.huggingface.network import load_network
from onnxproof.wrappers.huggingface.opened import (
    FAMILY_NAME,
    is_folder_of_ours,
    open_folder,
)
from onnxproof.wrappers.huggingface.processor import fitting_of, processor_of
from onnxproof.wrappers.huggingface.taken import KEY
from onnxproof.wrappers.own.transformers import saved_pipeline
from onnxproof.wrappers.recognise import CONFIG, Recognised, dim_settings

EXTRA = "transformers"
"""The extra that brings the library. It is read here before this module is imported."""


class _Transformers:
    name = FAMILY_NAME

    def build(self, job: Job, checkpoint: Checkpoint | None) -> WrappedModel:
        if checkpoint is None:
            raise JobError(
                "model.checkpoint is missing: name a folder that save_pretrained wrote, or the id of a model "
                "in the cache of Hugging Face"
            )
        opened = open_folder(job, checkpoint)
        kind = kind_of(opened)
        network = load_network(opened)
        model = kind.build(opened, network)
        own = saved_pipeline(
            model.contract, network, lambda: processor_of(opened), lambda: fitting_of(opened).fit
        )
        # What is unusual in the weights is told of the checkpoint's own names already.
        return replace(model, notes=(), own=own)

    def recognise(self, checkpoint: Checkpoint) -> Recognised | None:
        if not is_folder_of_ours(checkpoint):
            return None
        nothing = {"name": "recognised", "model": {"family": self.name}}
        opened = open_folder(Job.from_document(nothing, folder=Path(), source=self.name), checkpoint)
        kind = kind_of(opened)
        return Recognised(
            self.name,
            kind.tasks(opened)[0],
            None,
            f"its {CONFIG} names {opened.called}",
            dim_settings(kind.dims(opened), "the sizes of the folder's own files"),
            kind.decodes(opened),
            inputs_key=f"model.kwargs.{KEY}",
        )


FAMILY = _Transformers()
