"""Models that transformers saved: read, exported and decided on as transformers itself does."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from once import Once
from PIL import Image
from saved import MODELS, save

import onnxproof
from onnxproof.contract import Preprocess
from onnxproof.errors import CheckpointError, JobError
from onnxproof.export.checkpoint import load_checkpoint
from onnxproof.export.model import build_model
from onnxproof.job import Job
from onnxproof.runtime.preprocess import prepare
from onnxproof.runtime.tasks import get_task
from onnxproof.tensors import Dim
from onnxproof.validate.legs.pytorch import TorchLeg
from onnxproof.validate.sight.link import see
from onnxproof.wrappers.family import WrappedModel
from onnxproof.wrappers.huggingface.processor import read_processor
from onnxproof.wrappers.identify import identify

MOST = 4096
"""px. The longest side that is declared where every size is wanted."""

SCENE = Path(__file__).parents[2] / "examples" / "digits" / "images" / "scene-01.png"

PICTURES = ("vit", "convnext", "resnet", "segformer", "dpt", "depth-anything", "glpn", "vit-encoder")
SEGMENTS = ("mask2former", "maskformer")
DETECTORS = (
    *("detr", "table-transformer", "conditional-detr", "dab-detr", "deformable-detr"),
    *("lw-detr", "rt-detr", "rt-detr-v2", "d-fine", "deimv2", "yolos"),
)
OTHERS = ("bert", "roberta-tokens", "distilbert", "wav2vec2", "hubert", "wavlm", "clip", "siglip")
AS_INSTANCES = {"task": "instance_segmentation"}
LOW = 0.1
"""A threshold below which untrained networks find instances."""

DIMS: Mapping[str, Mapping[str, str]] = {
    "deformable-detr": {"height": "64", "width": "64"},
    "glpn": {"height": "64..256 step 32", "width": "64..256 step 32"},
}
"""Sizes that are narrower than the folder's. Deformable DETR's have to be fixed: it cuts its tokens into
levels by Python's numbers, which TorchScript freezes, and torch.export takes longer than its limit on
them."""

KWARGS: Mapping[str, Any] = {"distilbert": {"pooling": "mean"}}


def folder_of(once: Once, name: str) -> Path:
    """The folder of a model, not to be written to."""
    return (
        once(f"transformers {name}", lambda folder: save(folder / "model", MODELS[name]) and None) / "model"
    )


def job_for(folder: Path, name: str = "saved", **tables: Any) -> Job:
    document = {
        "name": name,
        "model": {"family": "transformers", "checkpoint": str(folder), **tables.pop("model", {})},
        "validate": {"effort": "quick", "threads": 1, **tables.pop("validate", {})},
        **tables,
    }
    return Job.from_document(document, folder=Path(), source="the test")


def built(folder: Path, **tables: Any) -> WrappedModel:
    return build_model(job_for(folder, **tables))[0]


def copied(source: Path, target: Path) -> None:
    """Copy the files of a folder."""
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())


def change_config(folder: Path, change: Mapping[str, Any]) -> None:
    """Replace settings in a folder's config.json."""
    stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**stored, **change}), encoding="utf-8")


def decided(model: WrappedModel, picture: Image.Image) -> Any:
    """What the wrapped model and the runtime's task decide on a picture."""
    contract, task = model.contract, get_task(model.contract.task)
    assert contract.preprocess is not None
    array, transform = prepare(picture, contract.preprocess)
    with torch.no_grad():
        returned = model.module(torch.from_numpy(array))
    tensors = returned if isinstance(returned, tuple) else (returned,)
    outputs = {spec.name: one.numpy() for spec, one in zip(contract.outputs, tensors, strict=True)}
    sizes = {"height": array.shape[2], "width": array.shape[3]}
    evidence = task.evidence(outputs, sizes, contract.reading, {})[0]
    return task.restore(task.decide(evidence, contract.reading), transform)


def answered(folder: Path, name: str, picture: Image.Image) -> tuple[Any, Any]:
    """The image processor, and the network's answer to what it makes of a picture."""
    reader: Any = transformers.AutoImageProcessor
    processor = reader.from_pretrained(folder)
    network = getattr(transformers, MODELS[name].network).from_pretrained(folder).eval()
    with torch.no_grad():
        return processor, network(**processor(images=picture, return_tensors="pt"))


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> None:
    logging: Any = transformers.utils.logging
    logging.disable_progress_bar()


# The way in: pixels


PROCESSORS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "stretched": ("ViTImageProcessor", {"size": {"height": 40, "width": 56}}),
    "short side, then a crop": (
        "CLIPImageProcessor",
        {"size": {"shortest_edge": 40}, "crop_size": {"height": 36, "width": 32}},
    ),
    "stretched, then a crop": (
        "DeiTImageProcessor",
        {"size": {"height": 48, "width": 48}, "crop_size": {"height": 40, "width": 40}},
    ),
    "a crop of seven eighths": ("ConvNextImageProcessor", {"size": {"shortest_edge": 56}}),
    "the whole from 384 px on": ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
    "a crop of 224/256": (
        "LevitImageProcessor",
        {"size": {"shortest_edge": 56}, "crop_size": {"height": 56, "width": 56}},
    ),
    "an offset, and a deviation twice": (
        "EfficientNetImageProcessor",
        {"size": {"height": 40, "width": 40}, "rescale_offset": True, "rescale_factor": 1 / 127.5},
    ),
    "channels turned round": (
        "MobileViTImageProcessor",
        {"size": {"shortest_edge": 44}, "crop_size": {"height": 40, "width": 40}},
    ),
    "semantic segmentation": ("SegformerImageProcessor", {"size": {"height": 48, "width": 64}}),
    "short side with a limit": ("DetrImageProcessor", {"size": {"shortest_edge": 48, "longest_edge": 80}}),
    "short side, down to 16": ("YolosImageProcessor", {"size": {"shortest_edge": 50, "longest_edge": 90}}),
    "short side, up to 32": (
        "Mask2FormerImageProcessor",
        {"size": {"shortest_edge": 50, "longest_edge": 90}},
    ),
    "nearest side, to 14": (
        "DPTImageProcessor",
        {"size": {"height": 70, "width": 70}, "keep_aspect_ratio": True, "ensure_multiple_of": 14},
    ),
    "its own size, down to 32": ("GLPNImageProcessor", {"size_divisor": 32}),
    "not scaled": (
        "ViTImageProcessor",
        {"size": {"height": 32, "width": 32}, "do_rescale": False, "do_normalize": False},
    ),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_pixels_are_the_image_processors(name: str) -> None:
    kind, settings = PROCESSORS[name]
    processor = getattr(transformers, kind)(**settings)
    fitting = read_processor(processor, "here")
    random = np.random.default_rng(0)
    for _ in range(12):
        height, width = random.integers(40, 140, 2)
        picture = Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))
        wanted = processor(images=picture, return_tensors="np")["pixel_values"][0]
        height_dim, width_dim = (
            side if side.fixed else Dim(side.name, side.multiple, MOST - MOST % side.multiple, side.multiple)
            for side in (fitting.height, fitting.width)
        )
        laid: dict[str, Any] = {"input": "pixel_values", "layout": "NCHW", "dtype": "float32"}
        spec = Preprocess(**laid, divide_by=255, **fitting.fit, height=height_dim, width=width_dim)
        found, _ = prepare(picture, spec)
        mean, std = (np.array(values)[:, None, None] for values in (fitting.mean, fitting.std))
        bound = 2e-5 * np.abs(wanted).max()
        np.testing.assert_allclose((found[0] - mean) / std, wanted, 0, bound, err_msg=f"{width}x{height}")


@pytest.mark.parametrize(
    ("kind", "settings", "named"),
    [
        ("ViTImageProcessor", {"do_resize": False}, "do_resize = False"),
        ("ViTImageProcessor", {"resample": 0}, "resample = 0"),
        ("CLIPImageProcessor", {"crop_size": {"height": 400, "width": 400}}, "crop_size = "),
        ("DPTImageProcessor", {"do_pad": True, "size_divisor": 14}, "do_pad = True"),
        ("ZoeDepthImageProcessor", {}, "by code of its own"),
    ],
)
def test_what_the_runtime_does_not_do_is_refused_by_name(
    kind: str, settings: dict[str, Any], named: str
) -> None:
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json") as caught:
        read_processor(getattr(transformers, kind)(**settings), "preprocessor_config.json")
    assert named in str(caught.value)


# The way out: decisions


def test_a_classifier_ranks_as_transformers_does(once: Once) -> None:
    folder = folder_of(once, "vit")
    model = built(folder)
    assert [entry.name for entry in model.contract.classes] == ["cat", "dog", "bird"]
    picture = Image.open(SCENE).convert("RGB")
    _, found = answered(folder, "vit", picture)
    wanted = torch.softmax(found.logits[0], dim=0).numpy()
    np.testing.assert_allclose(decided(model, picture).probabilities, wanted, atol=1e-5)


def test_a_segmenter_decides_the_pictures_own_pixels_as_transformers_does(once: Once) -> None:
    folder = folder_of(once, "segformer")
    picture = Image.open(SCENE).convert("RGB").resize((150, 117))
    processor, found = answered(folder, "segformer", picture)
    (wanted,) = processor.post_process_semantic_segmentation(found, target_sizes=[(117, 150)])
    labels = decided(built(folder), picture).labels
    assert len(np.unique(labels)) > 1
    assert np.mean(labels == wanted.numpy()) > 0.9995  # the others lie on a border, to float32's rounding


def test_a_mask_in_the_graph_is_that_of_the_input(once: Once) -> None:
    model = built(folder_of(once, "segformer"), wrapper={"decode": "mask"})
    assert [str(spec) for spec in model.contract.outputs] == [
        "int64[batch, 64, 64]",
        "float32[batch, 64, 64]",
    ]


@pytest.mark.parametrize(
    "name",
    [one if one in ("detr", "rt-detr") else pytest.param(one, marks=pytest.mark.slow) for one in DETECTORS],
)
def test_a_detector_finds_what_transformers_finds(name: str, once: Once) -> None:
    folder = folder_of(once, name)
    picture = Image.open(SCENE).convert("RGB").resize((150, 117))
    processor, found = answered(folder, name, picture)
    (wanted,) = processor.post_process_object_detection(found, threshold=0.5, target_sizes=[(117, 150)])
    boxes = wanted["boxes"].numpy().clip(0, (150, 117, 150, 117))
    assert len(boxes)
    one_size = {"dims": {"height": "64", "width": "82"}} if name == "deformable-detr" else {}
    seen = decided(built(folder, **one_size), picture)
    assert len(seen) == len(boxes)
    order = np.argsort(-wanted["scores"].numpy(), kind="stable")
    np.testing.assert_allclose(seen.scores, wanted["scores"].numpy()[order], atol=1e-4)
    np.testing.assert_allclose(seen.boxes, boxes[order], atol=0.02)
    assert seen.labels.tolist() == wanted["labels"].numpy()[order].tolist()


@pytest.mark.parametrize("name", ["dpt", "depth-anything", "glpn"])
def test_a_depth_map_has_the_pictures_pixels_as_transformers_makes_them(name: str, once: Once) -> None:
    folder = folder_of(once, name)
    picture = Image.open(SCENE).convert("RGB").resize((150, 117))
    processor, found = answered(folder, name, picture)
    (wanted,) = processor.post_process_depth_estimation(found, target_sizes=[(117, 150)])
    values: NDArray[np.float32] = wanted["predicted_depth"].numpy()
    depth = decided(built(folder), picture)
    assert values.std() > 0
    np.testing.assert_allclose(depth.values, values, atol=1e-4 * np.abs(values).max())


@pytest.mark.parametrize("name", ["mask2former", "maskformer"])
def test_segments_are_those_that_transformers_finds(name: str, once: Once) -> None:
    folder = folder_of(once, name)
    picture = Image.open(SCENE).convert("RGB").resize((150, 117))
    processor, found = answered(folder, name, picture)
    (wanted,) = processor.post_process_panoptic_segmentation(found, target_sizes=[(117, 150)])
    segments = decided(built(folder), picture)
    assert wanted["segments_info"]
    assert [(one.label, round(one.score, 4)) for one in segments.segments] == [
        (one["label_id"], round(one["score"], 4)) for one in wanted["segments_info"]
    ]
    ids = np.zeros((117, 150))
    for number, one in enumerate(segments.segments, start=1):
        ids[segments.owners == one.query] = number
    assert np.mean(ids == wanted["segmentation"].numpy()) > 0.9995


@pytest.mark.parametrize("name", SEGMENTS)
def test_instances_are_those_that_transformers_finds(name: str, once: Once) -> None:
    folder = folder_of(once, name)
    picture = Image.open(SCENE).convert("RGB").resize((150, 117))
    processor, found = answered(folder, name, picture)
    (wanted,) = processor.post_process_instance_segmentation(
        found, threshold=LOW, target_sizes=[(117, 150)], return_binary_maps=True
    )
    instances = decided(built(folder, model=AS_INSTANCES, validate={"score_threshold": LOW}), picture)
    told, masks = wanted["segments_info"], wanted["segmentation"].numpy() > 0
    assert len(told) == len(instances) > 1
    order = sorted(range(len(told)), key=lambda at: -told[at]["score"])
    assert instances.detections.labels.tolist() == [told[at]["label_id"] for at in order]
    np.testing.assert_allclose(instances.detections.scores, [told[at]["score"] for at in order], atol=1e-5)
    for at, region in zip(order, instances.regions(), strict=True):
        own = np.zeros((117, 150), bool)
        height, width = region.pixels.shape
        own[region.top : region.top + height, region.left : region.left + width] = region.pixels
        assert np.mean(own == masks[at]) > 0.9995


@pytest.mark.long(
    "test_instances_are_those_that_transformers_finds", "test_a_saved_model_is_exported_proved_and_predicted"
)
def test_instances_are_exported_proved_and_predicted(once: Once, tmp_path: Path) -> None:
    job = job_for(
        folder_of(once, "mask2former"),
        "instances",
        model=AS_INSTANCES,
        dims={"batch": "1..2"},
        validate={"images": str(SCENE), "score_threshold": LOW},
    )
    bundle = onnxproof.export(job, out=tmp_path)
    verdict = bundle.verdict
    assert verdict is not None
    assert verdict.passed, [check for check in verdict.checks if check.status in ("fail", "error")]
    (facts, *_) = verdict.facts
    assert facts.decisions is not None
    assert facts.decisions.matched > 10
    prediction = onnxproof.load(bundle.path).predict(SCENE)
    assert len(prediction.decisions) > 1
    assert all(one["polygon"] for one in prediction.to_json()["boxes"])
    assert (bundle.path / "pictures").is_dir()


@pytest.mark.parametrize("normalized", [False, True])
def test_a_sentence_is_pooled_as_the_files_of_sentence_transformers_say(
    normalized: bool, once: Once, tmp_path: Path
) -> None:
    copied(folder_of(once, "distilbert"), tmp_path)
    modules = [{"path": "", "type": "sentence_transformers.models.Transformer"}]
    modules.append({"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"})
    if normalized:
        modules.append({"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"})
    (tmp_path / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (tmp_path / "1_Pooling").mkdir()
    pooling = {
        "word_embedding_dimension": 16,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_cls_token": False,
    }
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(pooling), encoding="utf-8")
    ids, mask = torch.tensor([[5, 6, 7, 0], [9, 8, 0, 0]]), torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    with torch.no_grad():
        (found,) = built(tmp_path).module(ids, mask)
        encoder: Any = transformers.DistilBertModel.from_pretrained(tmp_path)
        states = encoder.eval()(ids, mask).last_hidden_state
    wanted = torch.stack([states[0, :3].mean(dim=0), states[1, :2].mean(dim=0)])
    if normalized:
        wanted = wanted / wanted.norm(dim=1, keepdim=True)
    torch.testing.assert_close(found, wanted)


def test_an_encoder_whose_pooling_nothing_states_asks_for_it(once: Once) -> None:
    with pytest.raises(JobError, match=r"set model\.kwargs\.pooling to one of pooler, cls, mean"):
        built(folder_of(once, "distilbert"))


def test_an_encoder_is_taken_out_of_a_model_with_another_head(once: Once, tmp_path: Path) -> None:
    copied(folder_of(once, "bert"), tmp_path)
    modules = [{"path": "", "type": "sentence_transformers.models.Transformer"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    model, _ = build_model(job_for(tmp_path, model={"kwargs": {"pooling": "cls"}}))
    assert model.contract.task == "embedding"
    assert any("the encoder alone is used: classifier" in note for note in model.notes)


@pytest.mark.parametrize("masked", [False, True])
def test_sound_is_standardised_as_the_feature_extractor_does(
    masked: bool, once: Once, tmp_path: Path
) -> None:
    copied(folder_of(once, "wav2vec2"), tmp_path)
    settings = {"do_normalize": True, "return_attention_mask": masked, "sampling_rate": 400}
    library: Any = transformers
    extractor = library.Wav2Vec2FeatureExtractor(**settings)
    extractor.save_pretrained(tmp_path)
    random = np.random.default_rng(0)
    sounds = [
        random.normal(0.3, 0.2, count).astype(np.float32).clip(-1, 1) for count in (400, 400 - 90 * masked)
    ]
    given = extractor(sounds, sampling_rate=400, padding=True, return_tensors="pt")
    network = library.Wav2Vec2ForCTC.from_pretrained(tmp_path).eval()
    raw = torch.zeros(2, 400)
    for row, sound in zip(raw, sounds, strict=True):
        row[: len(sound)] = torch.from_numpy(sound)
    inputs = (raw, given["attention_mask"].long()) if masked else (raw,)
    with torch.no_grad():
        found, *lengths = built(tmp_path).module(*inputs)
        torch.testing.assert_close(found, network(**given).logits, atol=1e-4, rtol=1e-3)
    assert [one.tolist() for one in lengths] == ([[39, 30]] if masked else [])


@pytest.mark.parametrize(
    ("name", "change", "task"),
    [
        ("bert", {"problem_type": "multi_label_classification"}, "multilabel"),
        ("bert", {"problem_type": "regression"}, "raw"),
        ("vit", {"problem_type": "multi_label_classification"}, "multilabel"),
    ],
)
def test_the_task_is_what_the_model_was_trained_for(
    name: str, change: dict[str, Any], task: str, once: Once, tmp_path: Path
) -> None:
    copied(folder_of(once, name), tmp_path)
    change_config(tmp_path, change)
    assert built(tmp_path).contract.task == task


def test_code_of_a_folder_is_not_run_and_the_verdict_notes_it(once: Once, tmp_path: Path) -> None:
    copied(folder_of(once, "vit"), tmp_path)
    change_config(tmp_path, {"auto_map": {"AutoModel": "own.Network"}})
    (tmp_path / "own.py").write_text("raise SystemExit('was run')\n", encoding="utf-8")
    model, _ = build_model(job_for(tmp_path))
    assert any("code of its own" in note and "it is not run" in note for note in model.notes)


def test_shards_are_read_and_so_is_a_model_in_the_cache_of_the_hub(
    once: Once, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = built(folder_of(once, "vit"))
    snapshot = tmp_path / "models--acme--cats" / "snapshots" / "0a1b"
    network: Any = transformers.ViTForImageClassification.from_pretrained(folder_of(once, "vit"))
    network.save_pretrained(snapshot, max_shard_size="8KB")
    processor = folder_of(once, "vit") / "preprocessor_config.json"
    (snapshot / processor.name).write_bytes(processor.read_bytes())
    (tmp_path / "models--acme--cats" / "refs").mkdir()
    (tmp_path / "models--acme--cats" / "refs" / "main").write_text("0a1b", encoding="utf-8")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert len(list(snapshot.glob("*.safetensors"))) > 1
    cached = built(Path("acme/cats"))
    picture = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(cached.module(picture), whole.module(picture))


# What a folder is, without a job


@pytest.mark.parametrize(
    ("name", "task", "decodes", "dims"),
    [
        ("vit", "classification", ("none", "probabilities"), {"dims.height": "32", "dims.width": "32"}),
        ("segformer", "segmentation", ("none", "mask"), {"dims.height": "64"}),
        ("detr", "detection", ("softmax",), {"dims.height": "64..96", "dims.width": "64..96"}),
        ("rt-detr", "detection", ("sigmoid",), {"dims.height": "64"}),
        ("bert", "classification", ("none", "probabilities"), {"dims.time": "2..24"}),
        ("roberta-tokens", "tokens", ("none",), {"dims.time": "2..22"}),
        ("clip", "embedding", ("none",), {"dims.texts": "1..8", "dims.time": "2..12"}),
        ("wav2vec2", "sequence", ("none",), {"dims.samples": "40..1600"}),
        ("mask2former", "panoptic", ("none",), {"dims.height": "64"}),
        ("dpt", "depth", ("none",), {"dims.height": "32"}),
    ],
)
def test_a_folder_is_recognised(
    name: str, task: str, decodes: tuple[str, ...], dims: Mapping[str, str], once: Once
) -> None:
    found = identify(load_checkpoint(folder_of(once, name)))
    assert (found.family, found.task, found.decodes) == ("transformers", task, decodes)
    assert MODELS[name].network in found.why
    assert {**found.values(), **dims} == found.values()


# What is refused


def test_a_folder_without_a_configuration_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"config\.json does not exist: .* save_pretrained"):
        built(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"architectures": ["OwnNet"], "auto_map": {"AutoModel": "own.OwnNet"}}, "asks for code of its own"),
        ({"architectures": []}, "names no network"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
        ({"architectures": ["ViTForMaskedImageModeling"]}, "reads networks for image classification"),
        ({"hidden_size": 24}, "does not fit ViTForImageClassification"),
        ({"num_hidden_layers": 3}, "missing: "),
        ({"num_hidden_layers": 1}, "not in the model: "),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    change: dict[str, Any], said: str, once: Once, tmp_path: Path
) -> None:
    copied(folder_of(once, "vit"), tmp_path)
    change_config(tmp_path, change)
    with pytest.raises(CheckpointError) as caught:
        built(tmp_path)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "network", "processor", "said"),
    [
        pytest.param(
            "oneformer", "OneFormerForUniversalSegmentation", "OneFormer", "Mask2FormerFor", id="oneformer"
        ),
        pytest.param("eomt", "EomtForUniversalSegmentation", "Eomt", "Mask2FormerFor", id="eomt"),
        pytest.param("zoedepth", "ZoeDepthForDepthEstimation", "ZoeDepth", "GLPNFor", id="zoedepth"),
        pytest.param("depth_pro", "DepthProForDepthEstimation", "DepthPro", "GLPNFor", id="depth-pro"),
    ],
)
def test_a_network_that_is_read_otherwise_is_refused_before_it_is_built(
    kind: str, network: str, processor: str, said: str, once: Once, tmp_path: Path
) -> None:
    copied(folder_of(once, "vit"), tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, "architectures": [network]}))
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": f"{processor}ImageProcessor"})
    )
    for ask in (built, lambda folder: identify(load_checkpoint(folder))):
        with pytest.raises(CheckpointError, match=rf"holds a {network}.*{said}.*family module"):
            ask(tmp_path)


def test_a_deformable_detr_of_free_sizes_is_refused_with_what_to_set(once: Once) -> None:
    with pytest.raises(JobError, match=r"needs one size.* dims\.height = 64 and dims\.width = 85, say"):
        built(folder_of(once, "deformable-detr"))
    found = identify(load_checkpoint(folder_of(once, "deformable-detr")))
    assert (found.values()["dims.height"], found.values()["dims.width"]) == ("64", "85")


# From end to end


ALIKE = (
    *("table-transformer", "conditional-detr", "dab-detr", "deformable-detr", "rt-detr-v2"),
    *("lw-detr", "d-fine", "deimv2", "maskformer", "glpn", "depth-anything", "hubert", "wavlm", "distilbert"),
)
"""Of these CI exports a relative: detr, rt-detr, mask2former, dpt, wav2vec2 or bert."""

ROWS = [
    pytest.param(name, marks=pytest.mark.long if name in ALIKE else pytest.mark.slow)
    for name in (*PICTURES[1:], *DETECTORS, *SEGMENTS, *OTHERS)
]


@pytest.mark.parametrize("name", ["vit", *ROWS])
def test_a_saved_model_is_exported_proved_and_predicted(name: str, once: Once, tmp_path: Path) -> None:
    takes_pictures = name in (*PICTURES, *DETECTORS, *SEGMENTS)
    images = {"images": str(SCENE)} if takes_pictures or name in ("clip", "siglip") else {}
    job = job_for(
        folder_of(once, name),
        name,
        model={"kwargs": KWARGS.get(name, {})},
        dims={"batch": "1..2", **DIMS.get(name, {})},
        validate=images,
    )
    bundle = onnxproof.export(job, out=tmp_path)
    verdict = bundle.verdict
    assert verdict is not None
    wrong = [check for check in verdict.checks if check.status in ("fail", "error")]
    assert verdict.passed, wrong
    links = {link.link: link.status for link in verdict.links}
    assert links["function"] == "pass"
    assert links["decisions"] == ("skipped" if bundle.manifest.contract.task == "depth" else "pass")
    (facts,) = verdict.facts
    if facts.decisions is not None:
        assert facts.decisions.unit == ("pictures" if bundle.manifest.contract.preprocess else "inputs")
        assert f"defects on {facts.decisions.counted}" in str(verdict)
    if takes_pictures:
        prediction = onnxproof.load(bundle.path).predict(SCENE)
        json.dumps(prediction.to_json())
        assert prediction.lines()
        assert (bundle.path / "pictures").is_dir()


@pytest.mark.parametrize(
    ("name", "tables"),
    [
        pytest.param("vit", {}, id="classes"),
        pytest.param("rt-detr", {"validate": {"score_threshold": 0.3}}, id="boxes"),
        pytest.param("segformer", {}, id="classes-of-pixels"),
        pytest.param("depth-anything", {}, id="depth"),
        pytest.param("mask2former", {}, id="segments"),
        pytest.param(
            "mask2former", {"model": AS_INSTANCES, "validate": {"score_threshold": LOW}}, id="instances"
        ),
    ],
)
def test_the_pipeline_is_transformers_to_the_pixel(
    once: Once, name: str, tables: dict[str, dict[str, Any]]
) -> None:
    model = built(folder_of(once, name), **tables)
    contract, leg = model.contract, TorchLeg(model, 1)
    assert contract.preprocess is not None
    assert not isinstance(model.own, str)
    own, pictures = model.own(), [SCENE, SCENE.with_name("scene-02.png")]
    bounds = {"box": 1e-3, "score": 5e-6}
    healthy = see(contract, leg, leg, own, pictures, bounds, sound=True)
    assert (healthy.causes, healthy.matched) == ((), healthy.decisions)
    assert healthy.decisions > 0
    planted = replace(contract, preprocess=replace(contract.preprocess, filter="opencv-linear"))
    found = see(planted, leg, leg, own, pictures, bounds, sound=True)
    assert {cause.stages for cause in found.causes} == {("preprocessing",)}
    assert "resized with OpenCV linear" in found.causes[0].why
    assert "it is resized with torchvision bi" in found.causes[0].why
