"""A part of the benchmark of many architectures: twelve that differ, exported with a verdict as it does.
``python benchmarks/zoo.py`` measures all of them, and the peers."""

from pathlib import Path

import pytest

import onnxproof

CHOSEN = (
    ("of_timm", "test_byobnet"),
    ("of_transformers_tasks", "llama-cached"),
    ("of_transformers_tasks", "t5"),
    ("of_transformers_tasks", "swin2sr"),
    ("of_torch", "gru"),
    ("of_torch", "tcn"),
    ("of_torch", "mixture-of-experts"),
)
"""Reparametrised blocks, a decoder with its cache, an encoder with a decoder, super-
resolution, a recurrence, dilated convolutions, routed tokens."""

LIKE_OTHERS = (
    ("of_torchvision_tasks", "r3d"),
    ("of_torchvision_tasks", "lraspp"),
    ("of_transformers_tasks", "clip"),
    ("of_transformers_tasks", "hubert"),
    ("of_ultralytics", "yolo26n"),
)
"""A video, whose convolution test_capture.py exports alone; masks, text beside pictures, sound, boxes, which
are exported as checkpoints in test_segmenters.py, test_hugging_face.py and test_ultralytics.py."""

ROWS = [
    *(pytest.param(*row, id=row[1]) for row in CHOSEN),
    *(pytest.param(*row, id=row[1], marks=pytest.mark.long) for row in LIKE_OTHERS),
]


@pytest.mark.slow
@pytest.mark.parametrize(("module", "name"), ROWS)
def test_an_architecture_of_the_zoo_is_exported_and_proved(module: str, name: str, tmp_path: Path) -> None:
    # Each loads a library of networks, and tests are collected without them.
    from any_model.contestants import OVERRIDES
    from architectures.catalogue import architectures_of

    architecture = architectures_of(module)[name]
    bundle = onnxproof.export_module(
        architecture.network(),
        inputs=architecture.inputs,
        dims=architecture.dims,
        out=tmp_path / name,
        set=OVERRIDES,
    )
    assert bundle.verdict is not None
    assert {link.link: link.status for link in bundle.verdict.links}["function"] == "pass"
    assert bundle.verdict.passed, [check for check in bundle.verdict.checks if check.status == "fail"]


@pytest.mark.slow
def test_the_zoo_is_large_and_its_names_are_unique() -> None:
    from architectures.catalogue import architectures_of, everything

    names = everything()
    libraries = {one.library for module in set(names.values()) for one in architectures_of(module).values()}
    assert len(names) >= 120
    assert len(libraries) >= 10


def test_a_row_of_the_zoo_keeps_what_it_says(tmp_path: Path) -> None:
    from any_model.row import Row

    row = Row(
        "gru", "torch", "dynamo", "wrong", "function", "runs: no", rungs=("a", "b"), seconds=1.5, cases=3
    )
    row.write(tmp_path / "row.json")
    assert Row.read(tmp_path / "row.json") == row


def test_a_reason_is_told_on_one_line_without_a_machines_folders() -> None:
    from any_model.words import plain

    said = "\x1b[31mbroken\x1b[0m\n at /home/a/site-packages/timm/models/x.py:3, in /tmp/b3/7.onnx"
    assert plain(said) == "broken at timm/models/x.py:3, in 7.onnx"
    assert plain("one two three", 9) == "one two …"


def test_the_page_tells_who_is_right_and_why_not() -> None:
    pytest.importorskip("matplotlib")
    from any_model.report import page
    from any_model.row import Row

    rows = [
        Row(
            "a",
            "x",
            "onnxproof",
            "right",
            exporter="torch.export",
            simplifier="onnxsim",
            seconds=6.0,
            peak_mib=9,
        ),
        Row("a", "x", "dynamo", "right", seconds=8.0, peak_mib=7.0),
        Row("b", "y", "onnxproof", "none", reason="refused | here", seconds=2.0),
        Row("b", "y", "dynamo", "wrong", "runtime", "ratio", seconds=8.0),
        Row("c", "y", "onnxproof", "wrong", "function", "no", seconds=2.0),
        Row("c", "y", "dynamo", "right", seconds=4.0),
    ]
    text = page(rows, len(rows))
    assert (
        "1 of 3 architectures of 2 libraries end in a file with a passing verdict (33.3%; aimed at: 97%)"
        in text
    )
    assert "A peer writes a right file where we do not: c (dynamo)" in text
    assert "takes 0.75 of the time of torch.onnx.export, dynamo without one (median of 1" in text
    assert "| y | b | none |  |  | 2.0 |  | wrong (runtime) | 8.0 |  |" in text
    assert "| onnxproof export | b | none | refused \\| here |" in text
