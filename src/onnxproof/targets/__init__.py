"""The runtimes that a file can be meant for, and what each documents: operator sets, operators and types.

The facts of a target are in ``NAME.json`` beside this module, with their source and the day on which that was
read. A target without facts on something restricts nothing there.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from onnxproof.system.parsed import json_in

Name = Literal[
    "onnxruntime", "onnxruntime-web", "openvino", "tensorrt", "coreml", "directml", "barracuda", "sentis"
]

TARGETS: tuple[Name, ...] = get_args(Name)

DEFAULT: Name = "onnxruntime"

FAILS = "fail"
"""What ``Target.unlisted`` is if the documentation lists every operator that there is."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a runtime documents.

    ``least`` and ``most`` are the ends of its range of operator sets; ``most`` is None if it names no end.
    ``strict`` says whether a file beyond ``most`` is refused, and not only untested. ``operators`` are those
    of the standard set that it has, None for all; ``unsupported`` those that it says it lacks. ``unlisted``
    says what becomes of an operator in neither list: FAILS, or a reason in words; it is empty if nobody
    knows. ``limits`` has, by operator, what it takes of it. ``domains`` are the other domains that it has.
    ``types`` are the element types that it has, None if it does not say; ``narrowed`` are those that it holds
    in another.
    """

    name: str
    runtime: str
    version: str
    source: str
    read: str
    least: int
    most: int | None
    strict: bool
    operators: frozenset[str] | None
    unsupported: frozenset[str]
    unlisted: str
    domains: frozenset[str]
    types: frozenset[str] | None
    narrowed: Mapping[str, str]
    limits: Mapping[str, str]

    @property
    def documentation(self) -> str:
        """What the facts are from, for messages."""
        return f"the documentation of {self.name} ({self.version}, read {self.read})"


@functools.cache
def read_target(name: str) -> Target:
    """The facts of a target. Raises KeyError if there is no such target."""
    if name not in TARGETS:
        raise KeyError(f"there is no target {name!r}; there are: {', '.join(TARGETS)}")
    value = json_in(Path(__file__).parent / f"{name}.json")
    opset = value.pop("opset")
    sets = {key: frozenset(value.pop(key)) for key in ("unsupported", "domains")}
    listed = {key: None if value[key] is None else frozenset(value[key]) for key in ("operators", "types")}
    return Target(
        **{**value, **sets, **listed},
        least=opset["least"],
        most=opset["most"],
        strict=opset["beyond"] == FAILS,
    )
