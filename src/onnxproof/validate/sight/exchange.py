"""``predict`` on one picture, with some of its stages taken from the framework."""

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from onnxproof.contract import Contract, Preprocess
from onnxproof.runtime.preprocess import read_picture
from onnxproof.runtime.preprocess.lay import as_input, in_order, lay, transform_of
from onnxproof.runtime.readings.masks import Instances
from onnxproof.runtime.tasks import get_task
from onnxproof.validate.legs.leg import Answer, Leg
from onnxproof.wrappers.own.pipeline import OwnPipeline, Pixels

Stage = Literal["reading", "preprocessing", "graph", "settings", "decoding", "way back"]
STAGES: tuple[Stage, ...] = get_args(Stage)
"""The stages, in order: the file becomes pixels, pixels become the input, the graph runs, settings cut its
outputs, outputs become decisions, decisions return to the picture. "graph" takes PyTorch's network in our
wrapper; "decoding" takes all between the input and the decisions from the framework."""

Stages = frozenset[Stage]


@dataclass(frozen=True, slots=True, eq=False)
class Exchange:
    """One picture, and both pipelines. ``candidate`` runs the file, ``reference`` the wrapped network."""

    picture: Path
    contract: Contract
    candidate: Leg
    reference: Leg
    own: OwnPipeline

    @property
    def spec(self) -> Preprocess:
        """How the file fits pictures."""
        assert self.contract.preprocess is not None
        return self.contract.preprocess

    def run(self, stages: Collection[Stage] = (), spec: Preprocess | None = None) -> Any:
        """The decisions in the picture's pixels if ``stages`` are the framework's.

        ``spec`` replaces the file's preprocessing. Raises whatever the legs and the framework raise.
        """
        own = self.own
        image = own.read(self.picture) if "reading" in stages else read_picture(self.picture)
        spec = own.spec if "preprocessing" in stages else spec or self.spec
        laid = own.lay(image) if "preprocessing" in stages else in_order(lay(image, spec)[0], spec)
        decisions = own.decide(laid) if "decoding" in stages else self._decide(laid, stages)
        if "way back" in stages:
            return own.restore(decisions, laid, image)
        spec = replace(spec, way_back=self.spec.way_back)
        return get_task(self.contract.task).restore(decisions, transform_of(image.size, spec))

    def evidence(self, laid: Pixels, stages: Collection[Stage]) -> Any:
        """What our decisions on an input rest on, by the file or by PyTorch ("graph")."""
        answer, sizes = self._answer(laid, stages)
        task = get_task(self.contract.task)
        return task.evidence(answer.outputs, sizes, self.reading(stages), answer.margins)[0]

    def _decide(self, laid: Pixels, stages: Collection[Stage]) -> Any:
        """Our decisions. If the framework decides masks in the input's pixels, ours are cut there, too."""
        decisions = get_task(self.contract.task).decide(self.evidence(laid, stages), self.reading(stages))
        coarse = self.own.coarse_masks and isinstance(decisions, Instances)
        return decisions.cut() if coarse else decisions

    def reading(self, stages: Collection[Stage]) -> Any:
        """How outputs are read, with the framework's settings if they are among ``stages``."""
        reading = self.contract.reading
        if "settings" not in stages:
            return reading
        known = reading.settings()
        return reading.with_settings(**{k: v for k, v in self.own.settings.items() if k in known})

    def _answer(self, laid: Pixels, stages: Collection[Stage]) -> tuple[Answer, dict[str, int]]:
        spec, (given,) = self.spec, self.contract.inputs
        # A file may take no less than several pictures at once: it gets the same one in each place.
        array = np.repeat(as_input(laid, spec)[None], self._batch, axis=0)
        sizes = {
            axis: size for axis, size in zip(given.shape, array.shape, strict=True) if isinstance(axis, str)
        }
        sizes |= {spec.height.name: laid.shape[0], spec.width.name: laid.shape[1]}
        leg = self.reference if "graph" in stages else self.candidate
        return leg.run({given.name: np.ascontiguousarray(array)}), sizes

    @property
    def _batch(self) -> int:
        """The fewest pictures that the file takes at once."""
        axis = self.contract.inputs[0].shape[0]
        if isinstance(axis, int):
            return axis
        return next((dim.min for dim in self.contract.dims if dim.name == axis), 1)


def blamed(differs: Callable[[Stages], bool]) -> Stages | None:
    """The fewest stages whose exchange removes a difference: one if possible, else the first of several.

    ``differs`` says whether the difference is still there with some stages exchanged. Returns None if it is
    there with all of them.
    """
    for stage in STAGES:
        if not differs(frozenset({stage})):
            return frozenset({stage})
    for count in range(2, len(STAGES) + 1):
        together = set(STAGES[:count])
        if differs(frozenset(together)):
            continue
        for stage in STAGES[:count]:
            if not differs(frozenset(together - {stage})):
                together.discard(stage)
        return frozenset(together)
    return None


FIT = (
    "resize",
    "size",
    "longest",
    "filter",
    "channels",
    "enlarge",
    "rounding",
    "place",
    "half",
    "padding",
    "pad_to",
    "height",
    "width",
)
"""The keys of ``Preprocess`` that say which pixels the network sees."""


def blamed_keys(exchange: Exchange, differs: Callable[[Preprocess], bool]) -> tuple[str, ...]:
    """The keys of the file's preprocessing that make a difference: one if it suffices, else all that differ
    from the framework's.

    ``differs`` says whether the difference is there under a preprocessing.
    """
    spec, own = exchange.spec, exchange.own.spec
    different = tuple(key for key in FIT if getattr(spec, key) != getattr(own, key))
    for key in different:
        with suppress(Exception):  # one key of the framework's may not go with the others
            if not differs(replace(spec, **{key: getattr(own, key)})):
                return (key,)
    return different


def pixels_apart(one: Image.Image | Pixels, other: Image.Image | Pixels) -> int | None:
    """The largest difference of two pictures' values; None if their sizes differ."""
    first, second = (np.asarray(picture).astype(np.int16) for picture in (one, other))
    if first.shape != second.shape:
        return None
    return int(np.abs(first - second).max(initial=0))
