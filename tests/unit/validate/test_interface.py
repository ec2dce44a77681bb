"""What a file declares, beside what the contract declares."""

from types import SimpleNamespace
from typing import Any

import pytest
from contracts import contract

from onnxproof.runtime.port import Port
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.validate.interface import interface_differences
from onnxproof.validate.legs.leg import Ports

CONTRACT = contract(
    inputs=(TensorSpec("x", "float32", ("batch", 3)),),
    outputs=(TensorSpec("y", "float32", ("batch", 84)),),
    dims=(Dim.parse("batch", "1..4"),),
)


def leg(given: Port, answered: Port) -> Any:
    return SimpleNamespace(ports=Ports((given,), (answered,)))


def x(*shape: int | str | None) -> Port:
    return Port("x", "float32", shape or ("batch", 3))


def y(*shape: int | str | None) -> Port:
    return Port("y", "float32", shape or ("batch", 84))


@pytest.mark.parametrize("size", [84, "Concatoutput_dim_1", None])
def test_an_axis_of_an_output_may_be_of_the_declared_size_or_of_none(size: int | str | None) -> None:
    assert interface_differences(CONTRACT, leg(x(), y("batch", size))) == ()


@pytest.mark.parametrize(
    ("given", "answered", "says"),
    [
        (x(), y("batch", 85), "an axis of output y is 85; expected 84"),
        (x("batch", "channels"), y(), "an axis of input x is channels; expected 3"),
        (x(), y(2, 84), "the axis batch of output y is declared dynamic but frozen at 2"),
        (x(), y("batch"), "output y has 1 axes; expected"),
        (x(), Port("z", "float32", ("batch", 84)), "outputs are z; expected y"),
        (x(), Port("y", "float64", ("batch", 84)), "output y is float64; expected float32"),
    ],
)
def test_another_interface_is_told(given: Port, answered: Port, says: str) -> None:
    (told,) = interface_differences(CONTRACT, leg(given, answered))
    assert told.startswith(says)
