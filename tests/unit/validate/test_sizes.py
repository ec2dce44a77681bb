"""Other sizes than the contract's: in its steps, of its dimensions, and of a picture too."""

import pytest
from contracts import contract

from onnxproof.contract import Preprocess
from onnxproof.errors import RequestError
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.validate.sizes import with_sizes

HEIGHT, WIDTH = Dim("height", 64, 640, 32), Dim("width", 64, 640, 32)
DETECTOR = contract(
    inputs=(TensorSpec("input", "float32", ("batch", 3, "height", "width")),),
    dims=(Dim("batch", 1, 8), HEIGHT, WIDTH),
    preprocess=Preprocess("input", "NCHW", "float32", 255, "crop", 256, HEIGHT, WIDTH),
)


def test_sizes_are_replaced_in_the_dims_and_in_the_picture() -> None:
    told = with_sizes(DETECTOR, {"height": "96..160 step 32", "batch": "2"})
    assert told.dims == (Dim("batch", 2, 2), Dim("height", 96, 160, 32), WIDTH)
    assert told.preprocess is not None
    assert (told.preprocess.height, told.preprocess.width) == (Dim("height", 96, 160, 32), WIDTH)


@pytest.mark.parametrize("text", ["64", "96..192 step 96", "64..704 step 64"])
def test_sizes_in_the_declared_steps_are_taken(text: str) -> None:
    assert with_sizes(DETECTOR, {"height": text}).dims[1] == Dim.parse("height", text)


@pytest.mark.parametrize(
    ("text", "write"),
    [
        pytest.param("64..160", "64..160 step 32", id="no-step"),
        pytest.param("70..150", "96..128 step 32", id="ends-between-steps"),
        pytest.param("100", "128", id="one-size"),
        pytest.param("64..160 step 16", "64..160 step 32", id="a-smaller-step"),
    ],
)
def test_sizes_between_the_declared_steps_are_refused(text: str, write: str) -> None:
    with pytest.raises(RequestError) as refused:
        with_sizes(DETECTOR, {"height": text})
    said = str(refused.value)
    assert "height is declared as 64..640 step 32, in steps of 32" in said
    assert said.endswith(f'write --dim "height={write}"')


def test_a_dimension_that_is_not_there_is_refused() -> None:
    with pytest.raises(RequestError, match=r"--dim time=1..8: .* there are: batch, height, width"):
        with_sizes(DETECTOR, {"time": "1..8"})
