"""Job files and overrides that cannot be met: refused before capture, in one line, with the way out."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Refuse = Callable[..., None]


def test_a_job_file_that_is_not_there(refuse_export: Refuse, tmp_path: Path) -> None:
    job = tmp_path / "no.toml"
    refuse_export(job=job, says=(str(job), "does not exist", ".toml file"))


def test_a_folder_in_place_of_a_job_file(refuse_export: Refuse, tmp_path: Path) -> None:
    refuse_export(job=tmp_path, says=(str(tmp_path), "is a folder", ".toml file"))


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        pytest.param(b"name = small", ("is no TOML", "line 1"), id="a-string-without-quotes"),
        pytest.param(
            b"\x89PNG\r\n\x1a\n\x00", ("is no text in UTF-8", "give a .toml file"), id="a-picture-by-mistake"
        ),
        pytest.param(b"[model]\nfamily = 'yolox'\n", ("name", "missing"), id="a-job-without-a-name"),
        pytest.param(b"name = 'a'\nname = 'b'\n[model]\n", ("is no TOML", "overwrite"), id="a-key-twice"),
        pytest.param(
            b"name = 'a'\nmodel = 'yolox'\n", ('model = "yolox"', "table"), id="a-value-for-a-table"
        ),
        pytest.param(
            b"name = '../a'\n[model]\nfamily = 'yolox'\n",
            ('name = "../a"', "letters"),
            id="a-name-that-leaves-the-target-folder",
        ),
    ],
)
def test_a_job_file_that_is_no_job(
    refuse_export: Refuse, tmp_path: Path, content: bytes, parts: tuple[str, ...]
) -> None:
    job = tmp_path / "job.toml"
    job.write_bytes(content)
    refuse_export(job=job, says=(str(job), *parts))


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        pytest.param(
            "export.opsett=20",
            ("unknown key export.opsett = 20", "allowed here", 'did you mean "opset"'),
            id="an-unknown-key-close-to-a-known-one",
        ),
        pytest.param("exports.opset=20", ('did you mean "export"',), id="an-unknown-table"),
        pytest.param(
            'export.opset="20"',
            ('export.opset = "20"', "expected a whole number"),
            id="a-string-for-a-number",
        ),
        pytest.param(
            "export.opset=true", ("export.opset = true", "expected a whole number"), id="a-bool-for-a-number"
        ),
        pytest.param("export.opset=99", ("export.opset = 99", "25"), id="an-opset-that-is-not-out"),
        pytest.param(
            "wrapper.scale_input=1",
            ("wrapper.scale_input = 1", "expected true or false"),
            id="a-number-for-a-bool",
        ),
        pytest.param(
            "wrapper.decode=boxes",
            ('wrapper.decode = "boxes"', "there are: packed, split, none"),
            id="no-such-layout",
        ),
        pytest.param(
            "wrapper.mean=[0.5, 0.5]", ("wrapper.mean = [0.5, 0.5]", "3 values"), id="a-mean-of-two-channels"
        ),
        pytest.param("wrapper.mean=0.5", ("wrapper.mean = 0.5", "an array"), id="a-mean-that-is-one-number"),
        pytest.param(
            "validate.score_threshold=2",
            ("validate.score_threshold = 2", "expected 1.0 or less"),
            id="above-1",
        ),
        pytest.param(
            "validate.iou_threshold=nan", ("validate.iou_threshold = nan",), id="a-threshold-of-nan"
        ),
        pytest.param("validate.threads=0", ("validate.threads = 0", "expected 1 or more"), id="no-thread"),
        pytest.param(
            "validate.providers=[]",
            ("validate.providers = []", "expected at least 1 value"),
            id="no-provider",
        ),
        pytest.param(
            "validate.effort=heroic", ('validate.effort = "heroic"', '"quick", "normal"'), id="no-such-effort"
        ),
        pytest.param("predict.size=0", ("predict.size = 0", "expected 1 or more"), id="pictures-of-no-size"),
        pytest.param(
            "model.family=yolo", ('model.family = "yolo"', "there are: ", "yolox"), id="no-such-family"
        ),
        pytest.param(
            "model.variant=pico",
            ('model.variant = "pico"', "there are: ", "nano", "tiny"),
            id="no-such-variant",
        ),
        pytest.param(
            'validate.providers=["MoonExecutionProvider"]',
            ('"MoonExecutionProvider" is not in this ONNX Runtime', "there are: ", "CPUExecutionProvider"),
            id="no-such-provider",
        ),
        pytest.param(
            'dims.height="640..64 step 32"', ("height", "640..64", 'write "64..640'), id="a-range-upside-down"
        ),
        pytest.param(
            'dims.width="64..650 step 32"',
            ("650 is not a multiple of the step 32", "640 or 672"),
            id="off-step",
        ),
        pytest.param(
            'dims.width="64..640 step 24"', ("64 is not a multiple of the step 24", "48 or 72"), id="off-both"
        ),
        pytest.param(
            'dims.width="72..720 step 24"',
            ('dims.width = "72..720 step 24"', "stride, 32", '"96..704 step 32"'),
            id="a-step-that-the-strides-do-not-divide",
        ),
        pytest.param(
            'dims.width="64..640"', ("stride, 32", '"64..640 step 32"'), id="a-range-without-its-step"
        ),
        pytest.param(
            "dims.width=100", ('dims.width = "100"', "stride, 32", '"128"'), id="a-fixed-size-off-the-strides"
        ),
        pytest.param("dims.width=0", ("width = 0", "start at 1"), id="a-size-of-nothing"),
        pytest.param('dims.width="wide"', ('width = "wide"', '"64..640 step 32"'), id="no-range-at-all"),
        pytest.param("dims.width=64.5", ("width", "64.5", '"64..640 step 32"'), id="half-a-pixel"),
        pytest.param(
            'dims.depth="1..8"', ("dims.depth", "batch, height, width"), id="a-dim-that-the-model-lacks"
        ),
        pytest.param(
            "wrapper.input_dtype=uint8",
            ("wrapper.input_dtype", "wrapper.scale_input = true"),
            id="bytes-that-nothing-scales",
        ),
    ],
)
def test_a_value_that_cannot_be(refuse_export: Refuse, override: str, parts: tuple[str, ...]) -> None:
    refuse_export("--set", override, says=parts)


def test_an_opset_older_than_the_exporter_writes(refuse_export: Refuse) -> None:
    wanted = ("--set", "export.exporter=torch.export", "--set", "export.opset=11")
    refuse_export(*wanted, says=("export.opset = 11", "18 and later", '"torchscript"'))


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        pytest.param("opset", ("--set opset", "section.key=value"), id="no-equals-sign"),
        pytest.param("=18", ("--set =18", "section.key=value"), id="no-key"),
        pytest.param("export.=18", ("section.key=value",), id="no-key-after-the-dot"),
        pytest.param("name.first=a", ("name is a value, not a section",), id="a-key-below-a-value"),
        pytest.param("export=18", ("export = 18", "table"), id="a-value-for-a-section"),
        pytest.param("export.opset=", ('export.opset = ""', "expected a whole number"), id="no-value"),
    ],
)
def test_an_override_that_is_malformed(refuse_export: Refuse, override: str, parts: tuple[str, ...]) -> None:
    refuse_export("--set", override, says=parts)


def test_a_family_whose_package_is_not_installed(
    refuse_export: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cjm_yolox_pytorch.model", None)
    monkeypatch.delitem(sys.modules, "onnxproof.wrappers.families.yolox", raising=False)
    refuse_export(
        says=("yolox needs the package cjm_yolox_pytorch: pip install 'onnxproof[cjm_yolox_pytorch]'",)
    )


def test_every_mistake_in_a_job_is_named_at_once(refuse_export: Refuse) -> None:
    refuse_export(
        *("--set", "export.opset=1", "--set", "validate.seed=x"),
        says=("export.opset = 1", 'validate.seed = "x"'),
        lines=2,
    )
