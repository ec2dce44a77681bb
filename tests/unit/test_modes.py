"""Whoever is called with a module leaves it in the mode in which it was."""

from dataclasses import dataclass, field

import pytest

from onnxproof.entry import keeps_mode


@dataclass
class Part:
    training: bool
    parts: list["Part"] = field(default_factory=list)

    def modules(self) -> list["Part"]:
        return [self, *self.parts]


@keeps_mode
def work(source: str, *, model: Part | str | None = None) -> str:
    if isinstance(model, Part):
        for part in model.modules():
            part.training = False
    if source == "bad":
        raise ValueError(source)
    return source


@keeps_mode
def work_on(module: Part) -> None:
    module.training = False


def test_each_part_is_as_it_was() -> None:
    frozen = Part(training=False)
    model = Part(training=True, parts=[frozen, Part(training=True)])
    assert work("good", model=model) == "good"
    assert [part.training for part in model.modules()] == [True, False, True]
    work_on(model)
    assert model.training


def test_it_is_so_after_an_error_too() -> None:
    model = Part(training=True)
    with pytest.raises(ValueError, match="bad"):
        work("bad", model=model)
    assert model.training


def test_what_is_no_module_is_passed_on() -> None:
    assert work("good") == work("good", model=None) == work("good", model="text") == "good"
