"""Pictures that the graph itself fits to the network: pixels, the way back of boxes, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import onnxproof
from onnxproof.errors import JobError, PictureError
from onnxproof.job import Job
from onnxproof.runtime import load
from onnxproof.runtime.preprocess import as_network_sees, prepare
from onnxproof.steps.planning import plan_of
from onnxproof.validate.verify import validate_files
from onnxproof.wrappers.in_graph import build_with_resize
from onnxproof.wrappers.wrap import wrap_for_job

CONFIGS = Path(__file__).parents[2] / "configs"
SLOW = pytest.mark.slow
SIDE = 96

ROUNDED = 1.2
"""How far a pixel may be from the library's, of 255: the libraries round once or twice, and bicubic weights
stretch the first rounding."""


class Pixels(nn.Module):
    """What the network sees."""

    def forward(self, image: Tensor) -> Tensor:
        return image * 1


class Corners(nn.Module):
    """A box from corner to corner of what the network sees, and one inside it, whatever it shows."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        boxes = torch.tensor([[0.0, 0.0, SIDE, SIDE], [20.0, 30.0, 40.0, 60.0]])
        shift = 0 * image.mean(dim=(1, 2, 3))[:, None, None]
        scores = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
        return {"boxes": boxes + shift, "scores": scores + shift}


def pictures(count: int) -> list[NDArray[np.uint8]]:
    """Noise of odd sizes: the hardest of pictures for a resampling."""
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (*random.integers(33, 300, 2), 3)).astype(np.uint8) for _ in range(count)]


def job_of(task: str, *, decode: str = "auto", **tables: dict[str, Any]) -> Job:
    document = {
        "name": "fitted",
        "model": {"family": "module", "task": task},
        "inputs": {"image": f"float32[batch, 3, {SIDE}, {SIDE}] in 0..1"},
        "dims": {"batch": "1..3", "picture_height": "32..300", "picture_width": "32..300"},
        "wrapper": {"resize": "in-graph", "decode": decode, **tables.get("wrapper", {})},
        "predict": {"input": "image", "size": SIDE, **tables.get("predict", {})},
        "validate": {"effort": "quick", "threads": 1},
    }
    return Job.from_document(document, folder=Path(), source="the test")


def exported(job: Job, module: nn.Module, out: Path, *overrides: str) -> Path:
    document = job.to_json()
    onnxproof.export_module(
        module,
        inputs=document["inputs"],
        dims=document["dims"],
        out=out,
        task=str(job.model.task),
        picture="image",
        set=(
            *(
                f"{table}.{key}={json.dumps(value)}"
                for table in ("wrapper", "predict")
                for key, value in document[table].items()
            ),
            *overrides,
        ),
        validate=False,
    )
    return out


@pytest.mark.parametrize(
    ("predict", "exporter"),
    [
        pytest.param(
            {
                "resize": "letterbox",
                "filter": "opencv-linear",
                "place": "top-left",
                "padding": [10, 20, 30],
                "channels": "bgr",
            },
            "torch.export",
            id="letterbox",
        ),
        pytest.param(
            {"resize": "letterbox", "filter": "torch-bilinear", "enlarge": False, "rounding": "down"},
            "torchscript",
            id="letterbox-down",
            marks=SLOW,
        ),
        pytest.param(
            {"resize": "crop", "filter": "pillow-bicubic", "size": 120, "half": "even"},
            "torch.export",
            id="crop",
        ),
        pytest.param(
            {"resize": "stretch", "filter": "pillow-bilinear"}, "torchscript", id="stretch", marks=SLOW
        ),
        pytest.param(
            {"resize": "short-side", "filter": "torch-bilinear", "size": 64, "place": "top-left"},
            "torch.export",
            id="short-side",
        ),
        pytest.param(
            {
                "resize": "short-side",
                "filter": "pillow-bilinear",
                "size": 80,
                "longest": 90,
                "rounding": "down",
                "step": 16,
                "step_rounding": "up",
            },
            "torchscript",
            id="short-side-in-steps",
            marks=SLOW,
        ),
        pytest.param(
            {"resize": "stretch-crop", "filter": "torch-bicubic", "size": 110},
            "torchscript",
            id="stretch-crop",
            marks=SLOW,
        ),
    ],
)
def test_the_network_sees_the_pixels_that_a_host_would_give_it(
    predict: dict[str, Any], exporter: str, tmp_path: Path
) -> None:
    job = job_of("raw", predict=predict, wrapper={"channels_last": predict["resize"] == "crop"})
    predictor = load(exported(job, Pixels(), tmp_path / "fitted", f"export.exporter={exporter}"))
    spec = predictor.contract.preprocess
    assert spec is not None
    for picture in pictures(12):
        (seen,) = predictor.run(picture).values()
        wanted, _ = prepare(picture, as_network_sees(spec))
        if spec.layout == "NHWC":
            wanted = wanted.transpose(0, 3, 1, 2)
        if predict.get("channels") == "bgr":
            wanted = wanted[:, ::-1]
        assert seen.shape == wanted.shape
        assert np.abs(255 * seen - wanted).max() <= ROUNDED


@pytest.mark.parametrize(
    ("decode", "way_back"), [("nms", "sides"), pytest.param("split", "ratio", marks=SLOW)]
)
def test_boxes_return_to_the_pixels_of_the_picture(decode: str, way_back: str, tmp_path: Path) -> None:
    fit = {"resize": "letterbox", "filter": "opencv-linear", "way_back": way_back}
    job = job_of("detection", decode=decode, predict=fit)
    predictor = load(exported(job, Corners(), tmp_path / "fitted"))
    spec = predictor.contract.preprocess
    assert spec is not None
    assert (spec.boxes, spec.network) == ("picture", (SIDE, SIDE))
    for picture in pictures(4):
        _, transform = prepare(picture, as_network_sees(spec))
        wanted = transform.restore(np.array([[0, 0, SIDE, SIDE], [20, 30, 40, 60]], np.float32))
        found = predictor.predict(picture).decisions
        np.testing.assert_allclose(found.boxes, wanted, atol=1e-3)
        assert found.labels.tolist() == [0, 1]
    with pytest.raises(PictureError, match=r"a picture of 500x40 pixels; the file was proved for a width in"):
        predictor.predict(np.zeros((40, 500, 3), np.uint8))


@pytest.mark.parametrize("fault", ["", pytest.param("asymmetric", marks=SLOW)])
def test_a_graph_that_fits_otherwise_fails(fault: str, tmp_path: Path) -> None:
    job = job_of("raw", predict={"resize": "letterbox", "filter": "opencv-linear"})
    file = exported(job, Pixels(), tmp_path / "fitted") / "model.onnx"
    if fault:
        proto = onnx.load(file)
        (node,) = (node for node in proto.graph.node if node.op_type == "Resize")
        way = next(one for one in node.attribute if one.name == "coordinate_transformation_mode")
        way.s = fault.encode()
        onnx.save(proto, file)
    model = build_with_resize(job, lambda asked: wrap_for_job(asked, Pixels()))
    (verdict,) = validate_files(model, (file,), plan_of(job, model), opset=20)
    assert verdict.status == ("fail" if fault else "pass")


@pytest.mark.slow
@pytest.mark.parametrize("decode", ["none", "nms", pytest.param("packed", marks=pytest.mark.long)])
def test_yolox_decides_alike_with_and_without(decode: str, tmp_path: Path) -> None:
    sizes = ("dims.batch=1..2", "dims.height=256", "dims.width=256", "validate.effort=quick")
    fit = ("predict.resize=letterbox", "predict.filter=opencv-linear", f"wrapper.decode={decode}", *sizes)
    host, own = (
        onnxproof.export(
            CONFIGS / "digits-yolox.toml",
            out=tmp_path / where,
            set=(*fit, *more),
            validate=where == "own",
        )
        for where, more in (
            ("host", ()),
            ("own", ("wrapper.resize=in-graph", "dims.picture_height=32..640", "dims.picture_width=32..640")),
        )
    )
    assert own.verdict is not None
    assert own.verdict.status == "pass"
    predictors = load(host.path), load(own.path)
    for picture in sorted((CONFIGS.parent / "examples/digits/images").glob("*.png"))[:3]:
        wanted, found = (predictor.predict(picture).decisions for predictor in predictors)
        assert wanted.labels.tolist() == found.labels.tolist()
        # The host rounds its pixels to whole numbers.
        np.testing.assert_allclose(wanted.boxes, found.boxes, atol=1)


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        pytest.param(
            {"predict": {"filter": "pillow-lanczos"}},
            r'predict.filter = "pillow-lanczos", which ONNX.s Resize does not have; there are: opencv',
            id="a-filter",
        ),
        pytest.param({"predict": {"resize": "keep"}}, r"the graph can do: crop, letterbox", id="a-fit"),
        pytest.param(
            {"predict": {"resize": "short-side", "size": 100, "filter": "torch-bilinear"}},
            r"predict.size = 100 is the short side of every picture, and the network sees 96x96, .* "
            r"make predict.size 96",
            id="a-short-side-longer-than-the-network",
        ),
        pytest.param(
            {"predict": {"resize": "crop", "size": 64}},
            r"predict.size = 64 is the short side before the crop to 96x96",
            id="a-crop-larger-than-the-picture",
        ),
    ],
)
def test_what_the_graph_cannot_state_is_refused(tables: dict[str, Any], told: str) -> None:
    with pytest.raises(JobError, match=told):
        build_with_resize(job_of("raw", **tables), lambda asked: wrap_for_job(asked, Pixels()))


def test_a_network_of_many_sizes_is_refused() -> None:
    with pytest.raises(JobError, match=r'the network sees pictures of one size, got dims.height = "64..640'):
        onnxproof.export(
            CONFIGS / "digits-yolox.toml",
            set=("wrapper.resize=in-graph", "predict.filter=opencv-linear"),
        )
