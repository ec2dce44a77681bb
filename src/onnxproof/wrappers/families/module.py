"""Any nn.Module that a function of yours makes: package.module:callable or file.py:callable.

The job's ``[inputs]`` name the module's inputs, in the order of its ``forward``. The tensors that it returns
get stable names, in tuples, lists, dicts and dataclasses nested to any depth.
"""

from torch import nn

from onnxproof.errors import JobError
from onnxproof.job import Job
from onnxproof.wrappers.builder import build_with
from onnxproof.wrappers.family import Checkpoint, WrappedModel
from onnxproof.wrappers.weights import cast_floats, load_weights
from onnxproof.wrappers.wrap import ANY_MODULE, wrap_for_job


class _Module:
    name = ANY_MODULE

    def build(self, job: Job, checkpoint: Checkpoint | None) -> WrappedModel:
        if job.model.builder is None:
            raise JobError(
                'model.builder is missing: name what makes the module, "package.module:callable" or '
                '"file.py:callable" (with --set model.builder=… for a bundle), or pass model= in Python'
            )
        module = build_with(job.model.builder, job.folder, job.model.kwargs)
        if not isinstance(module, nn.Module):
            raise JobError(
                f'model.builder = "{job.model.builder}" made a {type(module).__name__}; expected an nn.Module'
            )
        if checkpoint is not None:
            load_weights(module, checkpoint, f"what {job.model.builder} makes", "are model.kwargs right?")
        # In place: the job's own module, and not the user's.
        dtype = "float32" if job.export.dtype == "auto" else job.export.dtype
        return wrap_for_job(job, cast_floats(module, dtype), checkpoint)


FAMILY = _Module()
