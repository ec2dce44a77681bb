"""Cases: a covering design that covers, contents that are what they say, pictures that are found."""

import itertools
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from contracts import contract
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from onnxproof import source
from onnxproof.contract import Preprocess
from onnxproof.errors import PictureError
from onnxproof.runtime.preprocess import prepare
from onnxproof.source import find_pictures
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.validate import trial
from onnxproof.validate.cases import (
    VALUES_PER_DIM,
    Case,
    Effort,
    fewest,
    materialise,
    plan,
    sizes_left,
    sizes_of,
    volume,
)
from onnxproof.validate.contents import BANDS, CONSTANT, KIND_OF, KINDS, Content
from onnxproof.validate.covering import covering_design

BATCH, HEIGHT, WIDTH = Dim("batch", 1, 8), Dim("height", 64, 640, 32), Dim("width", 64, 320, 32)
DIMS = (BATCH, HEIGHT, WIDTH)
FLOATS = Preprocess("input", "NCHW", "float32", 255, "crop", 128, HEIGHT, WIDTH)
BYTES = replace(FLOATS, layout="NHWC", dtype="uint8", divide_by=1)
FLOAT_INPUT = TensorSpec("input", "float32", ("batch", 3, "height", "width"), (0, 1))
BYTE_INPUT = TensorSpec("input", "uint8", ("batch", "height", "width", 3), (0, 255))
ONE_SIZE = TensorSpec("input", "float32", ("batch", 3, 64, 64), (0, 1))
EFFORTS: tuple[Effort, ...] = get_args(Effort)

Factors = Mapping[str, Sequence[Any]]


def pairs_of(factors: Factors) -> set[tuple[tuple[str, Any], tuple[str, Any]]]:
    return {
        ((a, x), (b, y))
        for a, b in itertools.combinations(factors, 2)
        for x in factors[a]
        for y in factors[b]
    }


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Two lopsided pictures of noise."""
    files = []
    for number, size in enumerate([(200, 150), (130, 160)]):
        file = tmp_path / f"scene-{number}.png"
        noise = np.random.default_rng(number).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        Image.fromarray(noise).save(file)
        files.append(file)
    return files


class TestCoveringDesign:
    @examples(30)
    @given(levels=st.lists(st.integers(1, 5), min_size=2, max_size=4), seed=st.integers(0, 999))
    def test_every_pair_of_values_is_in_a_row(self, levels: list[int], seed: int) -> None:
        factors = {f"f{number}": range(1, count + 1) for number, count in enumerate(levels)}
        rows = list(covering_design(factors, seed))
        covered = {pair for row in rows for pair in itertools.combinations(row.items(), 2)}
        assert covered == pairs_of(factors)
        assert all(list(row) == list(factors) for row in rows)

    def test_no_row_is_superfluous(self) -> None:
        factors = {"a": range(4), "b": range(4), "c": range(4), "content": tuple(KINDS)}
        rows = list(covering_design(factors, 0))
        assert len({tuple(row.values()) for row in rows}) == len(rows)
        assert len(rows) < 2 * len(KINDS) * 4

    def test_one_factor_has_each_value_once(self) -> None:
        assert list(covering_design({"content": tuple(KINDS)}, 0)) == [{"content": kind} for kind in KINDS]

    def test_the_largest_sizes_do_not_all_meet(self) -> None:
        factors: Factors = {dim.name: sizes_of(dim, 4) for dim in DIMS} | {"content": tuple(KINDS)}
        product = len(KINDS) * 4**3
        rows = list(covering_design(factors, 0))
        work = sum(row["batch"] * row["height"] * row["width"] for row in rows)
        full = sum(
            b * h * w for b, h, w in itertools.product(factors["batch"], factors["height"], factors["width"])
        )
        assert len(rows) < product / 4
        assert work < full * len(KINDS) / 8


class TestSizes:
    @given(step=st.integers(1, 32), low=st.integers(1, 30), extra=st.integers(0, 40), count=st.integers(3, 8))
    def test_are_declared_and_hold_the_ends_and_the_step_beside(
        self, step: int, low: int, extra: int, count: int
    ) -> None:
        dim = Dim("n", low * step, (low + extra) * step, step)
        sizes = sizes_of(dim, count)
        assert all(dim.admits(size) for size in sizes)
        assert list(sizes) == sorted(set(sizes))
        assert len(sizes) <= count
        assert {dim.min, dim.max, dim.ceil(dim.min + 1)} <= set(sizes)

    @pytest.mark.parametrize(
        ("dim", "count", "expected"),
        [
            pytest.param(Dim("n", 3, 3), 4, (3,), id="a-fixed-one"),
            pytest.param(Dim("n", 1, 3), 4, (1, 2, 3), id="all-where-there-are-few"),
            pytest.param(Dim("n", 1, 4), 4, (1, 2, 3, 4), id="all-where-they-just-fit"),
            pytest.param(BATCH, 3, (1, 2, 8), id="quick-the-ends-and-one-more"),
            pytest.param(HEIGHT, 4, (64, 96, 192, 640), id="between-by-ratio"),
        ],
    )
    def test_examples(self, dim: Dim, count: int, expected: tuple[int, ...]) -> None:
        assert sizes_of(dim, count) == expected


TIME, MASK = Dim("time", 1, 48), TensorSpec("mask", "int64", ("batch", "time"), mask=True)


def masked(effort: Effort, batch: Dim) -> list[tuple[Case, NDArray[Any]]]:
    """The planned cases of a text, and which rows of their masks are full: [batch]."""
    cases = plan((batch, TIME), None, [], effort, 0, inputs=[MASK])
    return [(case, np.asarray(materialise(case, [MASK], None)["mask"].all(axis=1))) for case in cases]


class TestFullMasks:
    """A mask that is drawn may drop the last step each time. Then no case reads what only that step reads."""

    @pytest.mark.parametrize("effort", EFFORTS)
    @pytest.mark.parametrize("batch", [Dim("batch", 1, 4), Dim("batch", 1, 1), Dim("batch", 2, 4)])
    def test_at_each_length_a_row_is_full(self, effort: Effort, batch: Dim) -> None:
        tried = masked(effort, batch)
        lengths = {case.sizes["time"] for case, _ in tried}
        assert {1, 48} <= lengths
        assert {case.sizes["time"] for case, rows in tried if rows.any()} == lengths
        alone = {case.sizes["time"] for case, _ in tried if case.sizes["batch"] == 1}
        assert {case.sizes["time"] for case, rows in tried if rows.all() and len(rows) == 1} == alone
        assert len({case.name for case, _ in tried}) == len(tried)

    @pytest.mark.parametrize("effort", EFFORTS)
    @pytest.mark.parametrize("batch", [Dim("batch", 1, 4), Dim("batch", 1, 1)])
    def test_what_was_padded_in_the_design_stays(self, effort: Effort, batch: Dim) -> None:
        without = plan((batch, TIME), None, [], effort, 0)
        tried = masked(effort, batch)
        sizes = sizes_of(TIME, VALUES_PER_DIM[effort])
        assert [case.name for case, _ in tried][: len(without)] == [case.name for case in without]
        for before, (case, rows) in zip(without, tried, strict=False):
            assert replace(case, full=False) == before
            if case.sizes["time"] in sizes and case.sizes["batch"] == 1:
                assert not case.full
            if case.full:
                drawn = materialise(before, [MASK], None)["mask"]
                apart = (materialise(case, [MASK], None)["mask"] != drawn).any(axis=1)
                assert apart.sum() <= 1
                assert rows.any()
        # A few copies of one row: one for each length of the design but the length 1.
        assert len(tried) - len(without) == len(sizes) - 1

    def test_full_masks_are_among_the_fewest_cases_at_every_length(self) -> None:
        cases = [case for case, _ in masked("normal", Dim("batch", 1, 4))]
        chosen = fewest(cases, 0.0)
        assert {case.sizes["time"] for case in chosen if case.full} == set(range(2, 49))

    def test_without_masks_nothing_changes(self) -> None:
        assert not [case for case in plan((BATCH, TIME), None, [], "normal", 0) if case.full]


FEATURES = TensorSpec("x", "float32", ("batch", "time", 4), (-0.3, 0.7))
SHARES = TensorSpec("s", "float16", ("batch",), (0.0, 0.1))
PLAIN = TensorSpec("p", "float32", ("batch", 2))
IDS = TensorSpec("ids", "int64", ("batch", 5), (0, 9))


class TestEnds:
    """Damage that shows only at an end of an input's range, or at zero, such as a dropped bound of a log."""

    @pytest.mark.parametrize(
        ("inputs", "contents"),
        [
            pytest.param([FEATURES], ["lowest", "highest", "zero"], id="zero-within"),
            pytest.param([SHARES, IDS], ["lowest", "highest"], id="zero-is-an-end"),
            pytest.param([SHARES, FEATURES], ["lowest", "highest", "zero"], id="zero-within-one-of-two"),
            pytest.param([PLAIN], [], id="no-range-is-declared"),
            pytest.param([IDS, MASK], [], id="integers"),
        ],
    )
    def test_floats_with_a_range_are_tried_at_its_ends(
        self, inputs: list[TensorSpec], contents: list[str]
    ) -> None:
        cases = plan((BATCH, TIME), None, [], "quick", 0, inputs=inputs)
        ends = [case for case in cases if case.content in ("lowest", "highest", "zero")]
        assert [case.content for case in ends] == contents
        assert all(dict(case.sizes) == {"batch": 1, "time": 1} for case in ends)
        assert len({case.seed for case in cases}) == len({case.name for case in cases}) == len(cases)
        assert {case.name for case in ends} <= {case.name for case in fewest(cases, 0.0)}

    @pytest.mark.parametrize(
        ("content", "feature", "share"),
        [("lowest", -0.3, 0.0), ("highest", 0.7, 0.1), ("zero", 0.0, 0.0)],
    )
    def test_each_float_has_one_value_and_others_are_drawn(
        self, content: Content, feature: float, share: float
    ) -> None:
        inputs = [FEATURES, SHARES, PLAIN, IDS]
        arrays = materialise(Case("x", {"batch": 3, "time": 4}, content, 0), inputs, None)
        assert (arrays["x"] == np.float32(feature)).all()
        assert (arrays["s"] == np.float16(share)).all()
        assert len(np.unique(arrays["p"])) > 1
        assert len(np.unique(arrays["ids"])) > 1

    def test_pictures_and_graphs_that_choose_rows_have_none(self, pictures: list[Path]) -> None:
        for cases in (
            plan(DIMS, FLOATS, pictures, "quick", 0, inputs=[FLOAT_INPUT, FEATURES]),
            plan((BATCH, TIME), None, [], "quick", 0, inputs=[FEATURES], constant=False),
        ):
            assert not {case.kind for case in cases} & {"lowest", "highest", "zero"}


class TestPlan:
    @pytest.mark.parametrize("effort", EFFORTS)
    def test_every_size_and_content_and_every_pair_is_tried(
        self, effort: Effort, pictures: list[Path]
    ) -> None:
        cases = [case for case in plan(DIMS, FLOATS, pictures, effort, 0) if not case.native]
        factors: Factors = {dim.name: sizes_of(dim, VALUES_PER_DIM[effort]) for dim in DIMS} | {
            "content": tuple(KINDS)
        }
        rows = [{**case.sizes, "content": case.kind} for case in cases]
        covered = {pair for row in rows for pair in itertools.combinations(row.items(), 2)}
        assert covered >= pairs_of(factors)
        for dim in DIMS:
            assert {dim.min, dim.max} <= {case.sizes[dim.name] for case in cases}
        assert any(case.sizes["height"] != case.sizes["width"] for case in cases)

    @pytest.mark.parametrize(
        ("dim", "effort", "every"),
        [
            pytest.param(Dim("n", 64, 640, 32), "normal", True, id="19-sizes"),
            pytest.param(Dim("n", 1, 64), "normal", True, id="64-sizes"),
            pytest.param(Dim("n", 1, 65), "normal", False, id="65-sizes"),
            pytest.param(Dim("n", 1, 64), "quick", False, id="quick"),
            pytest.param(Dim("n", 1, 512), "thorough", True, id="512-sizes-thorough"),
            pytest.param(Dim("n", 1, 513), "thorough", False, id="513-sizes-thorough"),
            pytest.param(Dim("n", 7, 7), "normal", True, id="one-size"),
        ],
    )
    def test_every_declared_size_of_a_dim_with_few_is_tried(
        self, dim: Dim, effort: Effort, every: bool
    ) -> None:
        found = {case.sizes["n"] for case in plan((BATCH, dim), None, [], effort, 0)}
        declared = set(range(dim.min, dim.max + 1, dim.multiple))
        assert found <= declared
        assert (found == declared) == every
        assert {dim.min, dim.max, dim.ceil(dim.min + 1)} <= found

    def test_many_batches_are_not_all_tried(self) -> None:
        found = {case.sizes["batch"] for case in plan((Dim("batch", 1, 64),), None, [], "normal", 0)}
        assert {1, 2, 64} <= found
        assert len(found) == VALUES_PER_DIM["normal"]

    def test_sizes_of_several_dims_share_cases_and_none_is_large_in_all(self) -> None:
        tried = {dim.name: sizes_of(dim, VALUES_PER_DIM["normal"]) for dim in DIMS}
        rows = sizes_left(DIMS, tried, 64)
        for dim in DIMS:
            declared = set(range(dim.min, dim.max + 1, dim.multiple))
            assert {row[dim.name] for row in rows} | set(tried[dim.name]) == declared
        alone = sum((dim.max - dim.min) // dim.multiple + 1 - len(tried[dim.name]) for dim in DIMS)
        assert 19 - 4 <= len(rows) < alone
        areas = [math.prod(row.values()) for row in rows]
        assert max(areas) < 640 * 320 / 2
        pairwise = list(covering_design({**tried, "content": tuple(KINDS)}, 0))
        assert sum(areas) < 0.5 * sum(row["batch"] * row["height"] * row["width"] for row in pairwise)

    def test_a_size_that_is_tried_once_is_no_picture_of_one_value(self, pictures: list[Path]) -> None:
        tried = sizes_of(HEIGHT, VALUES_PER_DIM["normal"])
        once = [
            case for case in plan(DIMS, FLOATS, pictures, "normal", 0) if case.sizes["height"] not in tried
        ]
        assert {case.content for case in once if not case.native} == {"picture", "noise"}

    def test_more_effort_is_more_work(self, pictures: list[Path]) -> None:
        volumes = [volume(plan(DIMS, FLOATS, pictures, effort, 0)) for effort in EFFORTS]
        assert volumes == sorted(set(volumes))

    def test_is_the_same_each_time_and_follows_the_seed(self, pictures: list[Path]) -> None:
        first, again, other = (plan(DIMS, FLOATS, pictures, "normal", seed) for seed in (7, 7, 8))
        assert first == again
        assert first != other

    def test_names_and_seeds_tell_cases_apart(self, pictures: list[Path]) -> None:
        cases = plan(DIMS, FLOATS, pictures, "thorough", 0)
        assert len({case.name for case in cases}) == len(cases)
        seeds = [case.seed for case in cases if not case.native]
        assert len(set(seeds)) == len(seeds)

    def test_every_picture_is_laid_in_as_predict_does(self, pictures: list[Path]) -> None:
        native = [case for case in plan(DIMS, FLOATS, pictures, "normal", 0) if case.native]
        assert [case.picture for case in native] == pictures
        for case in native:
            assert isinstance(case.picture, Path)
            array, _ = prepare(Image.open(case.picture), FLOATS)
            assert dict(case.sizes) == {"batch": 1, "height": array.shape[2], "width": array.shape[3]}
            made = materialise(case, [FLOAT_INPUT], FLOATS)
            np.testing.assert_array_equal(made["input"], array)

    def test_pictures_take_turns(self, pictures: list[Path]) -> None:
        used = {case.picture for case in plan(DIMS, FLOATS, pictures, "quick", 0) if not case.native}
        assert used == {None, *pictures}

    def test_without_pictures_the_other_contents_remain(self) -> None:
        kinds = {case.kind for case in plan(DIMS, FLOATS, [], "quick", 0)}
        assert kinds == set(KINDS) - {"picture"}

    def test_without_a_picture_input_there_is_noise_only(self) -> None:
        cases = plan((BATCH, Dim("time", 1, 64)), None, [], "quick", 0)
        assert {case.content for case in cases} == {"noise", "high", "low"}
        assert {1, 8} <= {case.sizes["batch"] for case in cases}

    def test_without_dims_there_is_still_a_case(self) -> None:
        assert [case.sizes for case in plan((), None, [], "quick", 0)] == [{}]

    def test_a_picture_that_cannot_be_read_is_told_at_once(self, tmp_path: Path) -> None:
        (tmp_path / "broken.png").write_bytes(b"")
        with pytest.raises(PictureError, match=r"broken\.png"):
            plan(DIMS, FLOATS, [tmp_path / "broken.png"], "quick", 0)


SMALL = {"batch": 3, "height": 64, "width": 96}


def made(
    content: Content, preprocess: Preprocess, spec: TensorSpec, picture: Path | None = None
) -> NDArray[Any]:
    case = Case("x", SMALL, content, seed=5, picture=picture)
    return materialise(case, [spec], preprocess)["input"]


@pytest.mark.parametrize(
    ("preprocess", "spec"), [(FLOATS, FLOAT_INPUT), (BYTES, BYTE_INPUT)], ids=["float-nchw", "uint8-nhwc"]
)
class TestMaterialise:
    @pytest.mark.parametrize("content", KIND_OF)
    def test_has_the_inputs_shape_dtype_and_range(
        self, content: Content, preprocess: Preprocess, spec: TensorSpec, pictures: list[Path]
    ) -> None:
        array = made(content, preprocess, spec, pictures[0] if content == "picture" else None)
        assert array.shape == spec.sized(SMALL)
        assert array.dtype == spec.dtype
        assert spec.range is not None
        assert spec.range[0] <= array.min() <= array.max() <= spec.range[1]

    @pytest.mark.parametrize("content", KIND_OF)
    def test_is_the_same_each_time(
        self, content: Content, preprocess: Preprocess, spec: TensorSpec, pictures: list[Path]
    ) -> None:
        picture = pictures[0] if content == "picture" else None
        first, second = (made(content, preprocess, spec, picture) for _ in range(2))
        np.testing.assert_array_equal(first, second)

    def test_black_and_saturated_are_the_ends_of_the_range(
        self, preprocess: Preprocess, spec: TensorSpec
    ) -> None:
        assert spec.range is not None
        assert np.unique(made("black", preprocess, spec)).tolist() == [spec.range[0]]
        assert np.unique(made("saturated", preprocess, spec)).tolist() == [spec.range[1]]

    @pytest.mark.parametrize("content", BANDS)
    def test_a_content_keeps_to_its_part_of_the_range(
        self, content: Content, preprocess: Preprocess, spec: TensorSpec
    ) -> None:
        assert spec.range is not None
        array = made(content, preprocess, spec).astype(float) / spec.range[1]
        low, high = BANDS[content]
        if KIND_OF[content] != "noise":  # noise fills the range of a picture always
            assert low - 0.005 <= array.min() <= array.max() <= high + 0.005
        assert (len(np.unique(array)) == 1) == (content in CONSTANT)

    def test_noise_fills_the_range(self, preprocess: Preprocess, spec: TensorSpec) -> None:
        assert spec.range is not None
        noise = made("noise", preprocess, spec).astype(float) / spec.range[1]
        assert noise.min() < 0.01
        assert noise.max() > 0.99
        assert noise.mean() == pytest.approx(0.5, abs=0.02)
        assert len(np.unique(noise)) > 200

    def test_empty_is_a_smooth_gradient(self, preprocess: Preprocess, spec: TensorSpec) -> None:
        assert spec.range is not None
        array = made("empty", preprocess, spec).astype(float) / spec.range[1]
        rows, columns = (2, 3) if preprocess.layout == "NCHW" else (1, 2)
        assert np.abs(np.diff(array, axis=rows)).max() < 0.1
        assert np.abs(np.diff(array, axis=columns)).max() < 0.1
        assert np.ptp(array) > 0.2

    @pytest.mark.parametrize("content", ["picture", "noise", "empty", "bright"])
    def test_members_of_a_batch_differ(
        self, content: Content, preprocess: Preprocess, spec: TensorSpec, pictures: list[Path]
    ) -> None:
        array = made(content, preprocess, spec, pictures[0] if content == "picture" else None)
        assert len({member.tobytes() for member in array}) == len(array)

    def test_a_picture_is_stretched_to_the_size(
        self, preprocess: Preprocess, spec: TensorSpec, pictures: list[Path]
    ) -> None:
        first = made("picture", preprocess, spec, pictures[0])[0]
        wanted = np.asarray(Image.open(pictures[0]).resize((96, 64)))
        found = first.transpose(1, 2, 0) * 255 if preprocess.layout == "NCHW" else first
        np.testing.assert_allclose(found, wanted, atol=1e-3)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        pytest.param("int64[batch, 40] in 3..9", 3, 9, id="integers-reach-both-ends"),
        pytest.param("int32[batch, 40] in -1..1", -1, 1, id="negative-integers"),
        pytest.param("uint8[batch, 400] in 254..255", 254, 255, id="bytes"),
        pytest.param("bool[batch, 40]", False, True, id="truth-values"),
        pytest.param("int64[batch, 2] in 7..7", 7, 7, id="one-value"),
    ],
)
def test_other_inputs_are_drawn_from_their_range(text: str, low: int, high: int) -> None:
    spec = TensorSpec.parse("tokens", text)
    array = materialise(Case("x", {"batch": 2}, "noise", 0), [spec], None)["tokens"]
    assert array.dtype == spec.dtype
    assert array.shape == spec.sized({"batch": 2})
    assert (array.min(), array.max()) == (low, high)


def test_other_float_inputs_are_drawn_from_their_range() -> None:
    spec = TensorSpec.parse("x", "float64[batch, 1000] in -2..6")
    array = materialise(Case("x", {"batch": 1}, "black", 0), [spec], None)["x"]
    assert array.min() >= -2
    assert array.max() <= 6
    assert array.mean() == pytest.approx(2, abs=0.5)


@pytest.mark.parametrize(
    ("content", "low", "high"), [("noise", -2, 6), ("high", 4, 6), ("low", -2, 0), ("silver", -2, 6)]
)
def test_other_float_inputs_fill_a_part_of_their_range(content: Content, low: float, high: float) -> None:
    specs = [TensorSpec.parse("x", f"{kind}[1000] in -2..6") for kind in ("float32", "int64")]
    for spec in specs:
        array = materialise(Case("x", {}, content, 0), [spec], None)["x"]
        ends = (-2, 6) if spec.dtype == "int64" else (low, high)
        assert (array.min(), array.max()) == pytest.approx(ends, abs=0.05)


@pytest.mark.parametrize("preprocess", [FLOATS, None], ids=["pictures", "arrays"])
def test_a_case_is_bright_in_each_effort(preprocess: Preprocess | None) -> None:
    """A file that answers otherwise on bright inputs alone is seen."""
    for effort in EFFORTS:
        cases = plan((BATCH,), preprocess, [], effort, 0)
        means = [float(np.mean(materialise(case, [ONE_SIZE], preprocess)["input"])) for case in cases]
        assert any(0.8 < mean < 0.95 for mean in means), means


def test_inputs_of_one_case_differ_from_each_other() -> None:
    specs = [TensorSpec(name, "float32", (50,), (0, 1)) for name in "ab"]
    arrays = materialise(Case("x", {}, "noise", 0), specs, None)
    assert arrays["a"].tolist() != arrays["b"].tolist()


def test_volume_is_what_a_sweep_costs() -> None:
    cases = [
        Case("x", {"batch": 2, "height": 3, "width": 4}, "noise", 0),
        Case("y", {"batch": 5}, "noise", 0),
    ]
    assert volume(cases) == 29


class TestFindPictures:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """tmp/job, beside tmp/images with b.png, a.png, c.jpg, a folder, and deep/d.png."""
        images = tmp_path / "images"
        (images / "deep").mkdir(parents=True)
        (images / "folder.png").mkdir()
        (tmp_path / "job").mkdir()
        for name in ("b.png", "a.png", "c.jpg", "deep/d.png"):
            (images / name).touch()
        return tmp_path / "job"

    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            pytest.param("../images/*.png", ["a.png", "b.png"], id="two-dots-sorted-no-folders"),
            pytest.param("../images/a.png", ["a.png"], id="one-file"),
            pytest.param("../images/**/*.png", ["a.png", "b.png", "d.png"], id="folders-below-too"),
            pytest.param("../images/[bc].*", ["b.png", "c.jpg"], id="a-choice"),
        ],
    )
    def test_relative_to_the_job(self, folder: Path, pattern: str, expected: list[str]) -> None:
        found = find_pictures(pattern, folder)
        assert [file.name for file in found] == expected
        assert all(file.is_file() for file in found)

    def test_absolute(self, folder: Path, tmp_path: Path) -> None:
        found = find_pictures(str(tmp_path / "images" / "*.png"), folder)
        assert [file.name for file in found] == ["a.png", "b.png"]

    def test_more_than_are_sensible(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(source, "MOST_PICTURES", 3)
        with pytest.raises(PictureError, match=r"names more than 3 files, seen from .*job"):
            find_pictures("../images/**/*", folder)
        assert len(find_pictures("../images/*.*", folder)) == 3

    def test_the_jobs_folder_may_look_like_a_pattern(self, tmp_path: Path) -> None:
        odd = tmp_path / "job [1]*"
        odd.mkdir()
        (odd / "a.png").touch()
        assert find_pictures("*.png", odd) == (odd / "a.png",)

    def test_none_asked_for(self, folder: Path) -> None:
        assert find_pictures(None, folder) == ()

    @pytest.mark.parametrize("pattern", ["*.png", "../images/*.gif", "../images/deep", ""])
    def test_none_found_names_the_pattern_and_the_folder(self, folder: Path, pattern: str) -> None:
        with pytest.raises(PictureError) as caught:
            find_pictures(pattern, folder)
        assert f'validate.images = "{pattern}"' in str(caught.value)
        assert str(folder) in str(caught.value)


def test_case_is_written_as_json() -> None:
    case = Case("x", {"batch": 2}, "picture", 3, Path("/home/me/a.png"))
    assert case.to_json() == {
        "name": "x",
        "sizes": {"batch": 2},
        "content": "picture",
        "seed": 3,
        "picture": "a.png",
        "native": False,
    }
    assert Case.from_json(case.to_json()) == replace(case, picture=Path("a.png"))
    full = Case("y", {"batch": 1}, "noise", 4, full=True)
    assert full.to_json()["full"] is True
    assert Case.from_json(full.to_json()) == full


def test_pictures_of_one_value_are_left_out_where_nothing_is_decided_on_them() -> None:
    dims = (Dim("batch", 1, 2), Dim("height", 64, 64), Dim("width", 64, 64))
    preprocess = Preprocess("input", "NCHW", "float32", 255, "stretch", 64, dims[1], dims[2])
    kinds = [
        {case.kind for case in plan(dims, preprocess, (), "quick", 0, constant=constant)}
        for constant in (True, False)
    ]
    assert kinds == [{"noise", "empty", "black", "saturated"}, {"noise", "empty"}]


def test_pictures_are_opened_once_where_some_are_left_out(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    opened: list[str] = []

    def counting(picture: Any, preprocess: Preprocess) -> Any:
        opened.append(Path(picture).name)
        return prepare(picture, preprocess)

    monkeypatch.setattr(sys.modules[plan.__module__], "prepare", counting)
    promised = contract(inputs=(FLOAT_INPUT,), dims=DIMS, preprocess=FLOATS)
    for effort in EFFORTS:
        opened.clear()
        tried = trial.Settings(images="*.png", folder=tmp_path, effort=effort, leaves_out=True)
        planned = trial.plan_trial(promised, tried)
        assert sorted(opened) == sorted(["broken.png", *(file.name for file in pictures)])
        assert [one.reason != "" for one in planned.unread] == [True]
        assert planned.pictures == tuple(pictures)
        assert [case.name for case in planned.cases if case.native] == [file.name for file in pictures]
