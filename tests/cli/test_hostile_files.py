"""inspect, predict, compare and validate on files that crash, hang or mislead whoever opens them."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hostile import ESCAPES, FILES, content_of, integers, model, node, of_functions, of_loop, value
from onnx import TensorProto, helper

DRIVER = Path(__file__).parents[1] / "helpers" / "many_runs.py"
TIME_LIMIT_S, SLACK_S = 2.0, 30.0
"""The limit that is set, and how much longer one command may take on a busy machine."""
FLIPS = 100
"""Damaged copies of a healthy file."""

LISTS = ("declared-list", "computed-list", "joined-list")
"""Files whose loading takes the whole time limit, or the memory."""

Ran = dict[str, Any]


def run_all(
    commands: Sequence[Sequence[str | Path]], limit_s: float = TIME_LIMIT_S, before: Sequence[str] = ()
) -> list[Ran]:
    """What each command came to; they run in one process, which none of them may end.

    ``before`` is a command that starts the process.
    """
    listed = [[str(argument) for argument in command] for command in commands]
    done = subprocess.run(
        [*before, sys.executable, "-W", "ignore", DRIVER],
        input="\n".join(json.dumps({"arguments": arguments}) for arguments in listed),
        capture_output=True,
        text=True,
        env={**os.environ, "ONNXPROOF_TIME_LIMIT": f"{limit_s:g}", "ONNXPROOF_MEMORY_LIMIT": "2"},
        check=False,
    )
    ran = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(ran) == len(listed), f"{listed[len(ran)]} ended the process: {done.returncode}, {done.stderr}"
    return ran


def require_sound(ran: Ran) -> None:
    """An exit code with a meaning, no traceback, no control characters, in time."""
    said = f"{ran['arguments']}: {ran['code']}\n{ran['out']}{ran['err']}"
    assert ran["code"] in range(5), said
    assert "Traceback" not in said, said
    assert ran["seconds"] < TIME_LIMIT_S * 2 + SLACK_S, said
    assert not set(ran["out"] + ran["err"]) & set("\x1b\x07\x9b\u202e\r"), said
    lines = (ran["out"] + ran["err"]).splitlines()
    assert not [line for line in lines if line.lstrip().startswith("::")], said
    if ran["code"] == 2:
        told = [line for line in ran["err"].splitlines() if not line.startswith("compare ")]  # a stage
        assert told[0].startswith("onnxproof: "), said


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("hostile")
    for name in FILES:
        (made / f"{name}.onnx").write_bytes(content_of(name))
    np.save(made / "x.npy", np.ones((1, 3), np.float32))
    return made


def told(ran: Sequence[Ran]) -> dict[str, Ran]:
    """By the file's name."""
    return {Path(entry["arguments"][1]).stem: entry for entry in ran}


def test_inspect(folder: Path) -> None:
    """``test_a_list_that_is_a_shape_is_looked_at_before_it_is_loaded`` has the other files."""
    ran = run_all([("inspect", folder / f"{name}.onnx") for name in FILES if name not in LISTS])
    for entry in ran:
        require_sound(entry)
    by_name = told(ran)
    assert "is not UTF-8" in by_name["metadata-value-no-text"]["err"]
    assert "3,000 deep" in by_name["functions-in-a-chain"]["err"]
    assert "call each other without end" in by_name["function-of-itself"]["err"]
    assert "100,000 axes" in by_name["ranks-of-an-input"]["err"]
    assert "SIGFPE" in by_name["division"]["err"] or by_name["division"]["code"] == 0
    shown = by_name["escapes"]["out"]
    assert r"input a\x1b[2J\x1b]0;title\x07b\u202ec\x9b1m\r\n::error::d " in shown


LIMITED = ("sh", "-c", 'ulimit -v 6000000; exec "$@"', "sh")
"""Starts a process with at most 6 GB of memory: what a file makes it take must not take the machine's."""

SHAPES = ("range", "expand", "constant-of-shape", "doublings", "large-input", "negative-input", "branches")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no process's memory")
def test_the_shapes_of_huge_lists_are_inferred_apart(folder: Path) -> None:
    ran = run_all([("inspect", folder / f"{name}.onnx", "--axes") for name in SHAPES], before=LIMITED)
    for entry in ran:
        require_sound(entry)
    by_name = told(ran)
    axes = by_name["range"]["out"]
    assert by_name["range"]["code"] == 0
    assert "shapes cannot be inferred: it needs more than 1 GiB" in axes or "took more than 2 s" in axes
    assert "followed at" in by_name["branches"]["out"] or "no axis is declared" in by_name["branches"]["out"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no process's memory")
def test_a_list_that_is_a_shape_is_looked_at_before_it_is_loaded(folder: Path) -> None:
    listed = [("inspect", folder / f"{name}.onnx") for name in LISTS]
    for entry in run_all(listed, limit_s=0.5, before=LIMITED):  # loading them takes minutes
        require_sound(entry)
        assert entry["code"] == 2, entry
        assert "memory" in entry["err"] or "alloc" in entry["err"] or "took more than" in entry["err"], entry


def test_inspect_json_of_escapes(folder: Path) -> None:
    (ran,) = run_all([("inspect", folder / "escapes.onnx", "--json")])
    require_sound(ran)
    assert json.loads(ran["out"])["inputs"][0]["name"] == ESCAPES


def test_an_error_that_tells_a_name_of_the_file(folder: Path) -> None:
    (ran,) = run_all([("predict", folder / "escapes.onnx", "--input", f"z={folder / 'x.npy'}")])
    require_sound(ran)
    assert ran["code"] == 2
    assert ran["err"].count("\n") == 1
    assert r"there are: a\x1b[2J\x1b]0;title\x07b\u202ec\x9b1m\r\n::error::d float32[1, 3]" in ran["err"]


def test_the_traceback_of_such_an_error(folder: Path) -> None:
    given = ("--traceback", "--input", f"z={folder / 'x.npy'}")
    (ran,) = run_all([("predict", folder / "escapes.onnx", *given)])
    assert "Traceback" in ran["err"]
    assert not set(ran["err"]) & set("\x1b\x07\x9b\u202e\r")
    assert not [line for line in ran["err"].splitlines() if line.startswith("::")]


@pytest.mark.slow
def test_predict(folder: Path) -> None:
    ran = run_all([("predict", folder / f"{name}.onnx", "--input", folder / "x.npy") for name in FILES])
    for entry in ran:
        require_sound(entry)
    by_name = told(ran)
    loop = by_name["loop-without-end"]
    assert loop["code"] == 2
    assert "took more than 2 s (it holds a Loop that may have no end)" in loop["err"]
    assert "ONNXPROOF_TIME_LIMIT=SECONDS" in loop["err"]
    assert by_name["branches"]["code"] == 0
    assert [by_name[name]["code"] for name in ("expand", "constant-of-shape", "doublings")] == [2, 2, 2]


@pytest.mark.slow
def test_compare(folder: Path) -> None:
    names = [name for name in FILES if not name.startswith(("location-", "offset-", "loop-"))]
    healthy = folder / "healthy.onnx"
    healthy.write_bytes(model([node("Neg", "x", "y")]).SerializeToString())
    ran = run_all([("compare", folder / f"{name}.onnx", healthy, "--effort", "quick") for name in names])
    ran += run_all([("compare", healthy, folder / "loop-without-end.onnx", "--effort", "quick")])
    for entry in ran:
        require_sound(entry)


@pytest.mark.slow
def test_compare_of_a_healthy_file_with_a_hostile_one_and_the_other_way_round(folder: Path) -> None:
    """``test_compare`` has the other files in A's place."""
    healthy = folder / "healthy.onnx"
    healthy.write_bytes(model([node("Neg", "x", "y")]).SerializeToString())
    loops = ("loop-without-end", "loop-with-many-turns")
    bombs = ("junk", "functions-doubling", "functions-in-a-chain", "division", "doublings", "expand")
    pairs = [(folder / f"{name}.onnx", healthy) for name in loops]
    pairs += [(healthy, folder / f"{name}.onnx") for name in (*loops, *bombs)]
    for entry in run_all([("compare", a, b, "--effort", "quick") for a, b in pairs]):
        require_sound(entry)
        assert entry["code"] in (1, 2, 4), entry


NEGATED = """
import torch

class Negated(torch.nn.Module):
    def forward(self, x):
        return {"y": -x}
"""
JOB_OF_NEGATED = """
name = "negated"
[model]
family = "module"
builder = "negated.py:Negated"
[inputs]
x = "float32[1, 3]"
[validate]
effort = "quick"
threads = 1
"""


@pytest.mark.slow
def test_bisect(folder: Path, tmp_path: Path) -> None:
    """The files have the model's interface, so the walk reaches their nodes."""
    (tmp_path / "negated.py").write_text(NEGATED, encoding="utf-8")
    job = tmp_path / "negated.toml"
    job.write_text(JOB_OF_NEGATED, encoding="utf-8")
    refused = ("junk", "nested-messages", "functions-doubling", "function-of-itself", "division")
    named = ("doublings", "huge-input", "branches")
    beyond = ("loop-without-end", "expand")  # what the evaluator does not do is no fault of a node
    ran = run_all(
        [
            ("bisect", job, "--onnx", folder / f"{name}.onnx", "--out", tmp_path / name)
            for name in (*refused, *named, *beyond)
        ]
    )
    codes = {}
    for entry in ran:
        require_sound(entry)
        codes[Path(entry["arguments"][3]).stem] = entry["code"]
    assert codes == dict.fromkeys(refused, 2) | dict.fromkeys(named, 1) | dict.fromkeys(beyond, 4)


@pytest.mark.slow
def test_validate(folder: Path) -> None:
    job = Path(__file__).parents[2] / "configs" / "digits-classifier.toml"
    names = (
        "huge-input input-no-text functions-in-a-chain functions-doubling division loop-without-end "
        "doublings escapes ranks-of-a-tensor"
    ).split()
    for entry in run_all([("validate", job, "--onnx", folder / f"{name}.onnx") for name in names]):
        require_sound(entry)
        assert entry["code"] in (1, 2, 4)


def healthy_network() -> onnx.ModelProto:
    """Every kind of field that a small exported network has."""
    random_numbers = np.random.default_rng(0)
    weights = random_numbers.normal(size=(4, 3, 3, 3)).astype(np.float32)
    nodes = [
        node("Conv", "x w", "c", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1]),
        node("Relu", "c", "r"),
        node("MaxPool", "r", "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Shape", "p", "s"),
        node("Gather", "s zero", "batch", axis=0),
        node("Concat", "batch rest", "to", axis=0),
        node("Reshape", "p to", "flat"),
        node("Softmax", "flat", "y", axis=1),
    ]
    return model(
        nodes,
        inputs=[value("x", ["batch", 3, 8, 8])],
        outputs=[value("y", ["batch", "n"])],
        tensors=[
            helper.make_tensor("w", TensorProto.FLOAT, weights.shape, weights.tobytes(), raw=True),
            integers("zero", 0),
            integers("rest", -1),
        ],
    )


@pytest.mark.slow
def test_flipped_bytes(tmp_path: Path) -> None:
    """Seeded damage outside of the weights: one to four bytes."""
    chance = random.Random(9)
    content = healthy_network().SerializeToString()
    weights = content.index(b"\x22\x01w") if b"\x22\x01w" in content else len(content)
    np.save(tmp_path / "x.npy", np.ones((1, 3, 8, 8), np.float32))
    commands: list[Sequence[str | Path]] = []
    for number in range(FLIPS):
        damaged = bytearray(content)
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(content)) if chance.random() < 0.5 else chance.randrange(weights)
            damaged[place] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))
        file = tmp_path / f"{number}.onnx"
        file.write_bytes(damaged)
        commands += [("inspect", file), ("predict", file, "--input", tmp_path / "x.npy")]
    for entry in run_all(commands):
        require_sound(entry)


def test_own_loops_and_functions_run(tmp_path: Path) -> None:
    counted = of_loop(
        "turns",
        [integers("zero", 0, shape=[])],
        [node("Shape", "x", "sizes"), node("Gather", "sizes zero", "turns")],
    )
    asked = of_loop("turns", [integers("one", 1, shape=[])], [node("Add", "one one", "turns")])
    np.save(tmp_path / "x.npy", np.ones((1, 3), np.float32))
    files = {"counted": (counted, 2), "asked": (asked, 4), "functions": (of_functions(20), -1)}
    for name, (made, _) in files.items():
        (tmp_path / f"{name}.onnx").write_bytes(made.SerializeToString())
    ran = run_all(
        [("predict", tmp_path / f"{name}.onnx", "--input", tmp_path / "x.npy", "--json") for name in files],
        limit_s=60,
    )
    for entry, (_, expected) in zip(ran, files.values(), strict=True):
        assert entry["code"] == 0, entry
        assert json.loads(entry["out"])["outputs"][0]["values"] == [[expected] * 3]
