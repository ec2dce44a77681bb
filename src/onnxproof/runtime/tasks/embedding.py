"""Embeddings: a vector for each input, and which other vectors are nearest to it.

Two layouts:

- ``Vectors``: one output [b, D]. Each row's neighbours are the other rows of the batch, by cosine similarity.
- ``Pairs``: one output of logits [n, m], such as CLIP's for n pictures and m texts, and perhaps the vectors
that they come from. Each row's neighbours are the columns, by their logits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnxproof.contract import ClassInfo
from onnxproof.document import Entry
from onnxproof.runtime.drawing import draw_captions
from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.readings.adjustable import Adjustable, Array, output_names, require_form
from onnxproof.runtime.readings.scores import sigmoid
from onnxproof.runtime.tasks.classification import softmax
from onnxproof.runtime.tasks.task import as_float, class_color
from onnxproof.tensors import TensorSpec

Activation = Literal["softmax", "sigmoid"]
ACTIVATIONS = ("softmax", "sigmoid")

SHOWN = 8
"""How many numbers of a vector are printed in a line."""


@dataclass(frozen=True, slots=True)
class Vectors(Adjustable):
    """One output of vectors [b, D]."""

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        require_form(outputs[self.outputs[0]], "float", None, None)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"decode": "vectors", "outputs": list(self.outputs)}


@dataclass(frozen=True, slots=True)
class Pairs(Adjustable):
    """Logits [n, m], then perhaps the vectors of the n rows, [n, D].

    ``activation`` makes probabilities of a row's logits: "softmax" over the row, as CLIP's, or "sigmoid" of
    each, as SigLIP's.
    """

    activation: Activation

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        for name in self.outputs:
            require_form(outputs[name], "float", None, None)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"decode": "pairs", "outputs": list(self.outputs), "activation": self.activation}


@dataclass(frozen=True, slots=True)
class Nearness:
    """How near one row is to each of its neighbours.

    ``similarity`` float [k] are cosines, or logits. ``numbers`` int64 [k] are the neighbours' numbers in the
    batch. ``vector`` float [D] is the row's own; None if the file does not return it.
    """

    similarity: Array
    numbers: NDArray[np.int64]
    vector: Array | None


@dataclass(frozen=True, slots=True)
class Neighbours:
    """One row's vector, and its neighbours, the nearest first.

    ``numbers`` int64 [k] are the neighbours' numbers in the batch, ``similarity`` float [k] is theirs, and
    ``probabilities`` float [k] are those of pairs; None for cosines.
    """

    vector: Array | None
    numbers: NDArray[np.int64]
    similarity: Array
    probabilities: Array | None


class _Embedding:
    name = "embedding"
    decides = True
    needs_all = True
    summary = "Embeddings: a vector for each input, and which other vectors are nearest to it."

    def reading(self, entry: Entry) -> Vectors | Pairs:
        keys = entry.table(("decode", "outputs"), ("activation",))
        if keys["decode"].text(("vectors", "pairs")) == "vectors":
            return Vectors(output_names(keys, 1))
        activation: Any = keys.get("activation", Entry(None, f"{entry.key}.activation")).text(ACTIVATIONS)
        return Pairs(output_names(keys, 1, 2), activation)

    def evidence(
        self,
        outputs: Mapping[str, Array],
        sizes: Mapping[str, int],
        reading: Vectors | Pairs,
        margins: Mapping[str, Array],
    ) -> tuple[Nearness, ...]:
        first, *others = (outputs[name] for name in reading.outputs)
        if isinstance(reading, Pairs):
            numbers = np.arange(first.shape[1])
            vectors = others[0] if others else [None] * len(first)
            return tuple(Nearness(row, numbers, one) for row, one in zip(first, vectors, strict=True))
        cosines = cosine_similarity(first)
        found = []
        for at, vector in enumerate(first):
            others_of = np.delete(np.arange(len(first)), at)
            found.append(Nearness(cosines[at, others_of], others_of, vector))
        return tuple(found)

    def decide(self, evidence: Nearness, reading: Vectors | Pairs) -> Neighbours:
        order = nearest_first(evidence.similarity)
        probabilities = None
        if isinstance(reading, Pairs):
            logits = as_float(evidence.similarity)
            probabilities = (softmax(logits) if reading.activation == "softmax" else sigmoid(logits))[order]
        return Neighbours(evidence.vector, evidence.numbers[order], evidence.similarity[order], probabilities)

    def restore(self, decisions: Neighbours, transform: Transform) -> Neighbours:
        return decisions

    def to_json(
        self, decisions: Neighbours, classes: tuple[ClassInfo, ...], width: int | None, height: int | None
    ) -> dict[str, Any]:
        """{"embedding", "neighbours"}: the vector, if the file returns it; and each neighbour's number in the
        batch, its similarity and, of pairs, its probability."""
        vector = {} if decisions.vector is None else {"embedding": decisions.vector.tolist()}
        if decisions.probabilities is None and not len(decisions.numbers):
            return vector
        neighbours = [
            {
                "number": number,
                "similarity": float(decisions.similarity[at]),
                **(
                    {}
                    if decisions.probabilities is None
                    else {"probability": float(decisions.probabilities[at])}
                ),
            }
            for at, number in enumerate(decisions.numbers.tolist())
        ]
        return {**vector, "neighbours": neighbours}

    def lines(self, decisions: Neighbours, classes: tuple[ClassInfo, ...]) -> tuple[str, ...]:
        neighbours = _captions(decisions)
        vector: tuple[str, ...] = ()
        if decisions.vector is not None:
            shown = ", ".join(f"{value:.4g}" for value in decisions.vector[:SHOWN].tolist())
            more = ", …" if len(decisions.vector) > SHOWN else ""
            vector = (f"a vector of {len(decisions.vector)} numbers: {shown}{more}",)
        # What a pair's row is asked for is its texts; of a row alone it is the vector.
        told = (*vector, *neighbours) if decisions.probabilities is None else (*neighbours, *vector)
        return told or ("no neighbours",)

    def draw(
        self, picture: Image.Image, decisions: Neighbours, classes: tuple[ClassInfo, ...]
    ) -> Image.Image:
        """The neighbours as captions, the nearest first."""
        captions = _captions(decisions)[:SHOWN]
        return draw_captions(picture, captions, [class_color(-1, classes)] * len(captions))


TASK = _Embedding()


def cosine_similarity(vectors: Array) -> Array:
    """The cosine of the angle between each two of the vectors [b, D]: float [b, b]. It is NaN for a vector of
    zeros."""
    with np.errstate(divide="ignore", invalid="ignore"):
        units = as_float(vectors) / np.linalg.norm(as_float(vectors), axis=1, keepdims=True)
        cosines: Array = units @ units.T
    return cosines


def nearest_first(similarity: Array) -> NDArray[np.int64]:
    """The order of the neighbours, the nearest first: int64 [k]. Of equally near ones the lower number comes
    first. NaN comes last."""
    return np.argsort(-as_float(similarity), kind="stable").astype(np.int64)


def _captions(decisions: Neighbours) -> tuple[str, ...]:
    lines = []
    for at, number in enumerate(decisions.numbers.tolist()):
        told = f"similarity {float(decisions.similarity[at]):.4g}"
        if decisions.probabilities is not None:
            told = f"{float(decisions.probabilities[at]):.1%}"
        lines.append(f"number {number}: {told}")
    return tuple(lines)
