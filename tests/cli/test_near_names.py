"""Wrong names on the command line suggest near ones: commands, families, variants, tasks, inputs."""

from collections.abc import Callable
from pathlib import Path

import pytest

Refuse = Callable[..., None]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(("exprot",), 'did you mean "export"', id="command"),
        pytest.param(("explain", "fuction"), "did you mean function", id="check"),
    ],
)
def test_a_command_or_a_check(run: Callable[..., object], arguments: tuple[str, ...], says: str) -> None:
    ran = run(*arguments)
    assert getattr(ran, "returncode", None) == 2
    assert says in getattr(ran, "stderr", "")


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        pytest.param("model.family=yoloxx", 'did you mean "yolox"', id="family"),
        pytest.param("model.variant=nanno", 'did you mean "nano"', id="variant"),
        pytest.param("model.task=detction", 'did you mean "detection"', id="task"),
        pytest.param("wrapper.decode=pakced", 'did you mean "packed"', id="decode"),
        pytest.param("dims.hieght=64", 'did you mean "height"', id="dim"),
        pytest.param("export.opsett=18", 'did you mean "opset"', id="key"),
    ],
)
def test_a_value_of_a_job(refuse: Refuse, small_job: Path, setting: str, says: str) -> None:
    refuse("export", small_job, "--set", setting, says=[says])


def test_an_input(refuse: Refuse, small_bundle: Path, tmp_path: Path) -> None:
    import numpy as np

    np.save(tmp_path / "x.npy", np.zeros((1, 3, 64, 64), np.float32))
    refuse("predict", small_bundle, "--input", f"inptu={tmp_path / 'x.npy'}", says=['did you mean "input"'])


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(("check", "m.onnx", "--against", "c.pt"), id="check"),
        pytest.param(("compare", "a.onnx", "b.onnx", "--json"), id="compare"),
        pytest.param(("validate", "job.toml"), id="validate"),
    ],
)
@pytest.mark.parametrize("images", [("--images", "a/1.PNG"), ("--images=a/1.PNG",)], ids=["apart", "joined"])
def test_a_pattern_that_the_shell_expanded(
    refuse: Refuse, given: tuple[str, ...], images: tuple[str, ...]
) -> None:
    said = ["the shell has expanded it to 3 names (a/1.PNG, a/2.png, …)", "--images 'a/*.PNG'"]
    refuse(*given, *images, "a/2.png", "a/3.jpg", "--quiet", says=said)
