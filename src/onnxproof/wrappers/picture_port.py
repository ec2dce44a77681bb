"""Makes one of a module's inputs take pictures: its preprocessing, and its input stage in the graph."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor, nn

from onnxproof.contract import Preprocess
from onnxproof.errors import JobError
from onnxproof.job import Job, PredictTable, WrapperTable
from onnxproof.normalizations import NORMALIZATIONS
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.text import meant
from onnxproof.wrappers.family import Outputs
from onnxproof.wrappers.input import PictureInput

UNIT, BYTE = (0.0, 1.0), (0.0, 255.0)
"""The two ranges that pixels may have."""

AS_THEY_ARE = NORMALIZATIONS["none"]
"""The mean and standard deviation that change nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class PicturePort:
    """The input of a module that takes pictures.

    ``position`` is the input's position among the module's inputs. ``spec`` is the input of the file.
    ``stage`` turns the file's input into the module's; it is None if they are the same.
    """

    position: int
    spec: TensorSpec
    preprocess: Preprocess
    stage: PictureInput | None


class StagedModule(nn.Module):
    """A module that returns a flat tuple, with an input stage in front of one of its inputs."""

    def __init__(self, module: nn.Module, position: int, stage: PictureInput) -> None:
        super().__init__()
        self.module = module
        self.position = position
        self.stage = stage

    def forward(self, *inputs: Tensor) -> Outputs:
        """The module's outputs."""
        before, after = inputs[: self.position], inputs[self.position + 1 :]
        outputs: Outputs = self.module(*before, self.stage(inputs[self.position]), *after)
        return outputs


def picture_port(job: Job) -> PicturePort | None:
    """The input that the job's ``predict.input`` names. Returns None if the job does not name one.

    If ``[wrapper]`` has its defaults, the file's input is the one that the job declares. Otherwise the job
    declares what the module takes before normalisation, float32 [batch, 3, height, width] in 0..1, and
    ``[wrapper]`` determines the file's input. Raises JobError if the module has no input of that name, or if
    a picture does not fit it.
    """
    if job.predict.input is None:
        asked = _asked(job.wrapper)
        if asked:
            raise JobError(
                f"wrapper.{asked[0]} is for the input that takes pictures: name it, predict.input = "
                f'"{next(iter(job.inputs), "image")}", or leave the key out'
            )
        return None
    found = (
        at for at, (place, spec) in enumerate(job.inputs.items()) if job.predict.input in (place, spec.name)
    )
    position = next(found, None)
    if position is None:
        raise JobError(
            f'predict.input = "{job.predict.input}": the module has no such input; '
            f"there are: {', '.join(job.inputs) or 'none'}{meant(job.predict.input, job.inputs)}"
        )
    own = list(job.inputs.values())[position]
    spec, stage = _staged(own, job.wrapper)
    return PicturePort(position, spec, _preprocess(spec, job.dims, job.predict), stage)


def _asked(wrapper: WrapperTable) -> list[str]:
    """The keys of ``[wrapper]`` for pictures whose values are not the defaults."""
    keys = ("scale_input", "channels_last", "input_dtype", "normalize", "mean", "std")
    return [key for key in keys if getattr(wrapper, key) != getattr(WrapperTable(), key)]


def _staged(own: TensorSpec, wrapper: WrapperTable) -> tuple[TensorSpec, PictureInput | None]:
    """The file's input, and the input stage that turns it into the module's ``own``."""
    asked = _asked(wrapper)
    if not asked:
        # uint8 pixels are always in 0..255. For floats the job must say whether white is 1 or 255.
        return (replace(own, range=BYTE) if own.dtype == "uint8" and own.range is None else own), None
    if own.dtype != "float32" or _layout(own) != "NCHW" or own.range != UNIT:
        raise JobError(
            f"wrapper.{asked[0]} with the input {own.name}: {own}; expected what the module takes before "
            'normalisation, "float32[batch, 3, height, width] in 0..1"; the file\'s input follows from '
            "[wrapper]"
        )
    if wrapper.input_dtype == "uint8" and not wrapper.scale_input:
        raise JobError(
            'wrapper.input_dtype = "uint8" needs wrapper.scale_input = true: '
            f"the input {own.name} is in 0..1, which uint8 cannot hold"
        )
    if (wrapper.mean is None) != (wrapper.std is None):
        given, missing = ("std", "mean") if wrapper.mean is None else ("mean", "std")
        raise JobError(f"wrapper.{given} comes without wrapper.{missing}: give both, per channel of 0..1")
    own_mean, own_std = wrapper.normalization()
    mean, std = own_mean or AS_THEY_ARE[0], own_std or AS_THEY_ARE[1]
    stage = PictureInput(mean, std, scale=wrapper.scale_input, channels_last=wrapper.channels_last)
    batch, channels, height, width = own.shape
    shape = (batch, height, width, channels) if wrapper.channels_last else own.shape
    return TensorSpec(own.name, wrapper.input_dtype, shape, BYTE if wrapper.scale_input else UNIT), stage


def _layout(spec: TensorSpec) -> str | None:
    """The order of a picture's axes. If both orders fit, it is "NCHW". Returns None if neither fits."""
    if len(spec.shape) != 4:
        return None
    return "NCHW" if spec.shape[1] == 3 else "NHWC" if spec.shape[3] == 3 else None


def _preprocess(spec: TensorSpec, dims: Mapping[str, Dim], predict: PredictTable) -> Preprocess:
    layout = _layout(spec)
    if layout is None or spec.dtype not in ("float32", "uint8"):
        raise JobError(
            f'predict.input = "{spec.name}": {spec} is not a picture\'s; expected float32 or uint8 '
            "[batch, 3, height, width] or [batch, height, width, 3]"
        )
    if spec.range not in ((BYTE,) if spec.dtype == "uint8" else (UNIT, BYTE)):
        expected = '"in 0..255"' if spec.dtype == "uint8" else '"in 0..1" or "in 0..255"'
        raise JobError(
            f'predict.input = "{spec.name}": {spec}; expected the range of pixels, {expected}, behind the '
            "axes: normalise inside the module, or with wrapper.normalize, or wrapper.mean and wrapper.std"
        )
    batch, *others = spec.shape
    height, width = (
        _dim(axis, side, dims)
        for axis, side in zip(
            others[1:] if layout == "NCHW" else others[:2], ("height", "width"), strict=True
        )
    )
    first = _dim(batch, "batch", dims)
    if first.min != 1:
        raise JobError(
            f'predict.input = "{spec.name}": its first axis is {first.name} = {first}, and predict gives one '
            "picture at a time: let it start at 1"
        )
    fit = predict.fit()
    if height.name == width.name and not height.fixed and fit["resize"] != "stretch":
        raise JobError(
            f'predict.input = "{spec.name}": {spec} is square, and resize = "{fit["resize"]}" keeps a '
            'picture\'s aspect: set predict.resize = "stretch", or give height and width names of their own'
        )
    return Preprocess(
        input=spec.name,
        layout="NCHW" if layout == "NCHW" else "NHWC",
        dtype="uint8" if spec.dtype == "uint8" else "float32",
        divide_by=255 if spec.range == UNIT else 1,
        height=height,
        width=width,
        **fit,
    )


def _dim(axis: int | str, side: str, dims: Mapping[str, Dim]) -> Dim:
    if isinstance(axis, int):
        return Dim(side, axis, axis)
    if axis not in dims:
        raise JobError(f'the axis {axis} has no size: add {axis} = "1..8", say, to [dims]')
    return dims[axis]
