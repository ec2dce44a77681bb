"""What needs an extra says which, at once; and no hint names what cannot be installed."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import onnxproof
from onnxproof.cli import COMMANDS
from onnxproof.errors import MissingPackageError, RequestError
from onnxproof.system import extras
from onnxproof.wrappers.catalog import extra_of, offered_families

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DECLARED: dict[str, list[str]] = PROJECT["optional-dependencies"]

BROUGHT = sorted({module for modules in extras.EXTRAS.values() for module in modules})
OURS = [entry for entry in offered_families() if entry.distribution is None]


MODULES = {"pyopenssl": "OpenSSL", "cyclonedx_python_lib": "cyclonedx"}
"""The modules of distributions that are not called as those are."""


def distributions(extra: str) -> set[str]:
    """What an extra installs, by the name of the module that each distribution has."""
    found: set[str] = set()
    for text in DECLARED[extra]:
        wanted = Requirement(text)
        if wanted.name == PROJECT["name"]:
            found.update(*(distributions(other) for other in wanted.extras))
        else:
            name = wanted.name.replace("-", "_")
            found.add(MODULES.get(name, name))
    return found


def test_each_extra_brings_what_the_package_says() -> None:
    assert set(extras.EXTRAS) == set(DECLARED) - {"all"}
    for extra, modules in extras.EXTRAS.items():
        assert set(modules) == distributions(extra), extra
    everything = set().union(*(distributions(extra) for extra in DECLARED if extra != "ultralytics"))
    assert distributions("all") == everything


def test_the_smallest_extra_is_named() -> None:
    assert extras.extra_with("torch.nn") == "export"
    assert extras.extra_with("torchvision") == "torchvision"
    assert extras.extra_with("markupsafe") == "report"
    with pytest.raises(KeyError, match="no extra brings acme"):
        extras.extra_with("acme.things")
    assert not extras.brings("acme")
    assert not extras.brings(None)


def test_a_missing_package_is_a_wrong_request_and_a_failed_import() -> None:
    error = extras.missing("onnx_ir.traversal", "compare")
    assert isinstance(error, RequestError)
    assert isinstance(error, ImportError)
    assert error.exit_code == 2
    assert str(error) == "compare needs the package onnx_ir: pip install 'onnxproof[export]'"


IN_TURN = """
import contextlib, io, json, sys

class Blocker:
    names = frozenset()
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in self.names:
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)

blocker = Blocker()
sys.meta_path.insert(0, blocker)
from onnxproof.cli import main

def run(arguments):
    sys.argv = ["onnxproof", *arguments]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as ended:
            return [ended.code, out.getvalue(), err.getvalue()]

found = []
for names, arguments in json.loads(sys.argv[1]):
    blocker.names = frozenset(names)
    found.append(run(arguments))
print(json.dumps({"found": found, "modules": sorted({name.partition('.')[0] for name in sys.modules})}))
"""


def in_turn(asked: list[tuple[list[str], list[str]]]) -> tuple[list[list[Any]], set[str]]:
    """Run commands in one process, each without some modules.

    Returns their exit codes, outputs and errors, and what the process imported.
    """
    ran = subprocess.run(
        [sys.executable, "-c", IN_TURN, json.dumps(asked)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert len(said["found"]) == len(asked)
    return said["found"], set(said["modules"])


BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {modules!r}:
            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)
sys.meta_path.insert(0, Blocker())
"""

NEEDY = [(command, module) for command in COMMANDS for module in extras.NEEDED_BY.get(command, ())]


def test_each_command_names_the_extra_at_once_whatever_is_missing() -> None:
    assert {command for command, _ in NEEDY} >= {"export", "init", "validate", "check", "compare", "bisect"}
    found, modules = in_turn([([module], [command, "model.onnx"]) for command, module in NEEDY])
    for (command, module), (code, out, err) in zip(NEEDY, found, strict=True):
        hint = f"pip install 'onnxproof[{extras.extra_with(module)}]'"
        assert (code, out) == (2, ""), (command, module, err)
        assert err == f"onnxproof: {command} needs the package {module}: {hint}\n"
    assert modules.isdisjoint({*BROUGHT, "numpy", "onnxruntime"})


def without(modules: list[str], code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process that lacks some modules."""
    command = [sys.executable, "-c", BLOCKED.format(modules=set(modules)) + code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_as_json_the_error_has_its_name() -> None:
    ran = without(["torch"], "from onnxproof.cli import main; main()", "export", "job.toml", "--json")
    error = json.loads(ran.stdout)["error"]
    assert (ran.returncode, error["type"], error["exit_code"]) == (2, "MissingPackageError", 2)
    assert ran.stderr == f"onnxproof: {error['message']}\n"


def test_commands_without_needs_run_in_the_base_install() -> None:
    free = [command for command in COMMANDS if command not in extras.NEEDED_BY]
    assert free == [
        "selftest",
        "kit",
        "judge",
        "bench",
        "package",
        "predict",
        "inspect",
        "schema",
        "families",
        "tasks",
    ]
    found, _ = in_turn([(BROUGHT, [command, "--help"]) for command in free])
    for command, (code, out, err) in zip(free, found, strict=True):
        assert (code, err) == (0, ""), command
        assert "Usage:" in out


def test_each_family_names_its_extra_before_torch_is_imported(tmp_path: Path) -> None:
    needy = [entry for entry in OURS if extra_of(entry) is not None]
    assert [entry.name for entry in OURS if entry not in needy] == ["module"]
    asked = []
    for entry in needy:
        job = tmp_path / f"{entry.name}.toml"
        job.write_text(f'name = "a"\n[model]\nfamily = "{entry.name}"\ncheckpoint = "a.pt"\n')
        library = extras.EXTRAS[str(extra_of(entry))][-1]
        asked.append(([library], ["export", str(job), "--out", str(tmp_path)]))
    found, modules = in_turn(asked)
    for entry, ([library], _), (code, out, err) in zip(needy, asked, found, strict=True):
        hint = extras.hint(str(extra_of(entry)))
        assert (code, out) == (2, ""), (entry, err)
        assert err == f"onnxproof: the family {entry.name} needs the package {library}: {hint}\n"
    assert "torch" not in modules


FACE = """
import onnxproof
from onnxproof.errors import MissingPackageError
for name in onnxproof.__all__:
    try:
        getattr(onnxproof, name)
        print(name, "is there")
    except MissingPackageError as error:
        print(name, "says", error)
try:
    from onnxproof import export
except ImportError as error:
    print("import", "says", error)
"""


def test_each_name_of_the_api_is_there_or_names_the_extra() -> None:
    ran = without(BROUGHT, FACE)
    assert ran.returncode == 0, ran.stderr
    said = dict(line.split(" ", 1) for line in ran.stdout.splitlines())
    assert set(said) == {*onnxproof.__all__, "import"}
    needy = {name for name, text in said.items() if text.startswith("says ")}
    assert needy == {"import", *(set(extras.NEEDED_BY) & set(onnxproof.__all__))}
    for name in needy - {"import"}:
        assert said[name].startswith(f"says onnxproof.{name} needs the package ")
        assert said[name].endswith("pip install 'onnxproof[export]'")
    assert said["import"] == said["export"]


@pytest.mark.parametrize(("flag", "library"), [("--html", "jinja2")])
def test_an_option_that_needs_an_extra_names_it_before_the_work(
    flag: str, library: str, tmp_path: Path
) -> None:
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).write_bytes(b"")
    asked = ["compare", str(tmp_path / "a.onnx"), str(tmp_path / "b.onnx"), flag, str(tmp_path / "r")]
    (ended,), modules = in_turn([([library], asked)])
    code, _, err = ended
    assert (code, err) == (2, f"onnxproof: {flag} needs the package {library}: {extras.hint('report')}\n")
    assert "torch" not in modules


IN_JSON = """
from onnxproof.system import extras
assert dict(extras.NEEDED_IN_JSON) == {"instance_segmentation": "polygons"}
extras.NEEDED_IN_JSON = {"classification": "polygons"}
from onnxproof.cli import main
main()
"""


@pytest.mark.parametrize("flag", ["--json", "--jsonl"])
def test_a_task_whose_json_needs_an_extra_says_so_before_it_runs(flag: str, tmp_path: Path) -> None:
    bundle, picture = str(ROOT / "release" / "tiny"), str(tmp_path / "is-not-even-read.png")
    ran = without(["shapely"], IN_JSON, "predict", bundle, picture, flag)
    assert ran.returncode == 2
    assert (
        ran.stderr
        == f"onnxproof: classification as JSON needs the package shapely: {extras.hint('polygons')}\n"
    )


def test_the_pytest_plugin_says_what_jobs_need(monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxproof.testing import plugin

    class Config:
        def getoption(self, name: str) -> bool:
            return name == "onnxproof_jobs"

    def lacks(extra: str, who: str) -> None:
        raise MissingPackageError(f"{who}: {extras.hint(extra)}")

    monkeypatch.setattr(plugin, "require_extra", lacks)
    config: Any = Config()
    with pytest.raises(pytest.UsageError, match=r"--onnxproof: pip install 'onnxproof\[export\]'"):
        plugin.pytest_configure(config)


PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "action.yml")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
PAGES += sorted(page for page in (ROOT / "examples").rglob("*.md") if "node_modules" not in page.parts)
INSTALL = re.compile(r"pip install[^`\n]*")
NAMED = re.compile(r"""^["']?(?P<name>[^\["']+)(\[(?P<extras>[^\]]+)\])?["']?$""")
PLACES = re.compile(
    r"^(\.|\./acme-signals|/tmp/onnxproof|\$\{GITHUB_ACTION_PATH\}|dist/onnxproof-[^/]+\.whl)$"
)
"""What may be installed by its place."""


def hints() -> list[tuple[str, str]]:
    """Every ``pip install`` of the pages, and those that the package prints."""
    told = [(page.name, text) for page in PAGES for text in INSTALL.findall(page.read_text(encoding="utf-8"))]
    return told + [("extras.hint", INSTALL.findall(extras.hint(extra))[0]) for extra in DECLARED]


@pytest.mark.parametrize(("page", "text"), hints())
def test_a_hint_names_what_there_is(page: str, text: str) -> None:
    """onnxproof is on no index. By its name it is found only where it is installed, so pages give a place."""
    words = text.removeprefix("pip install").partition(" #")[0].partition(" (")[0].split()
    assert words, text
    for word in words:
        named = NAMED.match(word)
        assert named is not None, word
        given = (named["extras"] or "").split(",")
        assert set(given) <= {"", "${EXTRAS}", *DECLARED}, text
        if page == "extras.hint":
            assert named["name"] == PROJECT["name"]
        else:
            assert PLACES.match(named["name"]) or named["name"] == PROJECT["name"], text


def test_the_walk_over_hints_finds_them() -> None:
    found = hints()
    assert len(found) > 12
    assert {page for page, _ in found} >= {"README.md", "ci.md", "deploy.md", "extras.hint", "action.yml"}


def test_only_one_place_of_the_package_tells_how_to_install() -> None:
    package = Path(onnxproof.__file__).parent
    telling = [
        file.relative_to(package).as_posix()
        for file in sorted(package.rglob("*"))
        if file.suffix in (".py", ".j2", ".json") and "pip install" in file.read_text(encoding="utf-8")
    ]
    assert telling == ["system/extras.py"]
