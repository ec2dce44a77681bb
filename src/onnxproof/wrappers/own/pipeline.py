"""A framework's own pipeline, whole and stage by stage.

A family that knows how its framework answers a picture gives ``WrappedModel.own``. The link ``pipeline``
then compares the decisions of ``onnxproof predict`` with the framework's (validate/sight/). Each stage can
take the place of ours, so that a difference is traced to the stage that makes it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnxproof.contract import Preprocess
from onnxproof.runtime.preprocess import read_picture
from onnxproof.runtime.preprocess.lay import transform_of
from onnxproof.runtime.tasks import get_task

Pixels: TypeAlias = NDArray[np.uint8]
"""What the network sees, before scaling and normalisation: [height, width, 3], its channels in the network's
order."""


class OwnPipeline(Protocol):
    """A framework's way from a picture to decisions.

    Decisions are values of the task, as its ``decide`` returns them. What a job states is asked of the
    framework as far as the framework can be asked for it, such as a threshold; the rest is the framework's.
    """

    @property
    def name(self) -> str:
        """What it is, in words that follow "as": "torchvision's transforms and resnet18"."""

    @property
    def spec(self) -> Preprocess:
        """How the framework fits pictures. Causes are worded by what differs from the file's own."""

    @property
    def settings(self) -> Mapping[str, float]:
        """The settings of the framework's decisions, by the names of the file's reading."""

    @property
    def coarse_masks(self) -> bool:
        """Whether it decides masks in the input's pixels, so that their edges are that coarse in the
        picture."""

    def predict(self, picture: Path) -> Any:
        """The decisions of the framework, called as its users call it, in the picture's pixels."""

    def read(self, picture: Path) -> Image.Image:
        """The picture's pixels as the framework reads them: RGB."""

    def lay(self, picture: Image.Image) -> Pixels:
        """The picture as the framework gives it to the network."""

    def decide(self, laid: Pixels) -> Any:
        """The framework's decisions on such an array, in the array's pixels."""

    def restore(self, decisions: Any, laid: Pixels, picture: Image.Image) -> Any:
        """The decisions in the picture's pixels."""


Own: TypeAlias = Callable[[], OwnPipeline] | str
"""What makes the pipeline when it is needed, or why there is none."""

NONE: Own = "the family offers no pipeline of its framework"


class Staged:
    """A pipeline that is the sequence of its stages.

    Pictures are read, and decisions restored, as ``predict`` does it. A family's class adds ``name``,
    ``settings``, ``lay`` and ``decide``.
    """

    coarse_masks = False

    def __init__(self, task: str, spec: Preprocess) -> None:
        self.task = get_task(task)
        self.spec = spec

    def predict(self, picture: Path) -> Any:
        """See ``OwnPipeline``."""
        image = self.read(picture)
        laid = self.lay(image)
        return self.restore(self.decide(laid), laid, image)

    def read(self, picture: Path) -> Image.Image:
        """See ``OwnPipeline``."""
        return read_picture(picture)

    def lay(self, picture: Image.Image) -> Pixels:
        """See ``OwnPipeline``."""
        raise NotImplementedError

    def decide(self, laid: Pixels) -> Any:
        """See ``OwnPipeline``."""
        raise NotImplementedError

    def restore(self, decisions: Any, laid: Pixels, picture: Image.Image) -> Any:  # noqa: ARG002
        """See ``OwnPipeline``."""
        return self.task.restore(decisions, transform_of(picture.size, self.spec))
