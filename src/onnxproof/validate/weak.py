"""Tell of outputs that hardly move from input to input: errors that depend on the input show little there."""

import math
from collections.abc import Iterator, Sequence

from onnxproof.tensors import TensorSpec
from onnxproof.validate.facts import Facts

HARDLY = 1e-2
"""A field that moves by at most this share of its largest value from input to input is weak evidence."""


def weak_witnesses(facts: Facts, inputs: Sequence[TensorSpec]) -> tuple[str, ...]:
    """Notes that name the fields that hardly move from input to input, and the labels that are all alike;
    empty if all move.

    ``inputs`` are the model's: where each may have one value alone, nothing can move.
    """
    return (*_hardly_moved(facts, inputs), *_alike(facts))


def _alike(facts: Facts) -> Iterator[str]:
    for label in facts.labels:
        if label.only is not None and label.count > 1:
            what = "class" if label.kind == "class" else "the number"
            yield (
                f"weak evidence: {label.name} was {what} {label.only} in all {label.count} places that were "
                "compared; what would change it on other inputs shows nothing"
            )


def _hardly_moved(facts: Facts, inputs: Sequence[TensorSpec]) -> tuple[str, ...]:
    shares = {
        one.name: one.varied / max(one.scale_max, math.ulp(0.0))
        for one in facts.fields
        if one.varied is not None
    }
    weak = {name: share for name, share in shares.items() if share <= HARDLY}
    if not weak:
        return ()
    most = max(weak.values())
    moved = f"{', '.join(weak)} moved by at most {most:.1g} of the largest value from input to input"
    if inputs and all(one.range is not None and one.range[0] == one.range[1] for one in inputs):
        declared = ", ".join(f"{one.name}: {one}" for one in inputs)
        return (
            f"weak evidence: {moved}, since the inputs are declared to have one value alone ({declared}): "
            "declare the range of the values that they take",
        )
    return (
        f"weak evidence: {moved}, as outputs of an untrained model do; errors that depend on the input show "
        "little",
    )
