"""Labelled pictures: what a COCO JSON must be, what its figures are, when their difference fails."""

import copy
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts import contract
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from onnxproof.contract import ClassInfo, Contract, Preprocess
from onnxproof.errors import JobError, PictureError, RequestError
from onnxproof.runtime.oriented import corners_of
from onnxproof.runtime.readings.boxes import Detections
from onnxproof.runtime.readings.masks import Instances, Patch
from onnxproof.runtime.readings.points import Poses
from onnxproof.runtime.tasks.classification import Ranking
from onnxproof.runtime.tasks.multilabel import Labels as Present
from onnxproof.runtime.tasks.segmentation import NOWHERE, Segments
from onnxproof.tensors import Dim, Field, TensorSpec
from onnxproof.validate.compare import Finding
from onnxproof.validate.dataset.figures import DatasetFigures, Figure
from onnxproof.validate.dataset.labels import Annotation, LabelledPicture, Labels, read_labels
from onnxproof.validate.dataset.metrics import (
    Accuracy,
    BoxPrecision,
    InstancePrecision,
    LabelPrecision,
    MeanIou,
    OrientedPrecision,
    PointPrecision,
    average_precision,
)
from onnxproof.validate.dataset.plan import plan_labels
from onnxproof.validate.dataset.pycoco import mask_of
from onnxproof.validate.dataset.run import (
    SCORE_THRESHOLD,
    lowered_trial,
    measure_dataset,
    named_pictures,
)
from onnxproof.validate.facts import Decisions, Located
from onnxproof.validate.judge import judge_dataset
from onnxproof.validate.legs.leg import Answer, Arrays, Ports, Truth
from onnxproof.validate.policy import DATASET_DIFFERENCE, FLOAT_FLOOR
from onnxproof.validate.survey.gathered import Gathered
from onnxproof.validate.survey.labelled import labelled_figures
from onnxproof.validate.survey.measured import About, decoded, encoded, measure_again, measure_labels
from onnxproof.validate.trial import Trial

Array = NDArray[Any]
NAN = float("nan")
CLASSES = (ClassInfo("cat", (255, 0, 0)), ClassInfo("dog", (0, 255, 0)))
HEIGHT, WIDTH = 40, 60


def document() -> dict[str, Any]:
    return {
        "images": [
            {"id": 7, "file_name": "one.png", "width": WIDTH, "height": HEIGHT},
            {"id": 9, "file_name": "two.png", "width": WIDTH, "height": HEIGHT},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [5, 5, 20, 20], "iscrowd": 0},
            {"id": 2, "image_id": 9, "category_id": 4, "bbox": [10, 0, 30, 30], "area": 700},
        ],
        "categories": [{"id": 3, "name": "dog"}, {"id": 4, "name": "cat"}, {"id": 5, "name": "newt"}],
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(("one.png", "two.png")):
        Image.new("RGB", (WIDTH, HEIGHT), (100 * number,) * 3).save(tmp_path / name)
    return tmp_path


def read(folder: Path, content: Any, folders: Sequence[Path] = (), needs: Sequence[str] = ()) -> Labels:
    (folder / "labels.json").write_text(json.dumps(content), encoding="utf-8")
    return read_labels("labels.json", folder / "labels.json", folders, CLASSES, needs)


class TestReading:
    def test_categories_are_the_models_classes_by_name(self, folder: Path) -> None:
        labels = read(folder, document())
        assert labels.classes == ("cat", "dog")
        assert labels.count == 2
        one, two = labels.pictures
        assert (one.file, set(one.labels), set(two.labels)) == (folder / "one.png", {1}, {0})
        assert one.annotations == (Annotation(1, (5, 5, 20, 20), None, None, crowd=False),)
        assert two.annotations[0].area == 700

    def test_pictures_lie_beside_the_json_or_where_the_jobs_do(self, folder: Path) -> None:
        elsewhere = folder / "annotations"
        elsewhere.mkdir()
        labels = read(elsewhere, document(), folders=(folder,))
        assert [picture.file.parent for picture in labels.pictures] == [folder, folder]

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            pytest.param(lambda d: d["images"], ("is a list", "results", "ground truth"), id="results"),
            pytest.param(lambda d: 3, ("no COCO JSON", "no list images"), id="a-number"),
            pytest.param(
                lambda d: {"images": d["images"], "annotations": []},
                ("no list categories", "images, annotations, categories"),
                id="no-categories",
            ),
            pytest.param(
                lambda d: {**d, "annotations": []}, ("labels nothing on its 2 pictures",), id="no-label"
            ),
            pytest.param(
                lambda d: {**d, "images": [{"id": "7"}]}, ("images has id = '7'", "whole number"), id="id"
            ),
            pytest.param(
                lambda d: {**d, "images": ["one.png"]}, ("no COCO JSON", "images holds"), id="names"
            ),
            pytest.param(
                lambda d: {**d, "images": d["images"][:1]}, ("image 9", "does not list"), id="no-such-image"
            ),
            pytest.param(
                lambda d: {**d, "categories": d["categories"][:1]},
                ("category 4", "does not list"),
                id="no-such-category",
            ),
            pytest.param(
                lambda d: {**d, "categories": [{"id": 3, "name": "dogs"}, {"id": 4, "name": "cat"}]},
                ('category "dogs" is annotated', 'is it "dog"?', "cat, dog", "Rename"),
                id="a-category-that-is-nearly-a-class",
            ),
            pytest.param(
                lambda d: {**d, "annotations": [{**d["annotations"][0], "bbox": [1, 2, 3]}]},
                ("annotation 1 has bbox = [1, 2, 3]", "[x, y, w, h]"),
                id="half-a-box",
            ),
            pytest.param(
                lambda d: {**d, "annotations": [{**d["annotations"][0], "bbox": [1, 2, 3, NAN]}]},
                ("annotation 1 has bbox",),
                id="a-box-of-nan",
            ),
        ],
    )
    def test_what_is_wrong_is_said(
        self, folder: Path, change: Callable[[Any], Any], words: Sequence[str]
    ) -> None:
        with pytest.raises(JobError) as caught:
            read(folder, change(document()))
        for word in ('validate.annotations = "labels.json"', *words):
            assert word in str(caught.value)

    def test_a_missing_file_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(JobError, match=r"does not exist: give the path of a COCO JSON"):
            read_labels("no.json", tmp_path / "no.json", (), CLASSES)

    def test_what_is_no_json_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "no.json").write_text("{", encoding="utf-8")
        with pytest.raises(JobError, match=r"cannot be read as JSON"):
            read_labels("no.json", tmp_path / "no.json", (), CLASSES)

    def test_a_missing_picture_is_said(self, folder: Path) -> None:
        (folder / "two.png").unlink()
        with pytest.raises(PictureError, match=r"two\.png is missing, looked for in .*validate\.images"):
            read(folder, document())

    @pytest.mark.parametrize("need", ["bbox", "segmentation"])
    def test_what_the_task_is_measured_by_must_be_labelled(self, folder: Path, need: str) -> None:
        content = document()
        content["annotations"][1].pop("bbox")
        number = 2 if need == "bbox" else 1
        with pytest.raises(JobError, match=rf'annotation {number} has no "{need}"'):
            read(folder, content, needs=(need,))

    def test_classes_without_names_match_nothing(self, folder: Path) -> None:
        (folder / "labels.json").write_text(json.dumps(document()), encoding="utf-8")
        with pytest.raises(JobError, match=r"classes have no names"):
            read_labels("labels.json", folder / "labels.json", (), ())


def picture(*annotations: Annotation, height: int = HEIGHT, width: int = WIDTH) -> LabelledPicture:
    return LabelledPicture(Path("any.png"), width, height, annotations)


def boxed(label: int, x: float, y: float, w: float, h: float, mask: Any = None) -> Annotation:
    return Annotation(label, (x, y, w, h), mask, None, crowd=False)


def named(label: int) -> Annotation:
    return Annotation(label, None, None, None, crowd=False)


def detections(*rows: tuple[int, float, Sequence[float]]) -> Detections:
    return Detections(
        np.array([box for _, _, box in rows], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in rows], np.float32),
        np.array([label for label, _, _ in rows], np.int64),
        np.arange(len(rows)),
    )


class TestBoxes:
    LABELS = Labels((), ("cat", "dog"))

    def figures(self, *pairs: tuple[LabelledPicture, Detections | None]) -> dict[str, float]:
        measure = BoxPrecision(self.LABELS)
        for each in pairs:
            measure.add(*each)
        return measure.figures(range(len(pairs)))

    def test_the_truth_itself_is_perfect(self) -> None:
        truth = picture(boxed(0, 5, 5, 20, 20), boxed(1, 30, 10, 10, 25))
        found = detections((0, 0.9, (5, 5, 25, 25)), (1, 0.3, (30, 10, 40, 35)))
        assert self.figures((truth, found)) == pytest.approx({"mAP": 1, "mAP at IoU 0.5": 1})

    def test_an_iou_counts_at_the_thresholds_that_it_reaches(self) -> None:
        """An IoU of 0.81: right at 0.5, 0.55, … 0.8, seven of ten."""
        truth = picture(boxed(0, 0, 0, 20, 20))
        found = detections((0, 0.9, (0, 0, 20, 16.2)))
        assert self.figures((truth, found)) == pytest.approx({"mAP": 0.7, "mAP at IoU 0.5": 1})

    def test_a_wrong_class_a_miss_and_no_answer_count(self) -> None:
        truth = picture(boxed(0, 0, 0, 20, 20))
        for found in (detections((1, 0.9, (0, 0, 20, 20))), detections(), None):
            assert self.figures((truth, found)) == {"mAP": 0, "mAP at IoU 0.5": 0}

    def test_a_false_alarm_ahead_halves_the_precision(self) -> None:
        truth, nothing = picture(boxed(0, 0, 0, 20, 20)), picture()
        found = detections((0, 0.5, (0, 0, 20, 20)))
        alarm = detections((0, 0.9, (30, 0, 40, 20)))
        assert self.figures((truth, found), (nothing, alarm))["mAP"] == pytest.approx(0.5)
        late = replace(alarm, scores=np.array([0.1], np.float32))
        assert self.figures((truth, found), (nothing, late))["mAP"] == pytest.approx(1)

    def test_a_crowd_is_no_miss(self) -> None:
        crowd = replace(boxed(0, 30, 0, 20, 20), crowd=True)
        truth = picture(boxed(0, 0, 0, 20, 20), crowd)
        assert self.figures((truth, detections((0, 0.9, (0, 0, 20, 20)))))["mAP"] == pytest.approx(1)

    def test_pictures_may_be_left_out(self) -> None:
        measure = BoxPrecision(self.LABELS)
        truth = picture(boxed(0, 0, 0, 20, 20))
        measure.add(truth, detections((0, 0.9, (0, 0, 20, 20))))
        measure.add(truth, detections())
        assert measure.figures([0])["mAP"] == pytest.approx(1)
        assert measure.figures([1])["mAP"] == 0
        assert measure.figures([0, 1])["mAP"] == pytest.approx(0.5, abs=0.01)
        assert np.isnan(measure.figures([])["mAP"])

    def test_nothing_is_printed(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.figures((picture(boxed(0, 0, 0, 9, 9)), detections((0, 0.9, (0, 0, 9, 9)))))
        assert capsys.readouterr() == ("", "")


def test_masks_are_measured_by_their_pixels() -> None:
    polygon = [[5, 5, 25, 5, 25, 25, 5, 25]]
    truth = picture(boxed(0, 5, 5, 20, 20, mask=polygon))
    whole, half = np.ones((20, 20), bool), np.ones((20, 10), bool)
    figures = []
    for pixels in (whole, half):
        found = Instances(detections((0, 0.9, (5, 5, 25, 25))), (Patch(5, 5, pixels),), 0.5, HEIGHT, WIDTH)
        measure = InstancePrecision(Labels((), ("cat", "dog")))
        measure.add(truth, found)
        figures.append(measure.figures([0]))
    assert figures[0] == pytest.approx(
        {"mask mAP": 1, "mask mAP at IoU 0.5": 1, "box mAP": 1, "box mAP at IoU 0.5": 1}
    )
    # Half of the pixels: an IoU of 0.5, which is right at 0.5 alone.
    assert figures[1] == pytest.approx(
        {"mask mAP": 0.1, "mask mAP at IoU 0.5": 1, "box mAP": 1, "box mAP at IoU 0.5": 1}
    )


@pytest.mark.parametrize(
    "code",
    [
        pytest.param([[1, 0, 3, 0, 3, 2, 1, 2]], id="polygons"),
        pytest.param({"size": [3, 4], "counts": [3, 2, 1, 2, 4]}, id="run-lengths"),
        pytest.param({"size": [3, 4], "counts": "32124"}, id="compressed"),
    ],
)
def test_masks_are_read_in_each_of_cocos_forms(code: Any) -> None:
    """Two by two pixels of three rows and four columns; a run-length code goes down the columns."""
    if code == {"size": [3, 4], "counts": "32124"}:
        from pycocotools.mask import frPyObjects

        packed = frPyObjects({"size": [3, 4], "counts": [3, 2, 1, 2, 4]}, 3, 4)
        code = {"size": [3, 4], "counts": packed["counts"].decode("ascii")}
    mask = mask_of(code, picture(height=3, width=4))
    assert mask.astype(int).tolist() == [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("moved", "figure"), [pytest.param(0.0, 1.0, id="right"), pytest.param(30.0, 0.0, id="elsewhere")]
)
@pytest.mark.parametrize("count", [17, 4])
def test_keypoints_are_measured_by_their_similarity(count: int, moved: float, figure: float) -> None:
    """COCO's joints have spreads of their own; any other number of points has the same for each."""
    places = np.random.default_rng(count).uniform(10, 30, (count, 2))
    triples = np.concatenate((places, np.full((count, 1), 2.0)), axis=1)
    label = replace(boxed(0, 5, 5, 30, 30), points=tuple(triples.reshape(-1).tolist()))
    found = detections((0, 0.9, (5, 5, 35, 35)))
    points = triples[None] + (moved, 0, 0)
    measure = PointPrecision(Labels((picture(label),), ("cat", "dog")))
    measure.add(picture(label), Poses(found, points.astype(np.float32), 0.5))
    figures = measure.figures([0])
    assert figures["OKS mAP"] == pytest.approx(figure, abs=0.01)
    assert figures["box mAP"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("angle", "figure"), [pytest.param(0.4, 1.0, id="right"), pytest.param(-0.4, 0.0, id="other-way")]
)
@pytest.mark.parametrize("turns", [0, 1, 2])
def test_oriented_boxes_are_measured_by_their_polygons(angle: float, figure: float, turns: int) -> None:
    sides = (8.0, 30.0) if turns % 2 else (30.0, 8.0)
    box = np.array([[20, 20, *sides, angle + turns * np.pi / 2]], np.float32)
    corners = corners_of(np.array([[20, 20, 30, 8, 0.4]]))[0]
    label = Annotation(0, None, [corners.reshape(-1).tolist()], None, crowd=False)
    measure = OrientedPrecision(Labels((picture(label),), ("cat", "dog")))
    measure.add(picture(label), Detections(box, np.array([0.9]), np.array([0]), np.array([0])))
    assert measure.figures([0])["mAP"] == pytest.approx(figure, abs=0.01)


def test_an_oriented_label_has_four_corners() -> None:
    label = Annotation(0, None, [[0, 0, 9, 0, 9, 9]], None, crowd=False)
    measure = OrientedPrecision(Labels((picture(label),), ("cat", "dog")))
    measure.add(picture(label), None)
    with pytest.raises(RequestError, match="no polygon of four corners"):
        measure.figures([0])


def ranking(*labels: int) -> Ranking:
    return Ranking(np.array(labels), np.zeros(3))


def test_accuracy_counts_labelled_pictures_alone() -> None:
    measure = Accuracy(Labels((), ("cat", "dog", "newt")))
    for shown, found in (((0,), ranking(0, 1)), ((1,), ranking(0, 1)), ((), ranking(2)), ((2,), None)):
        measure.add(picture(*map(named, shown)), found)
    assert measure.figures(range(4)) == {"accuracy, top 1": pytest.approx(1 / 3)}
    assert measure.figures([0]) == {"accuracy, top 1": 1}
    assert np.isnan(measure.figures([2])["accuracy, top 1"])


@examples(60, derandomize=True)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=1, max_size=12).filter(
        lambda rows: any(is_there for is_there, _ in rows)
    )
)
def test_average_precision_is_that_of_the_definition(rows: list[tuple[bool, int]]) -> None:
    """Threshold by threshold, in Python's own sums."""
    total = sum(is_there for is_there, _ in rows)
    wanted, before = 0.0, 0.0
    for threshold in sorted({score for _, score in rows}, reverse=True):
        above = [is_there for is_there, score in rows if score >= threshold]
        recall = sum(above) / total
        wanted += (recall - before) * sum(above) / len(above)
        before = recall
    truth, scores = np.array([row[0] for row in rows]), np.array([row[1] for row in rows], np.float64)
    assert average_precision(truth, scores) == pytest.approx(wanted)


def test_labels_are_averaged_over_those_that_are_there() -> None:
    measure = LabelPrecision(Labels((), ("cat", "dog", "newt")))
    for shown, scores, labels in (
        ((0,), (0.9, 0.1, 0.8), (0, 2)),
        ((0, 1), (0.8, 0.7, 0.1), (0, 1)),
        ((), (0.1, 0.9, 0.1), (1,)),
    ):
        decided = Present(np.array(labels), np.array(scores))
        measure.add(picture(*map(named, shown)), decided)
    # Cats first and second of three, the one dog second: 1 and 1/2; there is no newt.
    assert measure.figures(range(3)) == {"mAP": pytest.approx(0.75), "exact sets": pytest.approx(1 / 3)}
    measure.add(picture(named(0)), None)
    assert measure.figures(range(4))["exact sets"] == 0.25


@pytest.mark.parametrize(
    ("names", "iou", "accuracy"),
    [
        pytest.param(("background", "cat"), (4 / 6 + 4 / 6) / 2, 8 / 10, id="with-a-background"),
        pytest.param(("dog", "cat"), 4 / 5, 4 / 5, id="without-one-only-labelled-pixels-count"),
    ],
)
def test_pixels_are_held_against_masks(names: tuple[str, ...], iou: float, accuracy: float) -> None:
    """Of 2 x 5 pixels, 5 are cat; the model is right on 4 of them, and takes one of the others for cat."""
    code = {"size": [2, 5], "counts": [0, 5, 5]}
    truth = picture(Annotation(1, None, code, None, crowd=False), height=2, width=5)
    decided = np.array([[1, 1, 0, 0, 1], [1, 1, 0, 0, 0]])
    measure = MeanIou(Labels((), names))
    measure.add(truth, Segments(decided, np.ones((2, 5)), None))
    found = measure.figures([0])
    if names[0] == "dog":
        # The class dog is nowhere in truth, and decided on one labelled pixel.
        assert found == {"mean IoU": pytest.approx((0 + iou) / 2), "pixel accuracy": pytest.approx(accuracy)}
    else:
        assert found == {"mean IoU": pytest.approx(iou), "pixel accuracy": pytest.approx(accuracy)}
    measure.add(truth, Segments(np.full((2, 5), NOWHERE), np.zeros((2, 5)), None))
    assert measure.figures([1])["pixel accuracy"] == 0


@dataclass
class Brightness:
    """A leg that tells by a picture's mean brightness whether it is a cat or a dog."""

    name: str = "torch-float32"
    bias: float = 0.0
    broken: bool = False
    ports: Ports = field(default_factory=lambda: Ports((), ()))

    def run(self, inputs: Arrays) -> Answer:
        if self.broken:
            raise ValueError("no memory")
        mean = inputs["input"].astype(np.float64).mean(axis=(1, 2, 3))
        logits = np.stack((mean - 0.25, 0.25 - mean), axis=1) + np.array([self.bias, 0])
        return Answer({"logits": logits}, {})


LAID_IN = Preprocess("input", "NCHW", "float32", 255, "crop", 8, Dim("height", 8, 8), Dim("width", 8, 8))


CONTRACT = contract(
    task="classification",
    inputs=(TensorSpec("input", "float32", (1, 3, "height", "width"), (0, 1)),),
    outputs=(TensorSpec("logits", "float64", (1, 2)),),
    dims=(Dim("height", 8, 8), Dim("width", 8, 8)),
    fields=(Field("logits", "logit", ""),),
    preprocess=LAID_IN,
    classes=CLASSES,
    postprocess={"decode": "none", "outputs": ["logits"], "top_k": 1},
)


def planned(folder: Path, content: Any, promised: Contract | None = None) -> Labels:
    (folder / "labels.json").write_text(json.dumps(content), encoding="utf-8")
    labels = plan_labels("labels.json", folder, (), promised or CONTRACT)
    assert labels is not None
    return labels


def measured(folder: Path, **candidate: Any) -> DatasetFigures:
    leg = Brightness("ort-cpu", **candidate)
    truth = Truth(Brightness("torch-float64"), Brightness())
    (found,) = measure_dataset(Trial(CONTRACT, truth, (leg,), ()), planned(folder, document()))
    return found


@pytest.mark.parametrize(
    "candidate", [{}, {"bias": 5.0}, {"broken": True}], ids=["equal", "biased", "broken"]
)
def test_chunks_of_labelled_pictures_give_the_same_figures(folder: Path, candidate: dict[str, Any]) -> None:
    """Each picture is a chunk; the second comes first."""
    whole, labels = measured(folder, **candidate), planned(folder, document())
    truth = Truth(Brightness("torch-float64"), Brightness())
    lowered = lowered_trial(Trial(CONTRACT, truth, (Brightness("ort-cpu", **candidate),), ()))
    about, named = About.of(lowered, {}, ""), named_pictures(labels)
    files = [encoded(measure_labels(lowered, about, [one], labels.classes)) for one in named]
    gathered = Gathered(lambda name: files[int(name)])
    measures: dict[int, Any] = {}
    for number in reversed(range(len(files))):
        chunk = decoded(files[number])
        measures[number], chunk.measures = chunk.measures, ()
        gathered.add(str(number), chunk)
    again = gathered.doubt(0, CONTRACT.fields, FLOAT_FLOOR)
    if again is not None:
        gathered.forget(again)
        some = [one for one in named if str(one) in again.cases]
        gathered.add_again(again, measure_again(lowered, about, some, 0, again.replicas))
    names = [one.name for one in named]
    (found,) = labelled_figures(gathered, measures, names, labels, FLOAT_FLOOR)
    assert repr(found) == repr(whole)


class TestRunning:
    """Picture one is black, two is lighter: a dog and a cat, as labelled."""

    def test_equal_legs_have_equal_figures(self, folder: Path) -> None:
        found = measured(folder)
        assert found.figures == (Figure("accuracy, top 1", 1.0, 1.0, 0.0),)
        assert (found.pictures, found.annotations, found.decisions.reference, found.untied) == (2, 2, 2, 2)
        decisions = found.decisions
        assert (decisions.matched, decisions.ties, decisions.defects) == (2, (), ())
        assert found.not_answered is None
        check = judge_dataset(found)
        assert (check.name, check.status, check.value, check.limit) == (
            "dataset",
            "pass",
            0,
            DATASET_DIFFERENCE,
        )
        assert "accuracy, top 1 1.0000 (PyTorch's 1.0000) on 2 labelled pictures" in check.reason

    def test_a_bias_that_makes_every_picture_a_cat_fails(self, folder: Path) -> None:
        found = measured(folder, bias=5.0)
        assert [figure.difference for figure in found.figures] == [-0.5]
        assert [located.case for located in found.decisions.defects] == ["one.png"]
        check = judge_dataset(found)
        assert (check.status, check.value) == ("fail", 0.5)
        assert "first in one.png: rank 1: class 1, now class 0" in check.reason

    def test_a_file_that_does_not_answer_fails(self, folder: Path) -> None:
        found = measured(folder, broken=True)
        assert found.figures[0].candidate == 0
        check = judge_dataset(found)
        assert check.status == "fail"
        assert "no answer, first on one.png: no memory" in check.reason

    def test_a_picture_of_another_size_than_labelled_is_said(self, folder: Path) -> None:
        Image.new("RGB", (WIDTH, HEIGHT + 1)).save(folder / "two.png")
        with pytest.raises(PictureError, match=r"two\.png is 60x41 pixels, and labelled for 60x40"):
            measured(folder)

    def test_pictures_of_one_name_stay_apart(self, folder: Path) -> None:
        content = document()
        for number, image in enumerate(content["images"]):
            (folder / str(number)).mkdir()
            name = image["file_name"]
            image["file_name"] = f"{number}/same.png"
            (folder / name).rename(folder / image["file_name"])
        (folder / "labels.json").write_text(json.dumps(content), encoding="utf-8")
        labels = planned(folder, content)
        leg = Brightness("ort-cpu", bias=5.0)
        trial = Trial(CONTRACT, Truth(Brightness(), Brightness()), (leg,), ())
        (found,) = measure_dataset(trial, labels)
        assert found.figures[0].reference == 1
        assert len(found.decisions.defects) == 1

    def test_nothing_asked_for_is_nothing_done(self, folder: Path) -> None:
        assert plan_labels(None, folder, (), CONTRACT) is None

    def test_a_task_that_pictures_are_not_labelled_for_is_refused(self, folder: Path) -> None:
        for task in ("raw", "sequence"):
            with pytest.raises(JobError, match=rf"the task {task} is not measured.*detection"):
                planned(folder, document(), replace(CONTRACT, task=task))

    def test_boxes_without_pycocotools_are_refused_with_the_way_out(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("pycocotools", "pycocotools.coco", "pycocotools.cocoeval", "pycocotools.mask"):
            monkeypatch.setitem(sys.modules, name, None)
        assert planned(folder, document()).count == 2, "classes need none"
        with pytest.raises(RequestError, match=r"pip install 'onnxproof\[coco\]'"):
            planned(folder, document(), replace(CONTRACT, task="detection"))

    def test_a_model_with_more_inputs_is_refused(self, folder: Path) -> None:
        query = TensorSpec("query", "float32", (1, 10))
        with pytest.raises(JobError, match=r"takes query besides a picture"):
            planned(folder, document(), replace(CONTRACT, inputs=(*CONTRACT.inputs, query)))


HEALTHY = DatasetFigures(
    leg="ort-cpu",
    pictures=10,
    annotations=30,
    untied=9,
    score_threshold=SCORE_THRESHOLD,
    figures=(Figure("mAP", 0.5, 0.52, 0.0005), Figure("mAP at IoU 0.5", 0.8, 0.8, 0.0)),
    decisions=Decisions(
        pictures=10,
        reference=40,
        matched=39,
        ties=(Located("a.png", 0, Finding("missing", "toss")),),
        defects=(),
    ),
    not_answered=None,
)


class TestJudging:
    def test_a_difference_that_ties_explain_passes(self) -> None:
        check = judge_dataset(HEALTHY)
        assert (check.status, check.value) == ("pass", 0.0005)

    @pytest.mark.parametrize(
        ("changes", "status"),
        [
            pytest.param({"figures": (Figure("mAP", 0.5, 0.5, 0.001),)}, "pass", id="at-the-limit"),
            pytest.param({"figures": (Figure("mAP", 0.5, 0.5, -0.0011),)}, "fail", id="beyond-the-limit"),
            pytest.param({"figures": (Figure("mAP", 0.5, 0.5, NAN),)}, "error", id="nothing-left-to-compare"),
            pytest.param(
                {"decisions": replace(HEALTHY.decisions, defects=HEALTHY.decisions.ties)},
                "fail",
                id="a-defect-without-a-difference",
            ),
            pytest.param({"not_answered": "a.png: no"}, "fail", id="no-answer"),
            pytest.param(
                {"decisions": replace(HEALTHY.decisions, reference=0, matched=0)},
                "error",
                id="nothing-decided-is-never-a-pass",
            ),
        ],
    )
    def test_status(self, changes: Mapping[str, Any], status: str) -> None:
        assert judge_dataset(replace(HEALTHY, **changes)).status == status

    def test_one_figure_that_is_no_number_is_not_hidden_by_another(self) -> None:
        figures = (Figure("mAP", 0.5, 0.5, 0.0), Figure("other", 0.5, NAN, NAN))
        for order in (figures, figures[::-1]):
            assert judge_dataset(replace(HEALTHY, figures=order)).status == "error"

    def test_the_document_has_every_number(self) -> None:
        written = json.loads(json.dumps(HEALTHY.to_json()))
        assert written["figures"][0] == {
            "name": "mAP",
            "reference": 0.5,
            "candidate": 0.52,
            "untied_difference": 0.0005,
            "difference": pytest.approx(0.02),
        }
        counts = {"pictures": 10, "reference": 40, "matched": 39, "ties": 1, "defects": 0}
        assert {key: written["decisions"][key] for key in counts} == counts
        assert DatasetFigures.from_json(written) == HEALTHY
        assert (written["pictures"], written["annotations"], written["score_threshold"]) == (10, 30, 0.01)


def test_reading_changes_nothing(folder: Path) -> None:
    content = document()
    before = copy.deepcopy(content)
    labels = read(folder, content)
    measure = BoxPrecision(labels)
    for each in labels.pictures:
        measure.add(each, detections((0, 0.9, (0, 0, 20, 20))))
    assert measure.figures([0, 1]) == measure.figures([0, 1])
    assert content == before
