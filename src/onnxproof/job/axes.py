"""Whether a job's ``[dims]`` fit the axes of its inputs."""

from collections.abc import Collection, Iterable

from onnxproof.errors import JobError
from onnxproof.job.tables import Job
from onnxproof.tensors import TensorSpec
from onnxproof.text import meant


def refuse_other_dims(job: Job, known: Iterable[str]) -> None:
    """Raise JobError if the job's ``[dims]`` name one that its family does not know."""
    names = tuple(known)
    other = min(set(job.dims) - set(names), default=None)
    if other is not None:
        hint = meant(other, names)
        raise JobError(f"dims.{other}: the family {job.model.family} has {', '.join(names)}{hint}")


def refuse_unused_dims(job: Job) -> None:
    """Raise JobError if the job's ``[dims]`` name one that is no axis of ``[inputs]``."""
    axes = tuple(dict.fromkeys(axis for spec in job.inputs.values() for axis in spec.axis_names))
    other = min(set(job.dims) - set(axes), default=None)
    if other is not None:
        listed = f"their axes are {', '.join(axes)}" if axes else "all their sizes are fixed"
        raise JobError(f"dims.{other}: no input has the axis {other}; {listed}{meant(other, axes)}")


def refuse_open_axes(inputs: Iterable[TensorSpec], dims: Collection[str]) -> None:
    """Raise JobError if an axis of a module's inputs is not among ``dims``."""
    axes: dict[str, str] = {}
    for spec in inputs:
        for axis in spec.axis_names:
            axes.setdefault(axis, spec.name)
    for axis, name in axes.items():
        if axis not in dims:
            unused = [dim for dim in dims if dim not in axes]
            hint = f"; no input has the axis {', '.join(unused)} of [dims]" if unused else ""
            raise JobError(
                f'the axis {axis} of input {name} has no size: add {axis} = "1..8", say, to [dims]{hint}'
            )
