"""From an image processor to the file's input: how the host fits pictures, and what the graph does.

The host resizes, crops and pads. The graph scales and normalises. What an image processor does besides, and
``contract.Preprocess`` has no key for, is refused by name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import transformers

from onnxproof.errors import CheckpointError
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.wrappers.family import dims_of
from onnxproof.wrappers.huggingface.opened import PROCESSOR_FILE, Opened, offline
from onnxproof.wrappers.input import PictureInput, picture_preprocess, picture_spec
from onnxproof.wrappers.picture_port import UNIT, PicturePort

PIXELS = "pixel_values"
"""The name of the input that takes pictures, as transformers has it."""

BATCH, HEIGHT, WIDTH = "batch", "height", "width"
"""The names of that input's axes."""

COLORS = 3
WHITE = 255

LEAST_SIDE = 64
"""px. The shortest side of a picture that a network with free sizes is exported for, unless the job says it.
Most networks halve the sides five times."""

MOST_ASPECT = 4
"""How much longer than the short side the long one may be where the processor does not limit it."""

NEAREST_ASPECT = 2
"""The same for a processor that brings one side, whichever is nearer, to its size."""

MOST_KEPT = 1280
"""px. The longest side that a network is exported for whose processor keeps a picture's size, unless the job
says it."""

FILTERS: Mapping[int, str] = MappingProxyType({1: "lanczos", 2: "bilinear", 3: "bicubic"})
"""Pillow's numbers of the filters, which the files hold."""

Fit = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fitting:
    """What an image processor does.

    ``fit`` are the keys of ``Preprocess`` that it needs. ``height`` and ``width`` are the input's sizes.
    ``mean`` and ``std`` are per channel of pixels in [0, 1].
    """

    fit: Mapping[str, Any]
    height: Dim
    width: Dim
    mean: tuple[float, ...]
    std: tuple[float, ...]


def picture_port(
    opened: Opened, more: Mapping[str, Dim] = MappingProxyType({})
) -> tuple[PicturePort, TensorSpec, tuple[Dim, ...]]:
    """The file's input for pictures, the network's own input behind its input stage, and the dims.

    ``more`` are the dims of other inputs. The job's ``[wrapper]``, ``[predict]`` and ``[dims]`` replace what
    the image processor says.
    """
    job, fitting = opened.job, fitting_of(opened)
    pictures = {BATCH: Dim(BATCH, 1, 8), HEIGHT: fitting.height, WIDTH: fitting.width}
    dims = dims_of(job, {**pictures, **more})
    batch, height, width = dims[:3]
    mean, std = job.wrapper.normalization()
    stage = PictureInput(
        mean or fitting.mean,
        std or fitting.std,
        scale=job.wrapper.scale_input,
        channels_last=job.wrapper.channels_last,
        stated=PROCESSOR_FILE,
    )
    spec = replace(picture_spec(job, batch, height, width), name=PIXELS)
    preprocess = replace(picture_preprocess(job, height, width, **fitting.fit), input=PIXELS)
    own = TensorSpec(PIXELS, "float32", (BATCH, COLORS, HEIGHT, WIDTH), UNIT)
    return PicturePort(0, spec, preprocess, stage), own, dims


def picture_dims(opened: Opened) -> tuple[Dim, ...]:
    """The dims of a network that takes a picture alone."""
    return picture_port(opened)[2]


def fitting_of(opened: Opened) -> Fitting:
    """What the folder's image processor does. Raises CheckpointError if it cannot be expressed."""
    return read_processor(processor_of(opened), str(opened.folder / PROCESSOR_FILE))


def processor_of(opened: Opened) -> Any:
    """The folder's image processor. Raises CheckpointError if there is none that transformers reads."""
    file = opened.folder / PROCESSOR_FILE
    if not file.is_file():
        raise CheckpointError(
            f"{file} does not exist: it says how pictures are resized and normalised; save the image "
            f"processor "
            "beside the model, with its save_pretrained"
        )
    reader: Any = transformers.AutoImageProcessor
    try:
        with offline():
            return reader.from_pretrained(opened.folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        # Every processor has code of its own, which raises errors of many types.
        raise CheckpointError(f"{file} is no image processor that transformers reads: {error}") from error


def read_processor(processor: Any, where: str) -> Fitting:
    """What an image processor does. ``where`` is its file, for messages.

    Raises CheckpointError, which names the setting, if ``contract.Preprocess`` has no key for it.
    """
    called = type(processor).__name__.removesuffix("Fast").removesuffix("Pil")
    special = _OF_THEIR_OWN.get(called)
    if special is None and _has_own_code(processor):
        raise CheckpointError(
            f"{where}: {called} resizes pictures by code of its own, which is not known here: give the "
            f"arrays "
            "that it makes to a file of the family module"
        )
    refuse = _Refusal(where, called)
    if not processor.do_resize:
        raise refuse("do_resize", False, "pictures of one size")
    fit, height, width = (special or _fit)(processor, refuse)
    chosen = FILTERS.get(int(processor.resample))
    if chosen is None:
        raise refuse("resample", int(processor.resample), "1 (Lanczos), 2 (bilinear) or 3 (bicubic)")
    fit["filter"] = f"{'pillow' if processor.backend == 'pil' else 'torch'}-{chosen}"
    if getattr(processor, "do_flip_channel_order", False):
        fit["channels"] = "bgr"
    mean, std = _normalisation(processor)
    return Fitting(fit, height, width, mean, std)


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Makes the error for a setting that cannot be expressed."""

    where: str
    called: str

    def __call__(self, key: str, value: Any, expected: str) -> CheckpointError:
        return CheckpointError(
            f"{self.where}: {self.called} has {key} = {value}, which the runtime does not do; expected "
            f"{expected}"
        )


def _has_own_code(processor: Any) -> bool:
    """Whether a processor's class replaces what transformers' common classes do with pictures."""
    common = ("_preprocess", "resize", "center_crop", "rescale", "normalize", "pad")
    return any(
        name in vars(kind)
        for kind in type(processor).__mro__
        if ".models." in kind.__module__
        for name in common
    )


def _normalisation(processor: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of pixels in [0, 1] that do what the processor does to those in 0..255:

    y = (factor x - offset - mean) / std
    """
    factor = WHITE * (processor.rescale_factor if processor.do_rescale else 1.0)
    offset = 1.0 if processor.do_rescale and getattr(processor, "rescale_offset", False) else 0.0
    mean, std = (0.0,) * COLORS, (1.0,) * COLORS
    if processor.do_normalize:
        mean, std = _channels(processor.image_mean), _channels(processor.image_std)
    if getattr(processor, "include_top", False):
        # EfficientNet's divides by the deviation once more.
        std = tuple(one * again for one, again in zip(std, _channels(processor.image_std), strict=True))
    return tuple((one + offset) / factor for one in mean), tuple(one / factor for one in std)


def _channels(values: Any) -> tuple[float, ...]:
    return (float(values),) * COLORS if isinstance(values, int | float) else tuple(map(float, values))


def _fit(processor: Any, refuse: _Refusal) -> tuple[Fit, Dim, Dim]:
    """The common processor: a resize, then perhaps a crop of the centre."""
    size = processor.size
    crop = processor.crop_size if processor.do_center_crop else None
    if getattr(processor, "do_pad", False) and getattr(processor, "pad_size", None):
        raise refuse("pad_size", dict(processor.pad_size), "none")
    if size.height and size.width:
        return _stretched(size, crop, refuse)
    if not size.shortest_edge:
        raise refuse("size", _plain(size), "height and width, or shortest_edge")
    if crop is not None and not size.longest_edge:
        if max(crop.height, crop.width) > size.shortest_edge:
            raise refuse("crop_size", _plain(crop), f"at most shortest_edge, {size.shortest_edge}")
        return {"resize": "crop", "size": size.shortest_edge}, *_fixed(crop.height, crop.width)
    if crop is not None:
        raise refuse("crop_size", _plain(crop), "none beside longest_edge")
    return _short_side(size.shortest_edge, size.longest_edge)


def _stretched(size: Any, crop: Any, refuse: _Refusal) -> tuple[Fit, Dim, Dim]:
    if crop is None or (crop.height, crop.width) == (size.height, size.width):
        return {"resize": "stretch", "size": size.height}, *_fixed(size.height, size.width)
    if size.height != size.width:
        raise refuse("size", _plain(size), "a square, if it is cropped")
    if max(crop.height, crop.width) > size.height:
        raise refuse(
            "crop_size", _plain(crop), f"at most the size that pictures are resized to, {size.height}"
        )
    return {"resize": "stretch-crop", "size": size.height}, *_fixed(crop.height, crop.width)


def _short_side(
    shortest: int, longest: int | None, step: int = 1, step_rounding: str = "nearest"
) -> tuple[Fit, Dim, Dim]:
    limit = longest or MOST_ASPECT * shortest
    fit = {"resize": "short-side", "size": shortest, "longest": limit}
    if step > 1:
        fit |= {"step": step, "step_rounding": step_rounding}
    least = -(-min(LEAST_SIDE, shortest) // step) * step
    most = limit // step * step if step_rounding == "down" else -(-limit // step) * step
    return fit, Dim(HEIGHT, least, most, step), Dim(WIDTH, least, most, step)


def _in_steps_of(key: int | str, step_rounding: str) -> Callable[[Any, _Refusal], tuple[Fit, Dim, Dim]]:
    """Reads a processor that rounds its sides to multiples: of a number, or of what a setting of that name
    says."""

    def read(processor: Any, refuse: _Refusal) -> tuple[Fit, Dim, Dim]:
        step = key if isinstance(key, int) else getattr(processor, key) or 1
        size = processor.size
        if not (size.shortest_edge and size.longest_edge):
            fit, height, width = _fit(processor, refuse)
            wrong = [side for side in (height.max, width.max) if side % step]
            if wrong and step_rounding == "up":
                raise refuse("size", _plain(size), f"multiples of {step}")
            return fit, height, width
        return _short_side(size.shortest_edge, size.longest_edge, step, step_rounding)

    return read


def _convnext(processor: Any, refuse: _Refusal) -> tuple[Fit, Dim, Dim]:
    """A crop of the share ``crop_pct`` from the centre, or from 384 px on the whole picture, stretched."""
    size = processor.size.shortest_edge
    if not size:
        raise refuse("size", _plain(processor.size), "shortest_edge")
    if size >= 384:
        return {"resize": "stretch", "size": size}, *_fixed(size, size)
    return {"resize": "crop", "size": int(size / processor.crop_pct)}, *_fixed(size, size)


def _levit(processor: Any, refuse: _Refusal) -> tuple[Fit, Dim, Dim]:
    """A crop, of a picture whose short side is 256/224 of the size that the file states."""
    fit, height, width = _fit(processor, refuse)
    if fit["resize"] == "crop":
        fit["size"] = int((256 / 224) * fit["size"])
    return fit, height, width


def _dpt(processor: Any, refuse: _Refusal) -> tuple[Fit, Dim, Dim]:
    """Sides rounded to the nearest multiple of a patch."""
    if processor.do_pad:
        raise refuse("do_pad", True, "false")
    size, step = processor.size, processor.ensure_multiple_of or 1
    if processor.keep_aspect_ratio:
        if size.height != size.width:
            raise refuse("size", _plain(size), "a square, if keep_aspect_ratio is true")
        least = -(-min(LEAST_SIDE, size.height) // step) * step
        most = round(NEAREST_ASPECT * size.height / step) * step
        fit = {"resize": "nearest-side", "size": size.height, "step": step}
        return fit, Dim(HEIGHT, least, most, step), Dim(WIDTH, least, most, step)
    height, width = (round(side / step) * step for side in (size.height, size.width))
    return {"resize": "stretch", "size": height}, *_fixed(height, width)


def _glpn(processor: Any, _: _Refusal) -> tuple[Fit, Dim, Dim]:
    """A picture's own sides, down to the next multiple."""
    step = int(processor.size_divisor)
    least, most = -(-LEAST_SIDE // step) * step, max(MOST_KEPT // step, 1) * step
    fit = {"resize": "keep", "size": most, "step": step, "step_rounding": "down"}
    return fit, Dim(HEIGHT, least, most, step), Dim(WIDTH, least, most, step)


def _fixed(height: int, width: int) -> tuple[Dim, Dim]:
    return Dim(HEIGHT, height, height), Dim(WIDTH, width, width)


def _plain(size: Any) -> dict[str, int]:
    return {key: size[key] for key in ("height", "width", "shortest_edge", "longest_edge") if size[key]}


_OF_THEIR_OWN: Mapping[str, Callable[[Any, _Refusal], tuple[Fit, Dim, Dim]]] = MappingProxyType(
    {
        "BeitImageProcessor": _fit,
        "ConvNextImageProcessor": _convnext,
        "DetrImageProcessor": _fit,
        "ConditionalDetrImageProcessor": _fit,
        "DeformableDetrImageProcessor": _fit,
        "DPTImageProcessor": _dpt,
        "EfficientNetImageProcessor": _fit,
        "GLPNImageProcessor": _glpn,
        "LevitImageProcessor": _levit,
        "Mask2FormerImageProcessor": _in_steps_of("size_divisor", "up"),
        "MaskFormerImageProcessor": _in_steps_of("size_divisor", "up"),
        "MobileViTImageProcessor": _fit,
        "RTDetrImageProcessor": _fit,
        "SegformerImageProcessor": _fit,
        "YolosImageProcessor": _in_steps_of(16, "down"),
    }
)
"""The processors with code of their own whose settings are known, and how each is read."""
