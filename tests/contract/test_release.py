"""What a release rests on: the workflow, the changelog, the checklist, and the files to publish."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from programs import program

import onnxproof

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOW = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
JOBS: dict[str, Any] = yaml.safe_load(WORKFLOW)["jobs"]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


PACKAGE = program(ROOT / "release" / "package.py")


def test_every_action_is_pinned_to_a_commit_and_says_its_version() -> None:
    used = re.findall(r"uses: (.*)", WORKFLOW)
    assert len(used) > 6
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action
    assert len(set(used)) == len({action.partition("@")[0] for action in used}), "one action in two versions"


def test_files_are_built_once_tried_with_each_extra_and_published_with_attestations() -> None:
    assert list(JOBS) == ["build", "smoke", "publish"]
    assert (JOBS["smoke"]["needs"], JOBS["publish"]["needs"]) == ("build", "smoke")
    built = [step["run"] for job in JOBS.values() for step in job["steps"] if "run" in step]
    assert [("--files" in command) for command in built] == [False, True]
    tried = JOBS["smoke"]["strategy"]["matrix"]["extra"]
    assert sorted(tried) == sorted([PACKAGE.BASE, *PACKAGE.EXTRAS])
    publish = next(step for step in JOBS["publish"]["steps"] if "pypi-publish" in step.get("uses", ""))
    assert publish["with"]["attestations"] is True
    assert not {"user", "password"} & set(publish["with"])


def test_only_the_job_that_publishes_may_sign() -> None:
    assert yaml.safe_load(WORKFLOW)["permissions"] == {}
    for name, job in JOBS.items():
        assert ("id-token" in job["permissions"]) == (name == "publish")
        assert job["permissions"].get("contents", "read") == "read"
    assert JOBS["publish"]["environment"] == "pypi"
    assert all("run" not in step for step in JOBS["publish"]["steps"])
    assert "secrets." not in WORKFLOW


def test_no_shell_line_holds_an_expression() -> None:
    """A tag's name is somebody's text: it comes as an environment variable."""
    for job in JOBS.values():
        assert all("${{" not in step.get("run", "") for step in job["steps"])


def test_each_extra_has_a_smoke_test() -> None:
    smoke = program(ROOT / "release" / "smoke.py")
    assert sorted(smoke.SMOKE) == sorted(PACKAGE.EXTRAS)
    assert smoke.LIGHT == PACKAGE.LIGHT


SECTION = re.compile(r"^## \[(Unreleased|\d+\.\d+\.\d+)\](?: - (\d{4}-\d\d-\d\d))?$")
KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")


def test_the_changelog_has_its_form() -> None:
    heads = [line for line in CHANGELOG.splitlines() if line.startswith("## ")]
    found = [SECTION.match(line) for line in heads]
    assert heads
    assert all(found), heads
    versions = [(match[1], match[2]) for match in found if match]
    assert all((name == "Unreleased") == (date is None) for name, date in versions)
    numbers = [tuple(map(int, name.split("."))) for name, _ in versions if name != "Unreleased"]
    assert numbers == sorted(numbers, reverse=True)
    assert [name for name, _ in versions].count("Unreleased") <= 1
    assert versions[0][0] in ("Unreleased", PROJECT["version"])
    kinds = re.findall(r"^### (.*)$", CHANGELOG, re.MULTILINE)
    assert kinds
    assert set(kinds) <= set(KINDS)


def test_a_tag_needs_its_version_and_a_dated_section(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(PACKAGE, "ROOT", tmp_path)
    log, version = tmp_path / "CHANGELOG.md", PROJECT["version"]
    log.write_text("# Changelog\n\n## [Unreleased]\n\n### Added\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"no section with a date"):
        PACKAGE.check_tag(f"v{version}")
    log.write_text(f"# Changelog\n\n## [{version}] - 2030-01-31\n\n### Added\n", encoding="utf-8")
    PACKAGE.check_tag(f"v{version}")
    with pytest.raises(SystemExit, match=rf"the tag is v9\.9\.9.*expected v{re.escape(version)}"):
        PACKAGE.check_tag("v9.9.9")


def test_the_version_stands_once_more() -> None:
    assert onnxproof.__version__ == PROJECT["version"]


def test_the_checklist_names_commands_and_files_that_are_there() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    checklist = page.partition("## Release\n")[2].partition("\n## ")[0]
    assert len(re.findall(r"^\d+\. ", checklist, re.MULTILINE)) >= 5
    for name in (
        "pyproject.toml",
        "src/onnxproof/__init__.py",
        "CHANGELOG.md",
        ".github/workflows/release.yml",
    ):
        assert f"`{name}`" in checklist, name
        assert (ROOT / name).is_file()
    for command in re.findall(r"dev\.py (\w+)", checklist):
        assert f'"{command}"' in (ROOT / "dev.py").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_files_are_built_checked_and_run_without_an_extra(tmp_path: Path) -> None:
    """The wheel alone, in a clean environment: what a deployment installs."""
    command = [sys.executable, str(ROOT / "dev.py"), "package", "--extras", "base", "--out", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "base: works" in ran.stdout
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".gz", ".whl"]
