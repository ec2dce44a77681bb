"""Named dimensions, tensor specs and fields: what they read, write, admit and refuse."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxproof.errors import ModelFileError, RequestError
from onnxproof.tensors import DTYPES, LIMITS, Dim, Field, TensorSpec, dims_by_name

STRIDED = Dim("height", 64, 640, 32)


@st.composite
def dims(draw: st.DrawFn) -> Dim:
    step, low, extra = draw(st.integers(1, 64)), draw(st.integers(1, 50)), draw(st.integers(0, 50))
    return Dim("axis", low * step, (low + extra) * step, step)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("64..640 step 32", Dim("n", 64, 640, 32), id="range-with-step"),
        pytest.param("1..8", Dim("n", 1, 8), id="a-range-alone-steps-by-1"),
        pytest.param("3", Dim("n", 3, 3), id="one-size-is-fixed"),
        pytest.param(3, Dim("n", 3, 3), id="an-integer-is-one-size"),
        pytest.param("64 step 32", Dim("n", 64, 64, 32), id="one-size-may-state-its-step"),
        pytest.param("  64 ..  640   step  32 ", Dim("n", 64, 640, 32), id="spaces-are-free"),
    ],
)
def test_dim_is_read(text: str | int, expected: Dim) -> None:
    assert Dim.parse("n", text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("640..64", ["above the maximum", '"64..640"'], id="ends-swapped-shows-them-in-order"),
        pytest.param("60..640 step 32", ["60 is not a multiple", "32 or 64"], id="low-end-off-the-step"),
        pytest.param("64..650 step 32", ["650 is not a multiple", "640 or 672"], id="high-end-off-the-step"),
        pytest.param(
            "5..32 step 32", ["5 is not a multiple", "use 32"], id="below-the-first-step-names-no-zero"
        ),
        pytest.param("0..8", ["start at 1"], id="no-empty-axis"),
        pytest.param("1..8 step 0", ["1..8 step 0", "start at 1"], id="a-step-of-nothing"),
        pytest.param("-4..8", ["expected a size or a range", '"-4..8"'], id="negative-is-no-size"),
        pytest.param("1-8", ["expected a size or a range", '"1..8"'], id="a-dash-shows-how-to-write-it"),
        pytest.param("1.5", ["expected a size or a range"], id="no-fractions"),
        pytest.param("", ["expected a size or a range"], id="nothing"),
        pytest.param("64..640 step", ["expected a size or a range"], id="step-without-a-number"),
    ],
)
def test_bad_dim_says_what_to_write(text: str, words: list[str]) -> None:
    with pytest.raises(RequestError) as caught:
        Dim.parse("height", text)
    for word in ("dimension height", *words):
        assert word in str(caught.value)


@given(dim=dims())
def test_dim_reads_back_what_it_writes(dim: Dim) -> None:
    assert Dim.parse(dim.name, str(dim)) == dim


@pytest.mark.parametrize(
    ("size", "floor", "ceil"),
    [
        pytest.param(64, 64, 64, id="the-smallest-stays"),
        pytest.param(640, 640, 640, id="the-largest-stays"),
        pytest.param(95, 64, 96, id="one-below-a-step"),
        pytest.param(97, 96, 128, id="one-above-a-step"),
        pytest.param(95.9, 64, 96, id="a-fraction-below-a-step"),
        pytest.param(96.1, 96, 128, id="a-fraction-above-a-step"),
        pytest.param(1, 64, 64, id="below-all-sizes-is-the-smallest"),
        pytest.param(10_000, 640, 640, id="above-all-sizes-is-the-largest"),
    ],
)
def test_floor_and_ceil(size: float, floor: int, ceil: int) -> None:
    assert (STRIDED.floor(size), STRIDED.ceil(size)) == (floor, ceil)


@given(dim=dims(), size=st.integers(0, 10_000))
def test_floor_and_ceil_are_the_nearest_admitted_sizes(dim: Dim, size: int) -> None:
    sizes = range(dim.min, dim.max + 1, dim.multiple)
    assert dim.admits(dim.floor(size))
    assert dim.admits(dim.ceil(size))
    assert dim.floor(size) == max((s for s in sizes if s <= size), default=dim.min)
    assert dim.ceil(size) == min((s for s in sizes if s >= size), default=dim.max)
    assert dim.admits(size) == (size in sizes)


@pytest.mark.parametrize(
    ("size", "admitted"),
    [
        pytest.param(64, True, id="the-smallest"),
        pytest.param(640, True, id="the-largest"),
        pytest.param(32, False, id="a-multiple-below-the-range"),
        pytest.param(672, False, id="a-multiple-above-the-range"),
        pytest.param(100, False, id="in-range-but-off-the-step"),
    ],
)
def test_admits(size: int, *, admitted: bool) -> None:
    assert STRIDED.admits(size) is admitted


def test_fixed_is_one_size() -> None:
    assert Dim("channels", 3, 3).fixed
    assert not STRIDED.fixed


def test_dims_are_found_by_name_and_named_once() -> None:
    batch = Dim("batch", 1, 8)
    assert dims_by_name([batch, STRIDED]) == {"batch": batch, "height": STRIDED}
    with pytest.raises(RequestError, match="height is declared twice"):
        dims_by_name([STRIDED, batch, STRIDED])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "float32[batch, 3, height, width] in 0..255",
            TensorSpec("x", "float32", ("batch", 3, "height", "width"), (0, 255)),
            id="names-numbers-and-a-range",
        ),
        pytest.param("int64[batch]", TensorSpec("x", "int64", ("batch",)), id="no-range"),
        pytest.param("bool[]", TensorSpec("x", "bool", ()), id="a-scalar-has-no-axes"),
        pytest.param("float32[ n,3 ]", TensorSpec("x", "float32", ("n", 3)), id="spaces-are-free"),
        pytest.param("float32[n] in -1..1", TensorSpec("x", "float32", ("n",), (-1, 1)), id="a-negative-end"),
        pytest.param(
            "float32[n] in -2.5..1e-3", TensorSpec("x", "float32", ("n",), (-2.5, 1e-3)), id="fractions"
        ),
        pytest.param("int64[n] in 7..7", TensorSpec("x", "int64", ("n",), (7, 7)), id="one-value"),
    ],
)
def test_spec_is_read(text: str, expected: TensorSpec) -> None:
    assert TensorSpec.parse("x", text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("float32", ["expected dtype[axes]", '"float32[batch, 3'], id="no-axes"),
        pytest.param("float32(3)", ["expected dtype[axes]"], id="round-brackets"),
        pytest.param("float32[batch,, 3]", ["expected dtype[axes]"], id="an-axis-is-left-out"),
        pytest.param("float32[-1, 3]", ["expected dtype[axes]"], id="negative-is-no-axis"),
        pytest.param("float32[2x]", ["expected dtype[axes]"], id="a-name-starts-with-a-letter"),
        pytest.param("float32[3] in 0-255", ["expected dtype[axes]"], id="a-dash-is-no-range"),
        pytest.param("float32[3] in e..1", ["expected dtype[axes]"], id="an-end-that-is-no-number"),
        pytest.param("float32[3] in 1.2.3..4", ["expected dtype[axes]"], id="an-end-with-two-points"),
        pytest.param("float32[3] in 0..1e999", ["0.0..inf", "infinite"], id="an-end-beyond-all-numbers"),
        pytest.param("float[3]", ["dtype float is not one of", "float32"], id="unknown-dtype-lists-them"),
        pytest.param("int64[3] in 9..0", ["9.0..0.0 is empty"], id="ends-swapped"),
    ],
)
def test_bad_spec_says_what_to_write(text: str, words: list[str]) -> None:
    with pytest.raises(RequestError) as caught:
        TensorSpec.parse("tokens", text)
    for word in ("tensor tokens", *words):
        assert word in str(caught.value)


NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
AXES = st.lists(st.integers(0, 9999) | st.sampled_from(["batch", "_t", "h2"]), max_size=5)
SPECS = st.builds(
    TensorSpec,
    st.just("x"),
    st.sampled_from(DTYPES),
    AXES.map(tuple),
    st.none() | st.tuples(NUMBERS, NUMBERS).map(sorted).map(tuple),
)


@given(spec=SPECS)
def test_spec_reads_back_what_it_writes(spec: TensorSpec) -> None:
    assert TensorSpec.parse(spec.name, str(spec)) == spec
    low, high = LIMITS[spec.dtype]
    if spec.range is None or low <= spec.range[0] <= spec.range[1] <= high:
        assert TensorSpec.from_json(spec.to_json()) == spec
    else:
        with pytest.raises(ModelFileError, match=r"range\[[01]\]"):
            TensorSpec.from_json(spec.to_json())


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("float32[batch, 3, height, width] in 0..255", id="as-in-the-documentation"),
        pytest.param("int64[batch, time] in 0..1234567", id="a-vocabulary-keeps-its-last-digit"),
        pytest.param("float32[n] in -0.1..0.1", id="fractions-stay-short"),
    ],
)
def test_spec_is_written_as_a_person_would(text: str) -> None:
    assert str(TensorSpec.parse("x", text)) == text


def test_spec_is_sized_by_name() -> None:
    spec = TensorSpec("x", "float32", ("batch", 3, "height", "batch"))
    assert spec.axis_names == ("batch", "height", "batch")
    assert spec.sized({"batch": 2, "height": 64, "unused": 9}) == (2, 3, 64, 2)
    with pytest.raises(KeyError):
        spec.sized({"batch": 2})


def test_field_is_a_slice_of_the_last_axis() -> None:
    score = Field("output", "score", "probability", start=5, stop=6)
    assert list(range(10))[score.channels] == [5]
    assert list(range(10))[replace(score, stop=None).channels] == [5, 6, 7, 8, 9]
