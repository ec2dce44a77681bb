"""With NMS in the graph every row that either side returns is matched, a tie or a defect, whatever its score
and whatever the rows carry."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
from contracts import contract
from numpy.typing import NDArray

from onnxproof.tensors import TensorSpec
from onnxproof.validate.cases import Case
from onnxproof.validate.facts import Outcome
from onnxproof.validate.judge import disorder_under, outcome_of
from onnxproof.validate.legs.leg import Answer
from onnxproof.validate.policy import FLOAT_FLOOR
from onnxproof.validate.tally import Tally

Array = NDArray[Any]

PLACES = 6
SIDE = 64
GRAPH = {"score_threshold": 0.5, "iou_threshold": 0.5, "max_detections": PLACES}
CASE = Case("case", {"batch": 2}, "noise", 0)
NOISE = np.random.default_rng(0).normal(scale=1e-6, size=(3, 8, 8))


class Row(NamedTuple):
    """A box of 20 by 20 px in one of six places."""

    place: int
    score: float
    label: int = 0


SCENE = (Row(0, 0.9), Row(1, 0.8, 1), Row(2, 0.7))
DROPPED = Row(3, 0.4, 1)
FAINT = Row(4, 0.1)
CANDIDATES = (*SCENE, DROPPED)
"""PyTorch tells what scores half of the threshold or more."""


def straight(rows: Sequence[Row], leg: int) -> Array:
    corners = np.array([(30 * (row.place % 3), 30 * (row.place // 3)) for row in rows], float)
    corners = corners.reshape(-1, 2) + 0.3  # no edge lies where a pixel begins
    moved = NOISE[leg, [row.place for row in rows], :2]
    return np.concatenate((corners + moved, corners + 20 + moved), axis=1)


def turned(rows: Sequence[Row], leg: int) -> Array:
    boxes = straight(rows, leg)
    sides = np.full((len(rows), 2), (20, 10))
    angles = 0.3 + NOISE[leg, [row.place for row in rows], 4:5]
    return np.concatenate((boxes[:, :2] + 10, sides, angles), axis=1)


def points(rows: Sequence[Row], leg: int) -> Array:
    shown = np.ones((len(rows), 2, 1)) * 0.9 + NOISE[leg, [row.place for row in rows], 5][:, None, None]
    return np.concatenate((straight(rows, leg).reshape(-1, 2, 2), shown), axis=2)


def coefficients(rows: Sequence[Row], leg: int) -> Array:
    return np.ones((len(rows), 2)) + NOISE[leg, [row.place for row in rows], 6:8]


def masks(rows: Sequence[Row], leg: int) -> Array:
    drawn = np.zeros((len(rows), 1, SIDE, SIDE))
    for mask, (x0, y0, x1, y1) in zip(drawn, straight(rows, leg).round().astype(int), strict=True):
        mask[0, y0:y1, x0:x1] = 0.9 + NOISE[leg, 0, 0]
    return drawn


def prototypes(leg: int) -> Array:
    return np.full((2, SIDE // 4, SIDE // 4), 1 + NOISE[leg, 0, 0])


Columns = Mapping[str, Callable[[Sequence[Row], int], Array]]


class Kind(NamedTuple):
    """A layout of rows: what each row has beside label and score, and how pictures are told apart."""

    task: str
    columns: Columns
    padded: bool = False
    batched: bool = False
    more: Mapping[str, Any] = {}
    shared: Mapping[str, Callable[[int], Array]] = {}

    @property
    def names(self) -> list[str]:
        first, *carried = self.columns
        last = ["counts"] if self.padded else ["pictures"] if self.batched else []
        return [first, "labels", "scores", *carried, *self.shared, *last]

    def tally(self) -> Tally:
        document = {
            "decode": "nms-padded" if self.padded else "nms",
            "outputs": self.names,
            "first_label": 0,
            "score_threshold": 0.6,
            "graph": GRAPH,
            **({"batch": "batch"} if self.padded or self.batched else {}),
            **self.more,
        }
        example = self.answer([SCENE], 1).outputs
        outputs = tuple(
            TensorSpec(name, str(of.dtype), ("first", *of.shape[1:])) for name, of in example.items()
        )
        return Tally.of(contract(task=self.task, outputs=outputs, postprocess=document))

    def values(self, rows: Sequence[Row], leg: int, dtype: type) -> dict[str, Array]:
        scores = np.array([row.score for row in rows]) + NOISE[leg, [row.place for row in rows], 3]
        found: dict[str, Array] = {
            name: column(rows, leg).astype(dtype) for name, column in self.columns.items()
        }
        labels = np.array([row.label for row in rows], np.int64)
        return {**found, "labels": labels, "scores": scores.astype(dtype)}

    def answer(self, pictures: Sequence[Sequence[Row]], leg: int, *, told: bool = False) -> Answer:
        """The rows of each picture as leg 0, 1 or 2 returns them. ``told``: with PyTorch's candidates."""
        dtype = np.float64 if leg == 0 else np.float32
        parts = [self.values(rows, leg, dtype) for rows in pictures]
        if self.padded:
            outputs = {name: np.stack([_padded(part[name]) for part in parts]) for name in parts[0]} | {
                "counts": np.array([len(rows) for rows in pictures])
            }
        else:
            outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            outputs["pictures"] = np.repeat(np.arange(len(pictures)), [len(rows) for rows in pictures])
        outputs |= {
            name: np.stack([of(leg).astype(dtype)] * len(pictures)) for name, of in self.shared.items()
        }
        outputs = {name: outputs[name] for name in self.names}
        return Answer(outputs, self._margins(len(pictures), leg, dtype) if told else {})

    def _margins(self, pictures: int, leg: int, dtype: type) -> dict[str, Array]:
        values = self.values(CANDIDATES, leg, dtype)
        first, *carried = self.columns
        names = {first: "boxes", "labels": "labels", "scores": "scores"}
        names |= {name: "carried" for name in carried if self.padded}
        margins = {
            f"candidate_{called}": np.concatenate([values[name]] * pictures) for name, called in names.items()
        }
        count = len(CANDIDATES)
        if self.padded or self.batched:
            margins["candidate_pictures"] = np.repeat(np.arange(pictures), count)
        return {**margins, "candidate_ids": np.arange(pictures * count)}


def _padded(rows: Array) -> Array:
    return np.concatenate((rows, np.zeros((PLACES - len(rows), *rows.shape[1:]), rows.dtype)))


KINDS = {
    "one-picture": Kind("detection", {"boxes": straight}),
    "batch": Kind("detection", {"boxes": straight}, batched=True),
    "padded": Kind("detection", {"boxes": straight}, padded=True),
    "oriented": Kind("oriented_detection", {"boxes": turned}, batched=True),
    "oriented-padded": Kind("oriented_detection", {"boxes": turned}, padded=True),
    "keypoints": Kind(
        "keypoints", {"boxes": straight, "keypoints": points}, padded=True, more={"point_threshold": 0.5}
    ),
    "masks": Kind("instance_segmentation", {"boxes": straight, "masks": masks}, more={"mask_threshold": 0.5}),
    "prototypes": Kind(
        "instance_segmentation",
        {"boxes": straight, "coefficients": coefficients},
        padded=True,
        more={"mask_threshold": 0.5, "stride": 4},
        shared={"prototypes": prototypes},
    ),
}


def rows_of(kind: Kind, found: Sequence[Row], *, told: bool) -> Outcome:
    """What is said of all rows of a file that returns ``found`` for the last picture."""
    scene = [SCENE] * (2 if kind.padded or kind.batched else 1)
    tally = kind.tally()
    oracle, reference = (kind.answer(scene, leg, told=told) for leg in (0, 1))
    tally.add(CASE, oracle, reference, kind.answer([*scene[:-1], found], 2))
    assert not tally.misshapen
    assert tally.all_rows is not None
    return outcome_of(tally.all_rows, FLOAT_FLOOR, [CASE.name])


@pytest.mark.parametrize("told", [True, False], ids=["checkpoint", "another-file"])
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("found", "verbs"),
    [
        pytest.param(SCENE, [], id="healthy"),
        pytest.param(SCENE[::-1], [], id="another-order"),
        pytest.param((*SCENE, DROPPED), ["extra"], id="below-the-threshold"),
        pytest.param((*SCENE, FAINT), ["extra"], id="below-all-candidates"),
        pytest.param((*SCENE, SCENE[1]), ["extra"], id="a-row-twice"),
        pytest.param((*SCENE, *SCENE), ["extra"] * 3, id="all-rows-twice"),
        pytest.param(SCENE[1:], ["missing"], id="a-row-fewer"),
        pytest.param((*SCENE[1:], DROPPED), ["missing", "extra"], id="a-row-for-another"),
        pytest.param((), ["missing"] * 3, id="no-rows"),
    ],
)
def test_each_row_is_matched_or_a_defect(
    name: str, found: Sequence[Row], verbs: Sequence[str], *, told: bool
) -> None:
    kind = KINDS[name]
    outcome = rows_of(kind, found, told=told)
    defects = [one.finding.what.partition(":")[0] for one in outcome.defects]
    assert (sorted(defects), outcome.ties) == (sorted(verbs), ())
    before = len(SCENE) * (kind.padded or kind.batched)
    assert outcome.matched + defects.count("extra") == before + len(found)
    assert outcome.matched + defects.count("missing") == before + len(SCENE)


ORDERED = [name for name, kind in KINDS.items() if kind.padded or kind.batched]
"""The layouts that onnxproof writes. The rows of one picture are torchvision's."""

NEARLY = Row(3, 0.8)
"""As good as another row of the scene, but for float error."""


def told_order(kind: Kind, pictures: Sequence[Sequence[Row]], found: Answer) -> list[str] | None:
    """What is said of the order of a file's rows."""
    tally = kind.tally()
    oracle, reference = (kind.answer(pictures, leg, told=True) for leg in (0, 1))
    tally.add(CASE, oracle, reference, found)
    wrong = disorder_under(tally, FLOAT_FLOOR, [CASE.name])
    return None if wrong is None else [one.reason for one in wrong]


@pytest.mark.parametrize("name", ORDERED)
def test_the_best_row_comes_first(name: str) -> None:
    kind, scene = KINDS[name], [SCENE, SCENE]
    assert told_order(kind, scene, kind.answer(scene, 2)) == []
    wrong = told_order(kind, scene, kind.answer([SCENE, SCENE[::-1]], 2))
    assert wrong is not None
    assert [one.partition(", error bound")[0] for one in wrong] == [
        "a row that scores 0.900000274 comes behind one of its picture that scores 0.699999869"
    ]


@pytest.mark.parametrize("name", ORDERED)
def test_scores_within_the_error_bound_may_swap(name: str) -> None:
    kind, scene = KINDS[name], [(SCENE[1], NEARLY), (SCENE[1], NEARLY)]
    swapped = [(NEARLY, SCENE[1]), (NEARLY, SCENE[1])]
    for found in (scene, swapped):
        assert told_order(kind, scene, kind.answer(found, 2)) == []


@pytest.mark.parametrize("name", ["batch", "oriented"])
def test_the_first_picture_comes_first(name: str) -> None:
    kind, scene = KINDS[name], [SCENE, SCENE]
    found = kind.answer(scene, 2)
    turned_round = {key: np.concatenate((of[3:], of[:3])) for key, of in found.outputs.items()}
    assert told_order(kind, scene, Answer(turned_round, {})) == [
        "a row of picture 0 comes behind one of picture 1"
    ]


@pytest.mark.parametrize("name", ORDERED)
def test_a_file_may_keep_the_order_of_the_one_that_it_is_compared_with(name: str) -> None:
    """``compare`` holds B against A, which may have been written by somebody else."""
    kind, given, falling = KINDS[name], [SCENE, (SCENE[1], SCENE[0], SCENE[2])], [SCENE, SCENE]
    assert told_order(kind, given, kind.answer(given, 2)) == []
    assert told_order(kind, given, kind.answer(falling, 2)) == []
    wrong = told_order(kind, given, kind.answer([SCENE, SCENE[::-1]], 2))
    assert [one.partition(",")[0] for one in wrong or ()] == [
        "a row that scores 0.900000274 comes behind one of its picture that scores 0.699999869"
    ]


def test_the_order_of_torchvisions_own_rows_is_not_judged() -> None:
    kind = KINDS["one-picture"]
    assert told_order(kind, [SCENE], kind.answer([SCENE[::-1]], 2)) is None
