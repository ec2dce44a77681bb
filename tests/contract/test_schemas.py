"""The JSON Schemas in the package: they are what the types make, and what is written fits them."""

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import schemas as made
from documents import mistakes

import onnxproof
from onnxproof.errors import JobError, RequestError
from onnxproof.job import Job, load_job
from onnxproof.runtime.manifest import Manifest
from onnxproof.schemas import SCHEMAS, schema_text

ROOT = Path(__file__).parents[2]
FORMATS = Path(__file__).parent / "formats"
CONFIGS = sorted((ROOT / "configs").glob("*.toml"))


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_package_has_what_the_types_make(name: str) -> None:
    told = made.told(made.documents()[name])
    assert schema_text(name) == told, "run python benchmarks/schemas.py"


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one_of_its_draft(name: str) -> None:
    document = onnxproof.schema(name)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(document)


def test_an_unknown_schema_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        RequestError,
        match=r"no schema parities; there are: job, manifest, parity, made-from, many, kit, outputs.*parity",
    ):
        onnxproof.schema("parities")


@pytest.mark.parametrize("file", CONFIGS, ids=[file.stem for file in CONFIGS])
def test_the_configs_fit_as_they_are_and_as_a_bundle_holds_them(file: Path) -> None:
    assert mistakes("job", tomllib.loads(file.read_text(encoding="utf-8"))) == []
    assert mistakes("job", load_job(file).to_json()) == []


LEAST: dict[str, Any] = {"name": "digits", "model": {"family": "yolox", "checkpoint": "weights"}}


@pytest.mark.parametrize(
    "more",
    [
        {"dims": {"batch": "1..8", "height": 64, "width": "64..640 step 32"}},
        {
            "inputs": {
                "image": "float32[batch, 3, 8, 8] in 0..1",
                "levels": ["float32[n, 4]", {"a": "bool[1]"}],
            }
        },
        {"inputs": {"mask": "int64[batch, time] as mask"}},
        {"arguments": {"use_cache": False, "sizes": [1, 2.5, "three"]}},
        {"predict": {"padding": 114}},
        {"predict": {"padding": [1, 2, 3], "resize": "letterbox", "size": 640}},
        {"validate": {"score_threshold": 0, "optimization": ["all", "none"], "images": "*.png"}},
        {"wrapper": {"mean": [0, 0.5, 1], "std": [1, 1, 1]}},
    ],
    ids=lambda more: "-".join(more),
)
def test_what_the_schema_takes_the_job_takes(more: dict[str, Any]) -> None:
    assert mistakes("job", {**LEAST, **more}) == []
    Job.from_document({**LEAST, **more}, folder=Path(), source="test")


@pytest.mark.parametrize(
    "more",
    [
        {"exporter": {}},
        {"export": {"opsett": 18}},
        {"export": {"opset": "18"}},
        {"export": {"opset": 99}},
        {"export": {"exporter": "dynamo"}},
        {"dims": {"batch": "1-8"}},
        {"dims": {"batch": 0}},
        {"inputs": {"image": "float32"}},
        {"predict": {"padding": [1, 2]}},
        {"validate": {"optimization": []}},
        {"validate": {"score_threshold": 1.5}},
        {"wrapper": {"mean": [0.5, 0.5]}},
        {"name": "a folder/in it"},
        {"folder": "."},
    ],
    ids=lambda more: json.dumps(more),
)
def test_what_the_schema_refuses_the_job_refuses(more: dict[str, Any]) -> None:
    assert mistakes("job", {**LEAST, **more})
    with pytest.raises((JobError, RequestError)):
        Job.from_document({**LEAST, **more}, folder=Path(), source="test")


@pytest.mark.parametrize(
    "document",
    [
        {"extends": "base.toml"},
        {"extends": "base.toml", "model": {"variant": "tiny"}},
        {**LEAST, "matrix": {"export": {"opset": [18, 20]}, "dims": [{"height": 64}, {"height": 128}]}},
        {**LEAST, "matrix": {"model": {"kwargs": {"width": [1, 2]}}}},
        {**LEAST, "matrix": {"export.opset": [18, 20], "validate": {"providers": [["A"], ["B", "A"]]}}},
        {"name": "digits", "matrix": {"model": [{"family": "yolox"}], "exclude": [{"model": {}}]}},
    ],
    ids=["extends", "part-of-a-table", "tables", "arguments", "dotted", "the-family-too"],
)
def test_a_file_may_take_from_another_and_have_a_matrix(document: dict[str, Any]) -> None:
    assert mistakes("job", document) == []


@pytest.mark.parametrize(
    "document",
    [
        {"name": "digits"},
        {"name": "digits", "model": {"checkpoint": "weights"}},
        {**LEAST, "extends": 1},
        {**LEAST, "matrix": {}},
        {**LEAST, "matrix": {"export": {"opset": 18}}},
        {**LEAST, "matrix": {"export": {"opset": ["18"]}}},
        {**LEAST, "matrix": {"export": {"opsets": [18]}}},
        {**LEAST, "matrix": {"name": ["a", "b"]}},
        {**LEAST, "matrix": {"export.opset": []}},
    ],
    ids=json.dumps,
)
def test_a_wrong_matrix_is_refused(document: dict[str, Any]) -> None:
    assert mistakes("job", document)


def test_every_key_of_a_job_is_described() -> None:
    document = onnxproof.schema("job")
    for key, entry in document["properties"].items():
        table = document["$defs"].get(entry.get("$ref", "").rpartition("/")[2], {"properties": {key: entry}})
        for name, one in table["properties"].items():
            assert key == "matrix" or one["description"], f"{key}.{name}"
    assert document["properties"]["matrix"]["description"]


def test_the_demos_bundle_fits(demo_bundle: Path) -> None:
    for name in ("manifest", "parity"):
        assert mistakes(name, json.loads((demo_bundle / f"{name}.json").read_text(encoding="utf-8"))) == []


def test_a_key_that_the_schema_lacks_is_noticed(demo_bundle: Path) -> None:
    document = json.loads((demo_bundle / "parity.json").read_text(encoding="utf-8"))
    document["checks"][0]["unheard_of"] = 1
    assert mistakes("parity", document)


def test_the_last_formats_are_read() -> None:
    parity = json.loads((FORMATS / "parity-1.json").read_text(encoding="utf-8"))
    assert parity["format"] == 1
    verdict = onnxproof.Verdict.from_json(parity)
    assert (verdict.status, verdict.passed) == ("pass", True)
    assert [check.name for check in verdict.checks] == [check["name"] for check in parity["checks"]]
    assert mistakes("parity", verdict.to_json()) == []
    written = json.loads((FORMATS / "manifest-1.json").read_text(encoding="utf-8"))
    manifest = Manifest.from_json(written)
    assert manifest.contract.name == "digits-yolox"
    assert mistakes("manifest", written) == []
    assert mistakes("manifest", json.loads(json.dumps(manifest.to_json()))) == []
