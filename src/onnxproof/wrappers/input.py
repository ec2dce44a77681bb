"""The input stage of a picture model: the part of the graph between the file's input and the network."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from onnxproof.contract import Preprocess
from onnxproof.errors import CheckpointError, JobError
from onnxproof.job import Job
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.wrappers.family import Checkpoint
from onnxproof.wrappers.folder import NORM_STATS, read_norm_stats

PICTURE = "input"
"""The name of the input that takes pictures."""


class PictureInput(nn.Module):
    """Turns a batch of pictures into the network's input, in this order:

    1. uint8 becomes float.
    2. With ``scale``, pixels in [0, 255] are divided by 255.
    3. With ``channels_last``, [b, H, W, 3] becomes [b, 3, H, W].
    4. Each channel becomes (x - mean) / std.

    The order is that of ``YOLOXInferenceWrapper`` in ``cjm_yolox_pytorch``, so the numbers are the same.
    ``stated`` is what states the normalisation, in words: a file beside the checkpoint, or the network
    itself. It is empty if the job does, or if nothing does. ``check`` fails a file that normalises otherwise
    than is stated.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        scale: bool,
        channels_last: bool,
        stated: str = "",
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))
        self.scale = scale
        self.channels_last = channels_last
        self.stated = stated

    def forward(self, pictures: Tensor) -> Tensor:
        """Turn float or uint8 [b, 3, H, W] or [b, H, W, 3] into float [b, 3, H, W]."""
        x = pictures if pictures.is_floating_point() else pictures.to(self.mean.dtype)
        if self.scale:
            x = x / 255.0
        if self.channels_last:
            x = x.permute(0, 3, 1, 2)
        return (x - self.mean) / self.std


def picture_stage(job: Job, checkpoint: Checkpoint) -> PictureInput:
    """The input stage that the job's ``[wrapper]`` describes.

    Mean and standard deviation are the job's. If the job has none, they are read from the checkpoint's
    folder. Raises CheckpointError if they are in neither.
    """
    wrapper = job.wrapper
    mean, std = wrapper.normalization()
    stated = ""
    if mean is None or std is None:
        stats = read_norm_stats(checkpoint.folder)
        if stats is None:
            raise CheckpointError(
                f"{checkpoint.folder} holds no norm_stats.json: put it there, or give wrapper.normalize "
                '("imagenet", "none", …), or wrapper.mean and wrapper.std, in the job'
            )
        mean, std, stated = mean or stats[0], std or stats[1], NORM_STATS
    return PictureInput(
        mean, std, scale=wrapper.scale_input, channels_last=wrapper.channels_last, stated=stated
    )


def picture_spec(job: Job, batch: Dim, height: Dim, width: Dim) -> TensorSpec:
    """The file's input before ``picture_stage``. Raises JobError if its dtype cannot hold its range."""
    wrapper = job.wrapper
    if wrapper.input_dtype == "uint8" and not wrapper.scale_input:
        raise JobError(
            'wrapper.input_dtype = "uint8" needs wrapper.scale_input = true: '
            "the network expects [0, 1], which uint8 cannot hold"
        )
    layout = (height.name, width.name, 3) if wrapper.channels_last else (3, height.name, width.name)
    top = 255.0 if wrapper.scale_input else 1.0
    return TensorSpec(PICTURE, wrapper.input_dtype, (batch.name, *layout), (0.0, top))


def picture_preprocess(job: Job, height: Dim, width: Dim, **own: Any) -> Preprocess:
    """What the host does to a picture before it feeds the input.

    ``own`` are the keys of ``Preprocess`` that say how the family fits pictures when it trains. What the
    job's ``[predict]`` states goes first.
    """
    return Preprocess(
        input=PICTURE,
        layout="NHWC" if job.wrapper.channels_last else "NCHW",
        dtype=job.wrapper.input_dtype,
        divide_by=1 if job.wrapper.scale_input else 255,
        height=height,
        width=width,
        **job.predict.fit(**own),
    )
