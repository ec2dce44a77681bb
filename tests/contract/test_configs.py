"""The bundled job files: each loads, and some test exports it."""

import re
from pathlib import Path

import pytest

import onnxproof
from onnxproof.job import load_job
from onnxproof.source import find_pictures

TESTS = Path(__file__).parents[1]
CONFIGS = TESTS.parent / "configs"

EXPORTED_BY = {
    "digits-classifier": "parity/test_classification.py",
    "digits-maskrcnn": "parity/test_digits_maskrcnn.py",
    "digits-multilabel": "parity/test_classification.py",
    "digits-reader": "parity/test_sequence.py",
    "digits-segmenter": "parity/test_segmenter.py",
    "digits-yolox": "parity/test_export.py",
    "digits-yolox-barracuda": "parity/test_export.py",
    "module-bert": "parity/test_module.py",
    "module-deeplabv3": "parity/test_module.py",
    "module-ultralytics": "parity/test_module.py",
    "timm-classifier": "parity/test_classification.py",
    "torchvision-fasterrcnn": "parity/test_two_stage.py",
    "torchvision-fcos": "parity/test_one_stage_jobs.py",
    "torchvision-maskrcnn": "parity/test_two_stage.py",
    "torchvision-retinanet": "parity/test_one_stage_jobs.py",
    "torchvision-ssd": "parity/test_one_stage_jobs.py",
}
"""The test module that exports a config: as it is, but for its sizes and effort, or, where the checkpoint is
the user's own (OF_THE_USER), with a seeded one."""

OF_THE_USER = ("torchvision-", "timm-", "module-deeplabv3", "module-ultralytics")

EXPORTED_HERE = {
    "digits-yolox-uint8": (
        "dims.batch=1..2",
        'dims.height="64..160 step 32"',
        'dims.width="64..160 step 32"',
        "predict.size=160",
    ),
}
"""The configs that no other module exports, and the sizes that they are exported for."""

NAMES = sorted(file.stem for file in CONFIGS.glob("*.toml"))


def test_every_config_is_exported_by_some_test() -> None:
    assert sorted([*EXPORTED_BY, *EXPORTED_HERE]) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_config_loads(name: str) -> None:
    job = load_job(CONFIGS / f"{name}.toml")
    assert job.name == name
    if job.model.checkpoint is None:
        assert job.model.builder is not None
    else:
        assert job.resolve(job.model.checkpoint).exists() != name.startswith(OF_THE_USER)
    assert not job.inputs or set(job.dims) <= {axis for spec in job.inputs.values() for axis in spec.shape}
    find_pictures(job.validation.images, job.folder)


@pytest.mark.parametrize(("name", "module"), EXPORTED_BY.items(), ids=EXPORTED_BY)
def test_the_module_that_is_said_to_export_it_names_it(name: str, module: str) -> None:
    source = (TESTS / module).read_text(encoding="utf-8")
    collection, _, rest = name.partition("-")
    spelt_out = f"{name}.toml" in source
    put_together = re.search(rf'f"{collection}-{{[^}}]+}}\.toml"', source) and f'"{rest}"' in source
    assert spelt_out or put_together


@pytest.mark.slow
@pytest.mark.parametrize(("name", "overrides"), EXPORTED_HERE.items(), ids=EXPORTED_HERE)
def test_the_configs_that_no_other_test_exports_pass(
    name: str, overrides: tuple[str, ...], tmp_path: Path
) -> None:
    quick = ("validate.effort=quick", "validate.threads=1")
    bundle = onnxproof.export(CONFIGS / f"{name}.toml", out=tmp_path, set=(*overrides, *quick))
    assert bundle.verdict is not None
    assert bundle.verdict.passed, [check for check in bundle.verdict.checks if check.status != "pass"]
    assert bundle.verdict.to_json()["decisions"]["matched"] > 5
