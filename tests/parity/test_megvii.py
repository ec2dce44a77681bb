"""YOLOX checkpoints as Megvii saves them: by renaming they are the networks of cjm_yolox_pytorch."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cjm_yolox_pytorch.model import ConvModule
from torch import Tensor, nn

import onnxproof
from onnxproof.errors import JobError, RequestError
from onnxproof.export.checkpoint import load_checkpoint
from onnxproof.export.model import build_model
from onnxproof.finding.draft import draft
from onnxproof.job import Job
from onnxproof.validate.legs.pytorch import TorchLeg
from onnxproof.validate.sight.facts import Sight
from onnxproof.validate.sight.link import see
from onnxproof.wrappers import megvii
from onnxproof.wrappers.families.yolox import FAMILY, MEGVII_NANO, build_network
from onnxproof.wrappers.folder import read_norm_stats

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
PICTURES = sorted((DIGITS / "images").glob("*.png"))[:3]
STEM, NORM = "backbone.stem.conv.conv.weight", "backbone.stem.conv.bn.running_mean"
BOUNDS = {"box": 1e-3, "score": 5e-6}
"""About what the demo's verdict measures: pixels of the input, and probabilities."""

CLASSES = 4
LEVELS = range(3)


def blocks(variant: str, prefix: str, kernel: int) -> Iterator[str]:
    """The tensors of a convolution with its norm: one of 3 x 3 is two of them in the nano."""
    parts = ("dconv.", "pconv.") if variant == "nano" and kernel == 3 else ("",)
    for part in parts:
        yield f"{prefix}.{part}conv.weight"
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            yield f"{prefix}.{part}bn.{name}"


def layer(variant: str, prefix: str, depth: int) -> Iterator[str]:
    for name in ("conv1", "conv2", "conv3"):
        yield from blocks(variant, f"{prefix}.{name}", 1)
    for at in range(depth):
        yield from blocks(variant, f"{prefix}.m.{at}.conv1", 1)
        yield from blocks(variant, f"{prefix}.m.{at}.conv2", 3)


def names(variant: str, depth: int) -> Iterator[str]:
    """The names in a file of Megvii's, for a network with ``depth`` blocks in its first stage."""
    darknet = "backbone.backbone"
    yield from blocks("", f"{darknet}.stem.conv", 3)
    for stage, times in ((2, 1), (3, 3), (4, 3), (5, 1)):
        yield from blocks(variant, f"{darknet}.dark{stage}.0", 3)
        last = 1
        if stage == 5:
            last = 2
            for name in ("conv1", "conv2"):
                yield from blocks(variant, f"{darknet}.dark5.1.{name}", 1)
        yield from layer(variant, f"{darknet}.dark{stage}.{last}", times * depth)
    for name in ("lateral_conv0", "reduce_conv1"):
        yield from blocks(variant, f"backbone.{name}", 1)
    for name in ("bu_conv1", "bu_conv2"):
        yield from blocks(variant, f"backbone.{name}", 3)
    for name in ("C3_p4", "C3_p3", "C3_n3", "C3_n4"):
        yield from layer(variant, f"backbone.{name}", depth)
    for level in LEVELS:
        yield from blocks(variant, f"head.stems.{level}", 1)
        for kind in ("cls", "reg"):
            for at in range(2):
                yield from blocks(variant, f"head.{kind}_convs.{level}.{at}", 3)
        for kind in ("cls", "reg", "obj"):
            yield f"head.{kind}_preds.{level}.weight"
            yield f"head.{kind}_preds.{level}.bias"


def network_of(variant: str) -> nn.Module:
    if variant == "nano":
        return megvii.make_depthwise(build_network(MEGVII_NANO, CLASSES), ConvModule)
    return build_network(variant, CLASSES)


def saved(variant: str, depth: int) -> dict[str, Tensor]:
    """What Megvii's code would save of a seeded network."""
    torch.manual_seed(0)
    return as_megvii_names(network_of(variant).state_dict(), variant, depth)


def as_megvii_names(state: Mapping[str, Tensor], variant: str, depth: int) -> dict[str, Tensor]:
    """A network's tensors as Megvii's code would save them: the stem's channels in its own order."""
    official = list(names(variant, depth))
    theirs = megvii.renamed({name: torch.zeros(1, 12, 1, 1) for name in official})
    assert set(theirs) == set(state), "the names are other ones than the network's"
    found = {name: state[own] for name, own in zip(official, theirs, strict=True)}
    top_left, top_right, bottom_left, bottom_right = found[megvii.STEM].chunk(4, dim=1)
    return {**found, megvii.STEM: torch.cat((top_left, bottom_left, top_right, bottom_right), dim=1)}


def job_of(file: Path, **wrapper: object) -> Job:
    return Job.from_document(
        {
            "name": "official",
            "model": {"family": "yolox", "checkpoint": str(file)},
            "wrapper": {"decode": "none", **wrapper},
        },
        folder=Path(),
        source="the test",
    )


@pytest.mark.parametrize(
    ("variant", "depth", "size"),
    [
        pytest.param("nano", 1, 416, id="nano"),
        pytest.param("tiny", 1, 416, id="tiny", marks=pytest.mark.slow),
        pytest.param("m", 2, 640, id="m", marks=pytest.mark.slow),
    ],
)
def test_a_file_of_megvii_is_the_same_network(variant: str, depth: int, size: int, tmp_path: Path) -> None:
    file = tmp_path / "best_ckpt.pth"
    torch.save({"start_epoch": 300, "model": saved(variant, depth)}, file)
    model, _ = build_model(job_of(file))
    torch.manual_seed(0)
    wanted = network_of(variant).eval()
    pictures = torch.rand(2, 3, 64, 96) * 255
    with torch.no_grad():
        found = model.module(pictures)
        levels = zip(*wanted(pictures), strict=True)
        maps = [torch.cat((b, o.sigmoid(), c.sigmoid()), 1).flatten(2) for c, b, o in levels]
    torch.testing.assert_close(found, torch.cat(maps, 2).permute(0, 2, 1))
    spec = model.contract.preprocess
    assert spec is not None
    assert str(model.contract.inputs[0]) == "float32[batch, 3, height, width] in 0..255"
    assert (spec.channels, spec.divide_by, spec.size, spec.place) == ("bgr", 1, size, "top-left")
    recognised = FAMILY.recognise(load_checkpoint(file))
    assert recognised is not None
    assert (recognised.variant, recognised.settings, recognised.others) == (variant, (), ())


def test_the_stem_reads_the_same_pixels() -> None:
    """Megvii stacks top left, bottom left, top right, bottom right: the weight of the second reads below."""
    weight = torch.zeros(1, 12, 1, 1)
    weight[0, 3] = 1
    stem = network_of("nano").get_submodule("backbone.stem")
    (renamed,) = megvii.renamed({megvii.STEM: weight}).values()
    stem.conv = nn.Conv2d(12, 1, 1, bias=False)
    stem.conv.weight.data = renamed
    pictures = torch.rand(1, 3, 4, 4)
    torch.testing.assert_close(stem(pictures)[:, 0], pictures[:, 0, 1::2, ::2])


def test_pixels_are_not_scaled_twice(tmp_path: Path) -> None:
    file = tmp_path / "best_ckpt.pth"
    torch.save({"model": saved("nano", 1)}, file)
    with pytest.raises(JobError, match=r"Megvii's: its network takes pixels in 0..255 as they are"):
        build_model(job_of(file, scale_input=True))
    assert build_model(job_of(file, input_dtype="uint8"))[0].contract.inputs[0].dtype == "uint8"


@pytest.mark.slow
def test_a_file_of_megvii_is_exported_with_all_of_it_in_the_graph(tmp_path: Path) -> None:
    file = tmp_path / "best_ckpt.pth"
    torch.save({"model": saved("nano", 1)}, file)
    sizes = {"batch": "1..2", "height": 96, "width": 96}
    document = {
        **job_of(file, decode="nms", resize="in-graph").to_json(),
        "dims": {**sizes, "picture_height": "32..200", "picture_width": "32..200"},
        "predict": {"size": 96},
        "validate": {"effort": "quick", "score_threshold": 0.1},
    }
    job = Job.from_document(document, folder=Path(), source="the test")
    bundle = onnxproof.export(job, out=tmp_path)
    assert bundle.verdict is not None
    assert bundle.verdict.status == "pass", bundle.verdict.checks


def trained(*, on_bytes: bool) -> dict[str, Tensor]:
    """The demo's detector as Megvii saves it, with the normalisation in its first layer if it sees bytes."""
    state = dict(load_checkpoint(DIGITS / "yolox").state_dict)
    if on_bytes:
        stats = read_norm_stats(DIGITS / "yolox")
        assert stats is not None
        mean, std = (torch.tensor(part).repeat(4)[:, None, None] for part in stats)
        weight = state[STEM] / std
        state[NORM] = state[NORM] + (weight * mean).sum((1, 2, 3))
        state[STEM] = torch.cat([part.flip(1) for part in (weight / 255).chunk(4, dim=1)], dim=1)
    return as_megvii_names(state, "tiny", 1)


def seen(folder: Path, change: Mapping[str, Any], **wrapper: object) -> Sight:
    """The link ``pipeline`` of the trained detector, its pictures fitted otherwise by ``change``."""
    file = folder / "best_ckpt.pth"
    torch.save({"model": trained(on_bytes=not wrapper)}, file)
    document = {
        **job_of(file, decode="packed", **wrapper).to_json(),
        "model": {"family": "yolox", "variant": "nano", "checkpoint": str(file)},
        "validate": {"score_threshold": 0.45, "iou_threshold": 0.45},
        "predict": {"size": 256},
    }
    model, _ = build_model(Job.from_document(document, folder=Path(), source="the test"))
    contract, leg = model.contract, TorchLeg(model, 1)
    assert contract.preprocess is not None
    assert not isinstance(model.own, str), model.own
    planted = replace(contract, preprocess=replace(contract.preprocess, **change))
    return see(planted, leg, leg, model.own(), PICTURES, BOUNDS, sound=True)


def test_a_picture_ends_as_in_megvii(tmp_path: Path) -> None:
    sight = seen(tmp_path, {})
    assert sight.own == "Megvii's YOLOX (its steps, by OpenCV and torchvision)"
    assert sight.causes == ()
    assert sight.matched == sight.decisions > 5


def test_a_picture_ends_as_in_the_first_release_of_megvii(tmp_path: Path) -> None:
    """It normalised pictures, red first."""
    sight = seen(tmp_path, {}, normalize="imagenet")
    assert sight.causes == ()
    assert sight.matched == sight.decisions > 5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(
            {"filter": "pillow-bilinear"},
            "resized with Pillow bilinear; in Megvii's YOLOX (its steps, by OpenCV and torchvision) it is "
            "resized with OpenCV linear",
            id="another-filter",
        ),
        pytest.param({"channels": "rgb"}, "given as RGB", id="red-first"),
        pytest.param({"place": "centre"}, "placed at the centre", id="in-the-middle"),
        pytest.param({"padding": (0, 0, 0)}, "padded with 0", id="black-padding"),
    ],
)
def test_a_difference_from_megvii_is_traced_to_its_stage(
    tmp_path: Path, change: Mapping[str, Any], words: str
) -> None:
    sight = seen(tmp_path, change)
    assert {cause.stages for cause in sight.causes} == {("preprocessing",)}
    assert any(words in cause.why for cause in sight.causes), sight.causes


def test_a_variant_of_unknown_sizes_is_the_one_that_is_given(tmp_path: Path) -> None:
    file = tmp_path / "best_ckpt.pth"
    torch.save({"model": trained(on_bytes=True)}, file)
    with pytest.raises(RequestError, match=r"say it with --set model\.variant=NAME"):
        draft(file)
    made = draft(file, set=["model.variant=nano"])
    assert made.said.endswith("the names of Megvii's YOLOX, and sizes of which the variant is given")


def test_without_opencv_the_link_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    file = tmp_path / "best_ckpt.pth"
    torch.save({"model": saved("nano", 1)}, file)
    own = build_model(job_of(file))[0].own
    assert isinstance(own, str)
    assert "OpenCV, which is not installed (the package opencv-python-headless)" in own


def test_pictures_are_as_large_as_the_file_takes_them(tmp_path: Path) -> None:
    file = tmp_path / "best_ckpt.pth"
    torch.save({"model": saved("nano", 1)}, file)
    document = {**job_of(file).to_json(), "dims": {"batch": 1, "height": 96, "width": 160}}
    model, _ = build_model(Job.from_document(document, folder=Path(), source="the test"))
    assert model.contract.preprocess is not None
    assert model.contract.preprocess.size == 160
