"""Try the installed package with one extra alone: ``python -I smoke.py EXTRA RELEASE``, in an empty folder.

RELEASE is the folder of this file. Raises AssertionError, or ends with a failed command's message.
"""

import importlib
import importlib.metadata
import importlib.resources
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

BASE = "base"
"""The install without an extra: what a deployment runs."""

LIGHT = (BASE, "polygons", "coco", "report", "signing", "bom", "video", "plot", "dask", "fsspec", "openvino")
"""What brings no torch."""

SIDE = 32
"""px; the sides of the pictures of the tiny classifier."""


def ran(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run ``python -m onnxproof`` with these words, and expect an exit code."""
    command = [sys.executable, "-I", "-m", "onnxproof", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != code:
        sys.exit(f"onnxproof {' '.join(words)}: exit code {done.returncode}, expected {code}\n{done.stderr}")
    return done


def base(release: Path) -> None:
    """What needs no extra: predict, inspect, the lists, the schemas; and the hints of what does."""
    import onnxproof  # noqa: PLC0415
    from onnxproof.system import extras  # noqa: PLC0415

    package = importlib.resources.files("onnxproof")
    assert (package / "py.typed").is_file()
    version = importlib.metadata.version("onnxproof")
    assert onnxproof.__version__ == version
    assert ran("--version").stdout.split()[-1] == version
    script = shutil.which("onnxproof", path=str(Path(sys.executable).parent))
    assert script is not None
    said = subprocess.run([script, "--version"], capture_output=True, text=True, check=True).stdout
    assert said.split()[-1] == version
    assert "export" in ran("--help").stdout
    assert onnxproof.schema("parity")["title"]
    assert "detection" in ran("tasks").stdout
    assert "yolox" in ran("families").stdout
    predict(release / "tiny", onnxproof.load(release / "tiny"))
    assert json.loads(ran("inspect", str(release / "tiny"), "--json").stdout)["name"] == "tiny"
    for command in ("export", "init", "validate", "check", "compare", "bisect", "explain"):
        if all(importlib.util.find_spec(name) for name in extras.NEEDED_BY[command]):
            continue
        lacking = ran(command, "a", "b", code=2).stderr
        assert lacking.count("\n") == 1, lacking
        assert "pip install 'onnxproof[export]'" in lacking, lacking


def predict(bundle: Path, predictor: Any) -> None:
    """A bright and a dark picture get their classes, on the command line and in Python."""
    from PIL import Image  # noqa: PLC0415

    for name, level in (("bright", 230), ("dark", 20)):
        file = Path(f"{name}.png")
        Image.new("RGB", (SIDE, SIDE), (level, level, level)).save(file)
        (told,) = json.loads(ran("predict", str(bundle), str(file), "--json").stdout)
        in_python = predictor.predict(file).to_json()
        for answer in (told, in_python):
            assert answer["labels"][answer["probs"].index(max(answer["probs"]))] == name, answer


def polygons(_release: Path) -> None:
    """Masks become polygons."""
    import numpy as np  # noqa: PLC0415

    from onnxproof.runtime.polygons import polygons_of  # noqa: PLC0415

    (outline,) = polygons_of(np.ones((2, 3), bool))
    assert outline.tolist() == [[0, 0], [3, 0], [3, 2], [0, 2]]


def coco(_release: Path) -> None:
    """Masks of COCO's annotations are read."""
    from onnxproof.validate.dataset.pycoco import require_coco  # noqa: PLC0415

    assert sorted(require_coco()) == ["coco", "cocoeval", "mask"]


def report(_release: Path) -> None:
    """The template of --html is there, and jinja2 takes it."""
    file = importlib.resources.files("onnxproof") / "validate" / "report" / "templates" / "report.html.j2"
    assert importlib.import_module("jinja2").Environment().parse(file.read_text(encoding="utf-8")).body


def signing(_release: Path) -> None:
    """The library that signs and verifies loads, with what it does not require itself."""
    for name in ("signing", "verifying"):
        assert importlib.import_module(f"model_signing.{name}").Config()


def bom(_release: Path) -> None:
    """The library writes a document of the version that we ask for."""
    output, schema = (importlib.import_module(f"cyclonedx.{name}") for name in ("output", "schema"))
    document = importlib.import_module("cyclonedx.model.bom").Bom()
    writer = output.make_outputter(document, schema.OutputFormat.JSON, schema.SchemaVersion.V1_6)
    assert json.loads(writer.output_as_string())["specVersion"] == "1.6"


def video(release: Path) -> None:
    """The library decodes what the runtime asks of it."""
    assert all(hasattr(importlib.import_module("av"), name) for name in ("open", "FFmpegError"))
    assert ran("predict", str(release / "tiny"), "no.mp4", code=2)


def plot(_release: Path) -> None:
    """The library draws without a display."""
    assert importlib.import_module("matplotlib.figure").Figure().subplots()


def dask(release: Path) -> None:
    """Pictures are shared out to a cluster's worker."""
    distributed = importlib.import_module("distributed")
    options = {"processes": False, "protocol": "tcp", "dashboard_address": None}
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, **options) as cluster:
        shared = ("--jsonl", "--dask", cluster.scheduler_address)
        told = ran("predict", str(release / "tiny"), "bright.png", "dark.png", *shared).stdout
    assert [json.loads(line)["image"] for line in told.splitlines()] == ["bright.png", "dark.png"]


def fsspec(release: Path) -> None:
    """A picture is read by its URL."""
    url = Path("bright.png").absolute().as_uri()
    (told,) = json.loads(ran("predict", str(release / "tiny"), url, "--json").stdout)
    assert told["image"] == url


def export(release: Path) -> None:
    """A module is exported, proven, and predicts."""
    import onnxproof  # noqa: PLC0415

    for name in ("tiny.py", "tiny.toml"):
        shutil.copyfile(release / name, name)
    told = json.loads(ran("export", "tiny.toml", "--out", "made", "--json").stdout)
    assert told["parity"]["verdict"] == "pass", told["parity"]
    predict(Path("made/tiny"), onnxproof.load("made/tiny"))
    assert "means" in ran("explain", "ratio_rms").stdout
    ran("compare", "made/tiny/model.onnx", "made/tiny/model.onnx", "--effort", "quick", "--quiet")


def onnxslim(release: Path) -> None:
    """Its graph is among those that are compared."""
    for name in ("tiny.py", "tiny.toml"):
        shutil.copyfile(release / name, name)
    told = ran("export", "tiny.toml", "--out", "made", "--set", 'export.simplify="best"', "--json")
    assert "onnxslim failed" not in told.stdout


def openvino(release: Path) -> None:
    """A file answers in OpenVINO as it does in ONNX Runtime."""
    import numpy as np  # noqa: PLC0415

    from onnxproof.runtime import load_plain  # noqa: PLC0415

    file = release / "tiny" / "model.onnx"
    legs = importlib.import_module("onnxproof.validate.legs.openvino_runtime")
    leg = legs.OpenVinoLeg("openvino-cpu", file, "CPU", 1, (), chooses=False)
    (port,) = leg.ports.inputs
    shape = [axis if isinstance(axis, int) else 1 for axis in port.shape]
    shape[-2:] = SIDE, SIDE
    inputs = {port.name: np.full(shape, 0.5, np.float32)}
    wanted = load_plain(file).run(inputs)
    for name, found in leg.run(inputs).outputs.items():
        np.testing.assert_allclose(found, wanted[name], rtol=1e-4, atol=1e-6)


def exported(document: str, *more: str) -> None:
    """A job is exported without a verdict."""
    Path("job.toml").write_text(document, encoding="utf-8")
    ran("export", "job.toml", "--out", "made", "--no-validate", *more)
    assert Path("made/one/model.onnx").is_file()


JOB = """name = "one"
[model]
family = "{family}"
checkpoint = "one.pth"
classes = ["a", "b"]
{more}
[export]
simplify = "none"
[dims]
batch = 1
height = 64
width = 64
"""

NORMALIZE = '[wrapper]\nnormalize = "imagenet"\n'


def saved(network: Any) -> None:
    import torch  # noqa: PLC0415

    torch.save(network.state_dict(), "one.pth")


def torchvision(_release: Path) -> None:
    """A classifier by its name."""
    models = importlib.import_module("torchvision.models")
    saved(models.shufflenet_v2_x0_5(num_classes=2))
    exported(JOB.format(family="torchvision_classifier", more='variant = "shufflenet_v2_x0_5"') + NORMALIZE)


def timm(_release: Path) -> None:
    """A classifier by its name."""
    saved(importlib.import_module("timm").create_model("test_resnet", num_classes=2))
    exported(JOB.format(family="timm_classifier", more='variant = "test_resnet"') + NORMALIZE)


def smp(_release: Path) -> None:
    """A segmenter by its name and its encoder."""
    library = importlib.import_module("segmentation_models_pytorch")
    saved(library.FPN("mobilenet_v2", encoder_weights=None, classes=2))
    more = 'variant = "FPN"\nkwargs = { encoder_name = "mobilenet_v2" }'
    exported(JOB.format(family="smp", more=more) + NORMALIZE)


def transformers(_release: Path) -> None:
    """A folder that save_pretrained wrote."""
    library = importlib.import_module("transformers")
    config = library.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=16,
        num_labels=2,
    )
    library.ViTForImageClassification(config).save_pretrained("folder")
    library.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained("folder")
    exported(
        'name = "one"\n[model]\nfamily = "transformers"\ncheckpoint = "folder"\n[export]\nsimplify = "none"\n'
    )


def ultralytics(_release: Path) -> None:
    """A state dict of a detector."""
    tasks = importlib.import_module("ultralytics.nn.tasks")
    saved(tasks.DetectionModel("yolo11n.yaml", nc=2, verbose=False))
    exported(JOB.format(family="ultralytics", more='variant = "yolo11n"'))


def cjm_yolox_pytorch(release: Path) -> None:
    """The demo's own checkpoint."""
    folder = release.parent / "examples" / "digits" / "yolox"
    exported(
        f'name = "one"\n[model]\nfamily = "yolox"\nvariant = "nano"\ncheckpoint = "{folder.as_posix()}"\n'
        '[export]\nsimplify = "none"\n[dims]\nbatch = 1\nheight = 64\nwidth = 64\n'
    )


SMOKE: dict[str, Callable[[Path], None]] = {
    "polygons": polygons,
    "coco": coco,
    "report": report,
    "signing": signing,
    "bom": bom,
    "video": video,
    "plot": plot,
    "dask": dask,
    "fsspec": fsspec,
    "export": export,
    "onnxslim": onnxslim,
    "openvino": openvino,
    "torchvision": torchvision,
    "timm": timm,
    "smp": smp,
    "transformers": transformers,
    "ultralytics": ultralytics,
    "cjm_yolox_pytorch": cjm_yolox_pytorch,
}
"""What is tried of each extra, beside what the base install does."""


def main(extra: str, release: Path) -> None:
    from onnxproof.system.extras import EXTRAS  # noqa: PLC0415

    heavy = {name for other in SMOKE if other not in LIGHT for name in EXTRAS[other]}
    others = {name for names in EXTRAS.values() for name in names} if extra == BASE else heavy
    there = sorted(name for name in others if importlib.util.find_spec(name) is not None)
    if extra in LIGHT:
        assert not there, f"this is no clean environment: it has {', '.join(there)}"
    base(release)
    if extra != BASE:
        SMOKE[extra](release)
    print(f"{extra}: works")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
