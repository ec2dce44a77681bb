"""How a file from elsewhere is given the inputs of a checkpoint's model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxproof.errors import RequestError
from onnxproof.runtime.port import Port
from onnxproof.validate.cases import Case, materialise
from onnxproof.validate.likeness import Arrays
from onnxproof.validate.views import Normalization, Placed, View, in_bytes, placed, views
from onnxproof.wrappers.family import WrappedModel


@dataclass(frozen=True, slots=True)
class Feeding:
    """The file's input for each of the model's, by the model's names.

    ``picture`` is the input that takes pictures, empty if none does, and ``place`` where the file has its
    axes. Both say nothing of how the file takes pictures if the user does (``fixed``): then ``place`` is None
    and there is one way to feed it. ``own`` is the normalisation that the network was trained with, if it is
    known.
    """

    inputs: Mapping[str, Port]
    picture: str
    place: Placed | None
    own: Normalization | None
    fixed: bool

    @classmethod
    def of(
        cls,
        file: Path,
        inputs: Mapping[str, Port],
        model: WrappedModel,
        own: Normalization | None,
        *,
        fixed: bool,
    ) -> "Feeding":
        """Raises RequestError if the file's input for pictures cannot take any."""
        preprocess = model.contract.preprocess
        if preprocess is None:
            return cls(inputs, "", None, own, fixed)
        port = inputs[preprocess.input]
        place = placed(port)
        if place is None or port.dtype not in ("float32", "float16", "uint8"):
            raise RequestError(
                f"{file}: the input {port.name} is {port}; expected pictures, floats or uint8 of 3 or "
                "4 axes: is it this checkpoint's file?"
            )
        return cls(inputs, preprocess.input, None if fixed else place, own, fixed)

    @property
    def views(self) -> Sequence[View | None]:
        """The ways in which the file may take pictures."""
        return views(self.inputs[self.picture].dtype, self.own) if self._tries_views else (None,)

    @property
    def _tries_views(self) -> bool:
        return self.picture != "" and not self.fixed

    def arrays(self, model: WrappedModel, cases: Sequence[Case]) -> list[Arrays]:
        """The cases' inputs. A picture for uint8 has only the values that uint8 has."""
        arrays: list[Arrays] = [
            materialise(case, model.contract.inputs, model.contract.preprocess) for case in cases
        ]
        if self._tries_views and self.inputs[self.picture].dtype == "uint8":
            arrays = [{**one, self.picture: in_bytes(one[self.picture])} for one in arrays]
        return arrays

    def fed(self, arrays: Arrays, view: View | None) -> Arrays:
        """The file's inputs: the model's, with the picture as the view says."""
        fed: dict[str, Any] = {}
        for name, array in arrays.items():
            port = self.inputs[name]
            if name == self.picture and view is not None and self.place is not None:
                laid = self.place.lay(view.feed(array))
                fed[port.name] = (np.rint(laid) if port.dtype == "uint8" else laid).astype(port.dtype)
            elif name == self.picture and self.place is not None and self.place.unbatched:
                fed[port.name] = array[0]
            else:
                fed[port.name] = array
        return fed

    def meant(self, arrays: Arrays, view: View | None) -> Arrays:
        """The model's inputs for what the file is fed."""
        if view is None:
            return arrays
        return {name: view.inner(one) if name == self.picture else one for name, one in arrays.items()}

    def sizes(self, file: Path, model: WrappedModel) -> Mapping[str, int]:
        """The sizes that the file fixes, by the names of dims. Raises RequestError if an input has another
        number of axes than the model's."""
        found: dict[str, int] = {}
        for spec in model.contract.inputs:
            port = self.inputs[spec.name]
            order = self.place.order if self.place is not None and spec.name == self.picture else None
            axes = range(len(spec.shape)) if order is None else order
            if len(port.shape) != len(axes):
                raise RequestError(
                    f"{file}: the input {port.name} is {port}; the checkpoint's {spec.name} is {spec}"
                )
            for axis, size in zip(axes, port.shape, strict=True):
                named = spec.shape[axis]
                if isinstance(named, str) and isinstance(size, int):
                    found[named] = size
            if order is not None and 0 not in order and isinstance(spec.shape[0], str):
                found[spec.shape[0]] = 1
        return found
