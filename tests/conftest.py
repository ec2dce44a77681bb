"""What the slow tests share: one export of the bundled demo."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"


@pytest.fixture(scope="session")
def demo_job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the demo's job, its paths absolute, its sweep quick."""
    text = (CONFIGS / "digits-yolox.toml").read_text(encoding="utf-8")
    text = text.replace("../examples", str(ROOT / "examples"))
    text = text.replace("[validate]\n", '[validate]\neffort = "quick"\n')
    job = tmp_path_factory.mktemp("job") / "digits-yolox.toml"
    job.write_text(text, encoding="utf-8")
    return job


@pytest.fixture(scope="session")
def demo_bundle(demo_job: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's bundle, exported and proved once for all tests; not to be written to."""
    import onnxproof

    bundle = onnxproof.export(demo_job, out=tmp_path_factory.mktemp("dist"))
    assert bundle.verdict is not None
    assert bundle.verdict.passed, bundle.verdict.checks
    return bundle.path
