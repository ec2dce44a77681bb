"""``wrapper.resize = "in-graph"``: puts the fitting of pictures into the graph of any wrapped model."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from onnxproof.contract import LAYOUTS, Contract, Preprocess
from onnxproof.errors import JobError
from onnxproof.job import Job
from onnxproof.runtime.readings.boxes import PackedBoxes, SplitBoxes
from onnxproof.runtime.readings.carried import CarriedReading
from onnxproof.runtime.readings.oriented import OrientedNms
from onnxproof.runtime.readings.rows import MaskReading, RowReading
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.wrappers.family import Outputs, WrappedModel
from onnxproof.wrappers.laying import CROPS, INTERPOLATIONS, laid, placement

IN_GRAPH = "in-graph"

PICTURE_DIMS: Mapping[str, Dim] = {name: Dim(name, 32, 2048) for name in ("picture_height", "picture_width")}
"""The pictures' own sizes, px, if the job does not declare them. They are what the file is proved for."""

Layout: TypeAlias = Literal["NCHW", "NHWC"]

RESIZES = ("crop", "letterbox", "short-side", "stretch", "stretch-crop")
"""The values of ``predict.resize`` that the graph can state: the network sees one size."""


def build_with_resize(job: Job, build: Callable[[Job], WrappedModel]) -> WrappedModel:
    """What ``build`` makes of a job; with ``wrapper.resize = "in-graph"``, the graph fits pictures itself.

    Raises JobError if the graph cannot do that.
    """
    if job.wrapper.resize != IN_GRAPH:
        return build(job)
    own = {name: dim for name, dim in job.dims.items() if name not in PICTURE_DIMS}
    model = build(job.model_copy(update={"dims": own}))
    spec = _required(model.contract)
    height, width = (job.dims.get(name, dim) for name, dim in PICTURE_DIMS.items())
    seen = replace(spec, layout="NCHW", dtype="float32", divide_by=1)
    in_picture = _reads_pixels(model.contract)
    layout: Layout = "NHWC" if job.wrapper.channels_last else "NCHW"
    contract = _contract(model.contract, spec, layout, height, width, in_picture=in_picture)
    position = [entry.name for entry in model.contract.inputs].index(spec.input)
    kind = _WithMargins if hasattr(model.module, "forward_with_margins") else _InGraph
    names = [entry.name for entry in contract.outputs]
    module = kind(model.module, position, layout, spec, _text(seen), names, contract if in_picture else None)
    return replace(model, module=module.eval(), contract=contract)


def _required(contract: Contract) -> Preprocess:
    """How pictures are fitted. Raises JobError if the graph cannot do it."""
    spec, asked = contract.preprocess, 'wrapper.resize = "in-graph"'
    if spec is None:
        raise JobError(f"{asked}: no input of the model takes pictures; name it in predict.input")
    if isinstance(contract.reading, RowReading) and contract.reading.batch is None:
        raise JobError(
            f"{asked}: this detector resizes pictures in its graph already; leave the key out, and declare "
            "the sizes of the pictures as dims.height and dims.width"
        )
    if spec.resize not in RESIZES:
        raise JobError(
            f'{asked} with predict.resize = "{spec.resize}"; the graph can do: {", ".join(RESIZES)}'
        )
    if spec.filter not in INTERPOLATIONS:
        raise JobError(
            f'{asked} with predict.filter = "{spec.filter}", which ONNX\'s Resize does not have; there are: '
            f"{', '.join(INTERPOLATIONS)}"
        )
    for dim in (spec.height, spec.width):
        if not dim.fixed:
            raise JobError(
                f'{asked}: the network sees pictures of one size, got dims.{dim.name} = "{dim}"; write '
                f"dims.{dim.name} = {dim.floor(spec.size)}, say"
            )
    sides = spec.height.min, spec.width.min
    if spec.resize in CROPS and spec.size < max(sides):
        raise JobError(
            f"{asked}: predict.size = {spec.size} is the short side before the crop to "
            f"{spec.width.min}x{spec.height.min}: make it as long as the longer side of the two, or more"
        )
    if spec.resize == "short-side" and (spec.size > min(sides) or any(side % spec.step for side in sides)):
        steps = f" in steps of {spec.step}" if spec.step > 1 else ""
        raise JobError(
            f"{asked}: predict.size = {spec.size} is the short side of every picture{steps}, and the network "
            f"sees {spec.width.min}x{spec.height.min}, which does not hold each of them: make predict.size "
            f"{min(sides) // spec.step * spec.step}, or dims.height and dims.width larger"
        )
    return spec


def _contract(
    model: Contract, spec: Preprocess, layout: Layout, height: Dim, width: Dim, *, in_picture: bool
) -> Contract:
    sides = (height.name, width.name)

    def taken(entry: TensorSpec) -> TensorSpec:
        if entry.name != spec.input:
            return entry
        axes = (3, *sides) if layout == "NCHW" else (*sides, 3)
        return TensorSpec(entry.name, "uint8", (entry.shape[0], *axes), (0.0, 255.0))

    return replace(
        model,
        inputs=tuple(taken(entry) for entry in model.inputs),
        dims=(*model.dims, height, width),
        preprocess=replace(
            spec,
            layout=layout,
            dtype="uint8",
            divide_by=1,
            channels="rgb",
            height=height,
            width=width,
            network=(spec.height.min, spec.width.min),
            boxes="picture" if in_picture else "input",
        ),
    )


def _reads_pixels(contract: Contract) -> bool:
    """Whether the file returns boxes in pixels, and nothing else that is laid out in the network's pixels."""
    reading = contract.reading
    boxes = isinstance(reading, SplitBoxes | PackedBoxes | RowReading)
    return boxes and not isinstance(reading, MaskReading | CarriedReading | OrientedNms)


def _text(spec: Preprocess) -> str:
    return json.dumps(spec.to_json())


class _InGraph(nn.Module):
    """A wrapped model behind the fitting of its pictures. ``contract`` is that of its boxes, or None."""

    def __init__(
        self,
        module: nn.Module,
        position: int,
        layout: Layout,
        spec: Preprocess,
        text: str,
        names: list[str],
        contract: Contract | None,
    ) -> None:
        super().__init__()
        self.module = module
        self.position, self.text, self.names = position, text, names
        self.pictures_last = LAYOUTS[layout][0] == 3
        self.channels_last = LAYOUTS[spec.layout][0] == 3
        self.reversed = spec.channels == "bgr"
        self.divide_by = spec.divide_by
        self.reading = None if contract is None else contract.reading

    def forward(self, *inputs: Tensor) -> Outputs:
        """The model's outputs, its boxes in the pictures' own pixels."""
        pictures = self._pictures(inputs)
        outputs = self.module(*self._fitted(pictures, inputs))
        return self._back(pictures, outputs if isinstance(outputs, tuple) else (outputs,))

    def _pictures(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """The pictures as float [b, 3, H, W]."""
        pictures = inputs[self.position].to(torch.float32)
        return pictures.permute(0, 3, 1, 2) if self.pictures_last else pictures

    def _fitted(self, pictures: Tensor, inputs: tuple[Tensor, ...]) -> list[Tensor]:
        """The model's own inputs."""
        x = laid(pictures, self.text)
        if self.reversed:
            x = x.flip(1)
        if self.divide_by != 1:
            x = x / self.divide_by
        if self.channels_last:
            x = x.permute(0, 2, 3, 1)
        return [x if at == self.position else given for at, given in enumerate(inputs)]

    def _back(self, pictures: Tensor, outputs: Outputs) -> Outputs:
        if self.reading is None:
            return outputs
        boxes = self.names.index(self.reading.outputs[0])
        return tuple(
            self._restored(pictures, output) if at == boxes else output for at, output in enumerate(outputs)
        )

    def _restored(self, pictures: Tensor, boxes: Tensor) -> Tensor:
        """Boxes [..., 4] (x0, y0, x1, y1), or packed ones [..., 6], in the pictures' own pixels."""
        placed = placement(pictures, self.text)
        scale, offset = placed[:2], placed[2:]
        near, far, more = boxes[..., :2], boxes[..., 2:4], boxes[..., 4:]
        near = (near - offset) / scale
        # The second pair of a packed box is its size, which no offset moves.
        far = far / scale if isinstance(self.reading, PackedBoxes) else (far - offset) / scale
        return torch.cat((near, far, more) if boxes.shape[-1] > 4 else (near, far), dim=-1)


class _WithMargins(_InGraph):
    """The same for a module that tells margins."""

    def forward_with_margins(self, *inputs: Tensor) -> tuple[Outputs, Mapping[str, Tensor]]:
        """Return what ``forward`` returns, and the model's margins, boxes in the pictures' own pixels."""
        pictures = self._pictures(inputs)
        told: Callable[..., tuple[Outputs, Mapping[str, Tensor]]] = self.module.forward_with_margins  # type: ignore[assignment]
        outputs, margins = told(*self._fitted(pictures, inputs))
        if self.reading is not None and "candidate_boxes" in margins:
            moved = self._restored(pictures, margins["candidate_boxes"])
            margins = {**margins, "candidate_boxes": moved}
        return self._back(pictures, outputs), margins
