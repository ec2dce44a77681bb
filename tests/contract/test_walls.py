"""Who may import whom, and what the base install does without."""

import ast
import functools
import importlib
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import onnxproof
from onnxproof.system import extras

PACKAGE = Path(onnxproof.__file__).parent
SCENE = Path(__file__).parents[2] / "examples" / "digits" / "images" / "scene-01.png"
CLIENTS = Path(__file__).parents[2] / "examples" / "clients"
EXTRAS = sorted({module for modules in extras.EXTRAS.values() for module in modules})


def module_name(file: Path) -> str:
    parts = ("onnxproof", *file.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


# __main__ runs the command line when it is imported, and ends the process.
FILES = {module_name(file): file for file in sorted(PACKAGE.rglob("*.py")) if file.stem != "__main__"}


def python(code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter; its last line of standard error lists the modules that are left."""
    epilogue = "import json, sys; print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    return subprocess.run(
        [sys.executable, "-c", f"try:\n    {code}\nfinally:\n    {epilogue}", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def left_by(code: str, *arguments: str) -> set[str]:
    """The top-level names of the modules that code leaves imported."""
    ran = python(code, *arguments)
    assert ran.returncode == 0, ran.stderr
    return {name.partition(".")[0] for name in json.loads(ran.stderr.splitlines()[-1])}


def test_importing_the_package_imports_next_to_nothing() -> None:
    assert left_by("import onnxproof").isdisjoint(
        {"numpy", "torch", "onnx", "pydantic", "onnxruntime", "PIL"}
    )


def test_importing_the_runtime_imports_no_extra() -> None:
    left = left_by("import onnxproof.runtime")
    assert {"numpy", "onnxruntime", "PIL"} <= left
    assert left.isdisjoint({*EXTRAS, "click", "typer"})


def test_help_imports_next_to_nothing() -> None:
    left = left_by("from onnxproof.cli import main; main()", "--help")
    assert "click" in left
    assert left.isdisjoint({*EXTRAS, "numpy", "onnxruntime", "PIL"})


LIBRARIES = {
    "onnxproof.wrappers.families.smp": "segmentation_models_pytorch",
    "onnxproof.validate.legs.openvino_runtime": "openvino",
}
"""Modules that import a library which may be missing, although the group dev has it."""


@pytest.mark.parametrize("name", FILES)
def test_every_module_imports(name: str) -> None:
    if name in LIBRARIES and importlib.util.find_spec(LIBRARIES[name]) is None:
        pytest.skip(f"{LIBRARIES[name]} is not installed")
    importlib.import_module(name)


@functools.cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


PARSERS = ("json.load", "json.loads", "tomllib.load", "tomllib.loads")


def test_json_and_toml_are_read_in_one_place() -> None:
    """Python's own readers raise RecursionError, which nobody catches. A request's reader mends a request."""
    reading = {
        name
        for name, file in FILES.items()
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in PARSERS
    }
    assert reading == {"onnxproof.system.parsed", "onnxproof.runtime.request"}


def test_what_damaged_archives_raise_is_told_in_one_place() -> None:
    """Each reader that names some of it by itself forgets another: exit code 70 for a damaged file."""
    naming = {
        name
        for name, file in FILES.items()
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.Attribute) and node.attr in ("BadZipFile", "LZMAError", "TokenError")
    }
    assert naming == {"onnxproof.system.damaged"}


def opens_a_picture(node: ast.AST) -> bool:
    """Whether a node of a module's tree calls ``PIL.Image.open``, or imports it by a name of its own."""
    if isinstance(node, ast.ImportFrom):
        return node.module == "PIL.Image" and any(alias.name in ("open", "*") for alias in node.names)
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ("Image.open", "PIL.Image.open")


def test_picture_files_are_opened_in_one_place() -> None:
    """It names the formats. For others Pillow starts programs that the file tells what to do."""
    opening = {
        (name, ast.unparse(node))
        for name, file in FILES.items()
        for node in ast.walk(tree_of(file))
        if opens_a_picture(node)
    }
    assert opening == {("onnxproof.runtime.picture_file", "Image.open(file, formats=formats)")}


BLOCK = f"""
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {set(EXTRAS)!r}:
            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)
import sys
sys.meta_path.insert(0, Blocker())
"""


def without_extras(code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run code as if only the base install were there."""
    return subprocess.run(
        [sys.executable, "-c", BLOCK + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def command_without_extras(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return without_extras("from onnxproof.cli import main; main()", *arguments)


def test_the_blocker_blocks() -> None:
    ran = without_extras("import torch")
    assert ran.returncode == 1
    assert "No module named 'torch'" in ran.stderr


def test_the_runtime_needs_no_extra() -> None:
    names = [name for name in FILES if name.startswith("onnxproof.runtime")]
    assert len(names) > 5
    ran = without_extras(f"import importlib\nfor name in {names}: importlib.import_module(name)")
    assert ran.returncode == 0, ran.stderr


def test_predict_needs_no_extra(demo_bundle: Path) -> None:
    ran = command_without_extras("predict", demo_bundle, SCENE, "--json")
    assert (ran.returncode, ran.stderr) == (0, "")
    (said,) = json.loads(ran.stdout)
    assert said["boxes"]


def test_predict_draws_without_an_extra(demo_bundle: Path, tmp_path: Path) -> None:
    ran = command_without_extras("predict", demo_bundle / "model.onnx", SCENE, "--draw", tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert (tmp_path / SCENE.name).is_file()


def test_a_request_needs_no_extra(demo_bundle: Path, tmp_path: Path) -> None:
    request = {"input_data": {"columns": ["image"], "data": [str(SCENE), "no picture"]}}
    (tmp_path / "request.json").write_text(json.dumps(request), encoding="utf-8")
    ran = command_without_extras("predict", demo_bundle, "--request", tmp_path / "request.json")
    assert (ran.returncode, ran.stderr.count("\n")) == (0, 1), ran.stderr
    answered, refused = json.loads(ran.stdout)
    assert answered["boxes"]
    assert list(refused) == ["error"]


@pytest.mark.parametrize(("flag", "key"), [([], "boxes"), (["--raw"], "outputs")], ids=["decisions", "raw"])
def test_arrays_by_name_need_no_extra(demo_bundle: Path, tmp_path: Path, flag: list[str], key: str) -> None:
    np.save(tmp_path / "grey.npy", np.full((3, 64, 96), 0.5, np.float32))
    given = f"input={tmp_path / 'grey.npy'}"
    ran = command_without_extras("predict", demo_bundle, "--input", given, "--json", *flag)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert list(json.loads(ran.stdout)) == [key]


def test_plain_files_and_arrays_need_no_extra_in_python(demo_bundle: Path) -> None:
    code = """
import sys
import numpy as np
from onnxproof.runtime import load, load_plain
grey = {"input": np.full((1, 3, 64, 96), 0.5, np.float32)}
(plain,) = load_plain(sys.argv[1]).run(grey).values()
(ours,) = load(sys.argv[1]).run(inputs=grey).values()
assert np.array_equal(plain, ours)
print(*plain.shape)
"""
    ran = without_extras(code, demo_bundle)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == "1 126 6\n"


def test_inspect_needs_no_extra(demo_bundle: Path) -> None:
    ran = command_without_extras("inspect", demo_bundle, "--json")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert json.loads(ran.stdout)["name"] == "digits-yolox"


def test_a_selftest_needs_no_extra(demo_bundle: Path) -> None:
    ran = command_without_extras("selftest", demo_bundle, "--json", "--quiet")
    assert (ran.returncode, ran.stderr) == (0, "")
    verdict = json.loads(ran.stdout)
    assert {one["link"]: one["status"] for one in verdict["links"]} == dict.fromkeys(
        ("function", "runtime", "decisions"), "pass"
    )


def test_a_kit_and_its_verdict_need_no_extra(demo_bundle: Path, tmp_path: Path) -> None:
    ran = command_without_extras("kit", demo_bundle, "--out", tmp_path / "kit", "--quiet")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    client = (CLIENTS / "client.py").read_text(encoding="utf-8")
    ran = without_extras(client, tmp_path / "kit", tmp_path / "outputs")
    assert (ran.returncode, ran.stderr) == (0, "")
    ran = command_without_extras("judge", tmp_path / "kit", tmp_path / "outputs", "--json", "--quiet")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert json.loads(ran.stdout)["verdict"] == "pass"


@pytest.mark.parametrize(("command", "name"), [("tasks", "detection"), ("families", "yolox")])
def test_lists_need_no_extra(command: str, name: str) -> None:
    ran = command_without_extras(command)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert name in ran.stdout


GROUND = {
    *("errors", "text", "document", "tensors", "contract", "normalizations", "progress", "seeded", "targets"),
    *("system.extras", "system.files", "system.frames", "system.imports", "system.limits"),
    *("system.packages", "system.parsed", "system.scratch", "system.shortage", "system.usercode"),
}
ROOMS = {
    "runtime": {
        *("errors", "text", "document", "tensors", "contract", "runtime"),
        *(
            "system.confined",
            "system.begins",
            "system.damaged",
            "system.disk",
            "system.extras",
            "system.files",
            "system.limits",
            "system.own_file",
            "system.scratch",
            "system.shortage",
            "system.signatures",
        ),
    },
    "wrappers": GROUND | {"job", "runtime", "structure", "wrappers"},
    "export": GROUND
    | {"system.memory", "system.own_folder"}
    | {"counted", "graph", "on_disk", "job", "shards", "sniffed", "source", "runtime", "wrappers", "export"},
    "validate": GROUND
    | {"system.confined", "system.damaged", "system.foreign", "system.own_file"}
    | {"counted", "graph", "on_disk", "source", "runtime", "wrappers", "validate"},
    "deploy": {
        *("errors", "contract", "document", "progress", "seeded", "tensors", "runtime", "source", "deploy"),
        *("system.confined", "system.damaged", "system.disk", "system.extras", "system.files"),
        *("system.folders", "system.foreign", "system.imports", "system.own_file"),
        "system.signatures",
    },
    "errors": set(),
    "text": set(),
    "graph": {"errors", "on_disk", "runtime"},
    "on_disk": {"errors", "system.files", "runtime"},
    "normalizations": set(),
    "document": {"errors", "system.parsed"},
    "tensors": {"errors", "document"},
    "contract": {"errors", "document", "tensors"},
    "counted": {"contract", "runtime", "tensors"},
    "entry": set(),
    "progress": set(),
    "seeded": {"errors", "tensors"},
    "structure": {"errors"},
    "job": {
        *("errors", "text", "tensors", "contract", "normalizations", "structure"),
        *("system.disk", "system.limits", "system.parsed", "system.signatures", "runtime", "source", "job"),
    },
    "many": {
        *("errors", "system.extras", "system.files", "system.imports", "system.scratch", "text", "progress"),
        *("system.parsed", "system.signatures", "runtime", "source", "many"),
    },
    "shards": {"errors", "system.parsed"},
    "sniffed": {"errors", "shards", "system.begins", "system.damaged"},
    "source": {"errors", "runtime", "shards", "system.disk", "system.parsed"},
    "system.extras": {"errors", "system.disk"},
    "system.begins": set(),
    "system.claims": {"system.cleaning", "system.signals"},
    "system.cleaning": {"system.signals"},
    "system.confined": {"errors"},
    "system.damaged": set(),
    "system.disk": {"errors"},
    "system.files": {
        *("errors", "system.claims", "system.cleaning", "system.disk", "system.folders", "system.signals"),
    },
    "system.folders": {"system.cleaning"},
    "system.foreign": set(),
    "system.frames": set(),
    "system.imports": {"system.signals"},
    "system.limits": set(),
    "system.locks": set(),
    "system.own_file": {"errors", "system.files", "system.parsed"},
    "system.memory": {"errors"},
    "system.own_folder": {"errors", "system.files", "system.signals"},
    "system.packages": set(),
    "system.parsed": {"system.foreign"},
    "system.scratch": {"errors", "system.claims", "system.disk", "system.files"},
    "system.shortage": set(),
    "system.signatures": {"errors", "text"},
    "system.signals": set(),
    "system.usercode": {"errors"},
}
"""Which parts of onnxproof each part may import. A part is a room or a module; in the room ``system`` each
module is one."""


def part_of(module: str) -> str:
    """The part that a module is in: ``runtime``, or ``system.files``."""
    _, *names = module.split(".")
    return ".".join(names[: 2 if names[0] == "system" else 1])


TORCH_ROOMS = ("onnxproof.wrappers.", "onnxproof.export.", "onnxproof.validate.exact.")
TORCH_LEGS = {
    *("onnxproof.validate.legs.pytorch", "onnxproof.validate.legs.exact_graph"),
    "onnxproof.validate.legs.recorder",
    "onnxproof.validate.legs.ties",
    "onnxproof.validate.legs.cut_offs",
    "onnxproof.validate.legs.compared_ids",
    "onnxproof.validate.bisect.truth",
}


@functools.cache
def imports(file: Path) -> tuple[str, ...]:
    """The dotted names that a file imports anywhere in it, also for types alone."""
    names: list[str] = []
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            names += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            assert node.module is not None
            names.append(node.module)
    return tuple(names)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_from_the_rooms_it_may(room: str) -> None:
    members = {name: file for name, file in FILES.items() if "." in name and part_of(name) == room}
    assert members
    for name, file in members.items():
        used = {part_of(module) for module in imports(file) if module.startswith("onnxproof.")}
        assert used <= ROOMS[room], name


MOST_LINES = 400


def test_no_module_is_long() -> None:
    lines = {name: len(file.read_text(encoding="utf-8").splitlines()) for name, file in FILES.items()}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_torch_stays_in_its_rooms() -> None:
    with_torch = {
        name
        for name, file in FILES.items()
        if any(module.partition(".")[0] == "torch" for module in imports(file))
    }
    assert with_torch
    assert {name for name in with_torch if not name.startswith(TORCH_ROOMS)} <= TORCH_LEGS


def test_only_the_command_line_and_the_reports_know_the_terminal() -> None:
    for name, file in FILES.items():
        used = {module.partition(".")[0] for module in imports(file)} & {"click", "typer", "rich"}
        allowed = {"click", "rich"} if name.startswith("onnxproof.cli") else set()
        allowed |= {"rich"} if name.startswith("onnxproof.validate.report") else set()
        assert used <= allowed, name


WRITERS = {
    *("write_text", "write_bytes", "savez", "savez_compressed", "tofile", "rename", "rmtree", "unlink"),
    *("TemporaryDirectory", "NamedTemporaryFile", "TemporaryFile", "mkdtemp", "mkstemp"),
}
"""Functions and methods that write, move or remove what lies on the disk."""


def test_only_files_writes_to_the_disk() -> None:
    """Whoever writes otherwise leaves half a file on a full disk, or a folder when it is killed."""
    writers = {f"onnxproof.system.{name}" for name in ("claims", "files", "scratch")}
    assert writers <= set(FILES)
    for name, file in FILES.items():
        if name in writers:
            continue
        for node in ast.walk(tree_of(file)):
            if isinstance(node, ast.Attribute):
                assert node.attr not in WRITERS, f"{name}, line {node.lineno}: use onnxproof.system.files"
            if isinstance(node, ast.ImportFrom):
                assert node.module not in ("tempfile", "shutil"), f"{name}, line {node.lineno}"
            if isinstance(node, ast.Call) and (called(node), name) not in INTO_OPEN_STREAMS:
                assert called(node) != "save", f"{name}, line {node.lineno}: use onnxproof.system.files"
                assert called(node) != "open" or not asks_to_write(node), f"{name}, line {node.lineno}"


INTO_OPEN_STREAMS = {
    ("save", "onnxproof.runtime.drawings"),
    ("save", "onnxproof.runtime.tasks.panoptic"),
    ("save", "onnxproof.runtime.tasks.segmentation"),
    ("save", "onnxproof.validate.report.html"),  # memory
    ("save", "onnxproof.export.torch_export"),  # a scratch folder of a child process
    ("open", "onnxproof.runtime.stored"),
    ("open", "onnxproof.deploy.package"),
    ("open", "onnxproof.export.simplify"),  # the null device
    ("open", "onnxproof.cli._streams"),  # the null device
}
"""Calls that write into what onnxproof.system.files opened or made, into memory, or nowhere."""


def called(call: ast.Call) -> str:
    """The last name of what is called."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def asks_to_write(call: ast.Call) -> bool:
    """Whether an argument is a mode such as "wb"."""
    arguments = [*call.args, *(word.value for word in call.keywords)]
    texts = [entry.value for entry in arguments if isinstance(entry, ast.Constant)]
    return any(isinstance(text, str) and re.fullmatch(r"[rwxabt+]*[wxa+][rwxabt+]*", text) for text in texts)
