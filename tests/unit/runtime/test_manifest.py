"""The manifest: what a bundle and a model file say of themselves, and what is refused as no manifest."""

import json
from collections.abc import Container, Iterator
from dataclasses import asdict, replace
from typing import Any

import pytest
from contracts import changed
from contracts import manifest as made

from onnxproof.contract import ClassInfo, Preprocess
from onnxproof.errors import ModelFileError
from onnxproof.runtime.manifest import FORMAT, Frozen, Manifest, read_manifest_text
from onnxproof.tensors import Dim, Field, TensorSpec

HEIGHT, WIDTH = Dim("height", 64, 640, 32), Dim("width", 64, 640, 32)
MANIFEST = made(
    name="mine",
    task="detection",
    family="yolox",
    inputs=(TensorSpec("input", "float32", ("batch", 3, "height", "width"), (0, 1)),),
    outputs=(TensorSpec("output", "float32", ("batch", "anchors", 6)),),
    dims=(Dim("batch", 1, 8), HEIGHT, WIDTH),
    preprocess=Preprocess("input", "NCHW", "float32", 255, "crop", 256, HEIGHT, WIDTH),
    classes=(ClassInfo("zero", (255, 0, 7)), ClassInfo("Größe", (0, 0, 0))),
    postprocess={
        "decode": "packed",
        "outputs": ["output"],
        "score_threshold": 0.45,
        "iou_threshold": 0.45,
        "class_agnostic": False,
    },
    opset=20,
    exporter="torch.export",
    simplify="onnxsim",
    checkpoint_sha256="c0ffee",
    frozen=(Frozen("nets/model.py:3 (in forward)", "reads False", harmless=True),),
    model_sha256="beef",
    versions={"torch": "2.9"},
    job={"name": "mine", "model": {"checkpoint": "../secret/path.pth"}},
    fields=(
        Field("output", "box", "px", 0, 4),
        Field("output", "label", "class", 4, 5, kind="label", ranks="score"),
        Field("output", "score", "probability", 5),
    ),
)
BARE = changed(
    MANIFEST,
    preprocess=None,
    classes=(),
    checkpoint_sha256=None,
    frozen=None,
    model_sha256=None,
    job=None,
    fields=(),
)


@pytest.mark.parametrize(
    "manifest",
    [MANIFEST, BARE, replace(BARE, family="signals", family_package="acme-signals 1.0")],
    ids=["everything", "nothing-optional", "another-packages-family"],
)
def test_survives_a_file(manifest: Manifest) -> None:
    assert Manifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest


def test_only_another_packages_family_names_its_package() -> None:
    """Earlier versions of onnxproof refuse a key that they do not know."""
    assert "family_package" not in MANIFEST.to_json()
    named = replace(MANIFEST, family_package="acme-signals 1.0")
    assert json.loads(named.to_metadata())["family_package"] == "acme-signals 1.0"


def test_metadata_leaves_out_its_own_checksum_and_the_paths() -> None:
    text = MANIFEST.to_metadata()
    assert set(MANIFEST.to_json()) - set(json.loads(text)) == {"model_sha256", "job"}
    assert "beef" not in text
    assert "secret" not in text


def test_metadata_reads_back_as_the_manifest_without_them() -> None:
    read = Manifest.from_json(json.loads(MANIFEST.to_metadata()))
    assert read == replace(MANIFEST, model_sha256=None, job=None)


def test_metadata_does_not_depend_on_the_order_of_keys() -> None:
    backwards = changed(MANIFEST, postprocess=dict(reversed([*MANIFEST.contract.reading.to_json().items()])))
    assert backwards.to_metadata() == MANIFEST.to_metadata()


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in MANIFEST.to_json().items() if name != key}


@pytest.mark.parametrize(
    "key", sorted(set(MANIFEST.to_json()) - {"model_sha256", "job", "format", "fields", "frozen"})
)
def test_missing_key_is_refused_by_name(key: str) -> None:
    with pytest.raises(ModelFileError, match=f"'{key}'"):
        Manifest.from_json(without(key))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(
            {"format": FORMAT + 1}, [f"format is {FORMAT + 1}, expected {FORMAT}"], id="a-newer-format"
        ),
        pytest.param(
            {"format": str(FORMAT)},
            [f'format is "{FORMAT}", expected {FORMAT}'],
            id="a-format-of-another-type",
        ),
        pytest.param({"inputs": 3}, ["not one that onnxproof wrote"], id="no-list-of-inputs"),
        pytest.param({"dims": [{"name": "n"}]}, ["not one that onnxproof wrote"], id="half-a-dim"),
        pytest.param({"preprocess": {}}, ["not one that onnxproof wrote"], id="an-empty-preprocess"),
        pytest.param({"postprocess": "packed"}, ["not one that onnxproof wrote"], id="text-for-a-table"),
        pytest.param({"frozen": [{"place": "n"}]}, ["not one that onnxproof wrote"], id="half-of-what-froze"),
        pytest.param({"fields": [{"name": "n"}]}, ["not one that onnxproof wrote"], id="half-a-field"),
    ],
)
def test_another_form_is_refused(change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ModelFileError) as caught:
        Manifest.from_json({**MANIFEST.to_json(), **change})
    for word in (*words, "export"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        pytest.param({}, "format is null, expected 1", id="empty"),
        pytest.param([], "is no JSON object", id="a-list"),
        pytest.param("manifest", "is no JSON object", id="a-string"),
        pytest.param(None, "is no JSON object", id="null"),
    ],
)
def test_any_other_json_is_refused(document: Any, says: str) -> None:
    with pytest.raises(ModelFileError, match=says):
        Manifest.from_json(document)


def test_a_file_of_before_fields_were_written_has_one_an_output() -> None:
    labels = TensorSpec("labels", "int64", ("batch",))
    document = changed(MANIFEST, outputs=(*MANIFEST.contract.outputs, labels)).to_json()
    del document["fields"]
    assert Manifest.from_json(document).contract.fields == (
        Field("output", "output", ""),
        Field("labels", "labels", "", kind="label"),
    )


ANCHORS = {
    "head": "fcos",
    "score_threshold": 0.2,
    "iou_threshold": 0.6,
    "top_candidates": 1000,
    "max_detections": 100,
    "reductions": [8, 16],
    "base_anchors": [[[-4, -4, 4, 4]], [[-8.5, -8.5, 8.5, 8.5]]],
    "distances_in_sizes": True,
}
DEFAULTS = {
    "head": "ssd",
    "score_threshold": 0.01,
    "iou_threshold": 0.45,
    "top_candidates": 400,
    "max_detections": 200,
    "grids": [[4, 4], [2, 2]],
    "box_sizes": [[[0.1, 0.2]], [[0.5, 0.5], [0.7, 0.3]]],
    "steps": [8, 16.5],
    "delta_weights": [10.0, 10.0, 5.0, 5.0],
    "largest_log_scale": 4.135,
}
TWO_STAGE = {
    "score_threshold": 0.05,
    "iou_threshold": 0.5,
    "max_detections": 100,
    "proposals": {
        "iou_threshold": 0.7,
        "top_candidates": 1000,
        "max_detections": 1000,
        "levels": [2, 5, 4, 224],
    },
}
CUTS = {"score_threshold": 0.45, "iou_threshold": 0.45, "class_agnostic": False}
ROWS = (
    TensorSpec("boxes", "float32", ("rows", 4)),
    TensorSpec("labels", "int64", ("rows",)),
    TensorSpec("scores", "float32", ("rows",)),
)
MASKS = TensorSpec("masks", "float32", ("rows", 1, "height", "width"))
PICTURES = TensorSpec("pictures", "int64", ("rows",))
NAMES = [spec.name for spec in ROWS]
HEADS = (
    TensorSpec("logits", "float32", ("batch", "anchors", 2)),
    TensorSpec("deltas", "float32", ("batch", "anchors", 4)),
    TensorSpec("centerness", "float32", ("batch", "anchors", 1)),
)
SPLIT = (
    TensorSpec("boxes", "float32", ("batch", "n", 4)),
    TensorSpec("scores", "float32", ("batch", "n", 2)),
)
PADDED = (
    TensorSpec("boxes", "float32", ("batch", 9, 4)),
    TensorSpec("labels", "int64", ("batch", 9)),
    TensorSpec("scores", "float32", ("batch", 9)),
    TensorSpec("counts", "int64", ("batch",)),
)
SCORES = TensorSpec("logits", "float32", ("batch", 2))
PIXELS = TensorSpec("logits", "float32", ("batch", 2, "height", "width"))
MAPS = (
    TensorSpec("mask", "int64", ("batch", "height", "width")),
    TensorSpec("confidence", "float32", ("batch", "height", "width")),
)
STEPS = (TensorSpec("logits", "float32", ("batch", "time", 2)), TensorSpec("lengths", "int64", ("batch",)))
MASKED = TensorSpec("tokens", "int64", ("batch", "time"), (0, 9))


def reading(task: str, specs: tuple[TensorSpec, ...], **postprocess: Any) -> Manifest:
    fields = tuple(Field(spec.name, spec.name, "") for spec in specs)
    return changed(MANIFEST, task=task, outputs=specs, fields=fields, postprocess=postprocess)


REAL = {
    "packed": MANIFEST,
    "split": reading("detection", SPLIT, decode="split", outputs=["boxes", "scores"], **CUTS),
    "cells": reading(
        "detection",
        (TensorSpec("raw", "float32", ("batch", "cells", 7)),),
        decode="none",
        outputs=["raw"],
        strides=[8, 16, 32],
        **CUTS,
    ),
    "fcos": reading(
        "detection",
        HEADS,
        decode="none",
        outputs=[spec.name for spec in HEADS],
        class_agnostic=False,
        first_label=0,
        **ANCHORS,
    ),
    "ssd": reading(
        "detection",
        HEADS[:2],
        decode="none",
        outputs=["logits", "deltas"],
        class_agnostic=False,
        first_label=1,
        **DEFAULTS,
    ),
    "rows": reading(
        "detection", ROWS, decode="nms", graph=ANCHORS, score_threshold=0.45, outputs=NAMES, first_label=0
    ),
    "rows-of-a-batch": reading(
        "detection",
        (*ROWS, PICTURES),
        decode="nms",
        graph={"score_threshold": 0.45, "iou_threshold": 0.45, "class_agnostic": True, "max_detections": 9},
        score_threshold=0.45,
        outputs=[*NAMES, "pictures"],
        first_label=0,
        batch="batch",
    ),
    "oriented-rows-of-a-batch": reading(
        "oriented_detection",
        (TensorSpec("boxes", "float32", ("rows", 5)), *ROWS[1:], PICTURES),
        decode="nms",
        graph={"score_threshold": 0.45, "iou_threshold": 0.45},
        score_threshold=0.45,
        outputs=[*NAMES, "pictures"],
        first_label=0,
        batch="batch",
    ),
    "padded-rows": reading(
        "detection",
        PADDED,
        decode="nms-padded",
        graph={"score_threshold": 0.45, "iou_threshold": 0.45, "max_detections": 9},
        score_threshold=0.45,
        outputs=[*NAMES, "counts"],
        first_label=0,
        batch="batch",
    ),
    "padded-rows-with-points": reading(
        "keypoints",
        (*PADDED[:3], TensorSpec("keypoints", "float32", ("batch", 9, 5, 3)), PADDED[3]),
        decode="nms-padded",
        graph={"score_threshold": 0.45, "iou_threshold": 0.45, "max_detections": 9},
        score_threshold=0.45,
        point_threshold=0.5,
        outputs=[*NAMES, "keypoints", "counts"],
        first_label=0,
        batch="batch",
    ),
    "padded-rows-with-masks": reading(
        "instance_segmentation",
        (
            *PADDED[:3],
            TensorSpec("coefficients", "float32", ("batch", 9, 32)),
            TensorSpec("prototypes", "float32", ("batch", 32, "h", "w")),
            PADDED[3],
        ),
        decode="nms-padded",
        graph={"score_threshold": 0.45, "iou_threshold": 0.45, "max_detections": 9},
        score_threshold=0.45,
        stride=4,
        mask_threshold=0.5,
        outputs=[*NAMES, "coefficients", "prototypes", "counts"],
        first_label=0,
        batch="batch",
    ),
    "masks": reading(
        "instance_segmentation",
        (*ROWS, MASKS),
        decode="nms",
        mask_threshold=0.5,
        mask_side=28,
        graph=TWO_STAGE,
        score_threshold=0.45,
        outputs=[*NAMES, "masks"],
        first_label=1,
    ),
    "classification": reading("classification", (SCORES,), decode="none", outputs=["logits"], top_k=2),
    "multilabel": reading(
        "multilabel", (SCORES,), decode="probabilities", outputs=["logits"], score_threshold=0.5
    ),
    "class-maps": reading("segmentation", MAPS, decode="mask", outputs=["mask", "confidence"]),
    "pixel-logits": reading("segmentation", (PIXELS,), decode="none", outputs=["logits"]),
    "sequence": changed(
        reading("sequence", STEPS, decode="none", outputs=["logits", "lengths"], blank=1),
        inputs=(MASKED, TensorSpec("mask", "int64", ("batch", "time"), mask=True)),
        preprocess=None,
    ),
    "raw": reading("raw", (SCORES,)),
}
"""A manifest for each layout, as the families write them."""

WRONG: tuple[Any, ...] = (
    *(None, True, 3, -1, 0, 10**30, 10**400, 0.5, float("nan"), float("inf"), -1e300, "", "x", "\ud800"),
    *([], {}, [[]], [None], {"x": 1}, [[[[1]]]], "9" * 5000),
)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where every value of a document stands, the tables and lists among them."""
    yield at
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*at, key))


def copied(document: dict[str, Any], at: tuple[Any, ...]) -> tuple[Any, Any]:
    """A copy of the document, and the table or list in it that holds the value at a place."""
    copy = inner = json.loads(json.dumps(document))
    for key in at[:-1]:
        inner = inner[key]
    return copy, inner


def mutations(document: dict[str, Any], keys: Container[str]) -> Iterator[Any]:
    """The document with one value under ``keys`` replaced, left out, doubled or given a sibling."""
    for at in places(document):
        if not at or at[0] not in keys or (at[0] == "job" and len(at) > 1):
            continue
        for wrong in WRONG:
            copy, inner = copied(document, at)
            inner[at[-1]] = wrong
            yield copy
        copy, inner = copied(document, at)
        if isinstance(at[-1], int):
            inner.insert(at[-1], inner[at[-1]])
        else:
            inner[f"{at[-1]}_too"] = inner[at[-1]]
        yield copy
        copy, inner = copied(document, at)
        del inner[at[-1]]
        yield copy


@pytest.mark.parametrize("name", REAL)
def test_a_real_manifest_survives_a_file(name: str) -> None:
    manifest = REAL[name]
    assert Manifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest


@pytest.mark.parametrize("name", REAL)
def test_every_mutation_is_read_or_refused_by_name(name: str) -> None:
    document = REAL[name].to_json()
    refusals = []
    # What differs between layouts; the other keys are alike in all.
    keys = document if name == "packed" else ("task", "outputs", "postprocess")
    for mutated in mutations(document, keys):
        try:
            manifest = Manifest.from_json(mutated)
        except ModelFileError as error:
            refusals.append(str(error))
        else:
            assert Manifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest
            manifest.to_metadata().encode()
    assert len(refusals) > len(WRONG) * len(keys)
    for refusal in refusals:
        assert refusal.isprintable()
        assert any(key in refusal for key in document), refusal


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"opset": True}, ["opset is true", "a whole number"], id="bool-as-int"),
        pytest.param({"name": 3}, ["name is 3", "a text"], id="a-number-for-a-name"),
        pytest.param({"name": "../mine"}, ['name is "../mine"', "letters"], id="a-name-that-leads-elsewhere"),
        pytest.param({"name": "mine\n"}, ["name is", "letters"], id="a-name-that-ends-the-line"),
        pytest.param({"task": "dreams"}, ["task is dreams", "detection"], id="a-task-that-is-not-there"),
        pytest.param({"classes": [{"name": "a", "color": [0, 0]}]}, ["classes[0].color"], id="half-a-colour"),
        pytest.param(
            {"classes": [{"name": "a", "color": [0, 0, 256]}]}, ["classes[0].color[2] is 256"], id="a-colour"
        ),
        pytest.param(
            {"dims": [{"name": "n", "min": 1, "max": 10**12, "multiple": 1}]},
            ["dims[0].max is 1000000000000"],
            id="a-huge-dim",
        ),
        pytest.param({"dims": [asdict(HEIGHT)] * 2}, ["height is declared twice"], id="a-dim-twice"),
        pytest.param(
            {"dims": [{**asdict(HEIGHT), "max": 32}]}, ["dims[0]", "minimum is above"], id="a-dim-backwards"
        ),
        pytest.param(
            {"fields": [asdict(Field("elsewhere", "box", "px"))]},
            ["fields[0].output is elsewhere", "one of the outputs: output"],
            id="a-field-of-no-output",
        ),
        pytest.param(
            {"fields": [asdict(Field("output", "box", "px", 4, 9))]}, ["fields[0]"], id="a-field-beyond"
        ),
        pytest.param(
            {"inputs": [MANIFEST.contract.inputs[0].to_json()] * 2}, ["inputs: a name"], id="an-input-twice"
        ),
        pytest.param(
            {"inputs": [{**MANIFEST.contract.inputs[0].to_json(), "shape": [1] * 100}]},
            ["inputs[0]", "100 axes"],
            id="a-hundred-axes",
        ),
        pytest.param(
            {"postprocess": {**MANIFEST.contract.reading.to_json(), "score_threshold": float("nan")}},
            ["postprocess.score_threshold is NaN", "a number from 0 to 1"],
            id="nan-for-a-threshold",
        ),
        pytest.param(
            {"postprocess": {**MANIFEST.contract.reading.to_json(), "outputs": ["elsewhere"]}},
            ["postprocess.outputs names elsewhere"],
            id="an-output-that-is-not-there",
        ),
        pytest.param(
            {"postprocess": {**MANIFEST.contract.reading.to_json(), "strides": "8"}},
            ['postprocess.strides is "8"', "a list"],
            id="text-for-a-list",
        ),
        pytest.param(
            {"outputs": [TensorSpec("output", "float32", ("batch", "n", 4)).to_json()], "fields": []},
            ["the output output is float32[batch, n, 4]", "float[any, any, 6]"],
            id="an-output-of-another-form",
        ),
    ],
)
def test_what_is_refused_is_told(change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ModelFileError) as caught:
        Manifest.from_json({**MANIFEST.to_json(), **change})
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[" * 100_000, id="nested"),
        pytest.param('{"format":' + '{"a":' * 50_000 + "1" + "}" * 50_001, id="nested-tables"),
        pytest.param('{"format": ' + "9" * 10_000 + "}", id="too-many-digits"),
        pytest.param("{", id="cut-off"),
        pytest.param("", id="empty"),
    ],
)
def test_text_that_is_no_document_is_refused(text: str) -> None:
    with pytest.raises(ModelFileError, match=r"^mine\.onnx: "):
        read_manifest_text(text, "mine.onnx")


def test_a_job_that_is_nested_deeply_is_refused() -> None:
    nested: dict[str, Any] = {}
    for _ in range(10_000):
        nested = {"a": nested}
    with pytest.raises(ModelFileError, match="nested too deeply"):
        Manifest.from_json({**MANIFEST.to_json(), "job": {"model": nested}})


@pytest.mark.parametrize("section", ["model", "export", "validate", "inputs"])
def test_a_section_of_the_job_that_is_no_table_is_refused(section: str) -> None:
    with pytest.raises(ModelFileError, match=rf"job\.{section}"):
        Manifest.from_json({**MANIFEST.to_json(), "job": {"name": "mine", section: "x"}})


def test_a_jobs_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(ModelFileError, match=r"job\.name"):
        Manifest.from_json({**MANIFEST.to_json(), "job": {"name": {}}})
