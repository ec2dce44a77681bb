"""Which golden cases a model was verified on, as its metadata tells: fewer or others are not its own.

Their answers are left out: they are PyTorch's float32, which differs from processor to processor.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence

from onnxproof.runtime.folder import GOLDEN_FILE, MODEL_FILE
from onnxproof.runtime.manifest import GOLDEN_KEY
from onnxproof.validate.golden.file import sha256_of_array
from onnxproof.validate.golden.golden import GoldenCase


def told_of(cases: Sequence[GoldenCase]) -> str:
    """The text for the model's metadata: a JSON object with the number of cases, and the SHA-256 of their
    names and of the checksums of their inputs."""
    inputs = [
        [one.case.name, {name: one.sums.get(name) or sha256_of_array(of) for name, of in one.inputs.items()}]
        for one in cases
    ]
    text = json.dumps(inputs, sort_keys=True, separators=(",", ":"))
    told = {"cases": len(cases), "sha256": hashlib.sha256(text.encode()).hexdigest()}
    return json.dumps(told, sort_keys=True, separators=(",", ":"))


def why_not_held(cases: Sequence[GoldenCase], metadata: Mapping[str, str]) -> str:
    """Why cases are not those of a model with this metadata; "" if they are, or if it does not tell."""
    told = metadata.get(GOLDEN_KEY)
    if told is None or told == told_of(cases):
        return ""
    return (
        f"{GOLDEN_FILE} does not hold the cases that {MODEL_FILE} was verified on: it has {len(cases)}, and "
        f"the model tells {told}"
    )
