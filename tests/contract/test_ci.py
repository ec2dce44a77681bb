"""The action and the workflows of docs/ci.md: GitHub and GitLab take them, and their commands run."""

import json
import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from onnxproof.cli import COMMANDS, app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
WORKFLOWS = dict(re.findall(r"<!-- (github|gitlab)[^>]* -->\n```yaml\n(.*?)```", PAGE, flags=re.DOTALL))
ACTION: Any = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
SCHEMAS = {"github": "vendor.github-workflows", "gitlab": "vendor.gitlab-ci"}


def accepted(schema: str, file: Path) -> subprocess.CompletedProcess[str]:
    """What check-jsonschema says of a file, by one of the schemas that it brings."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_the_action_is_of_its_schema() -> None:
    ran = accepted("vendor.github-actions", ROOT / "action.yml")
    assert ran.returncode == 0, ran.stdout


OURS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("file", OURS, ids=lambda file: file.name)
def test_a_workflow_of_the_repository_is_of_its_schema(file: Path) -> None:
    ran = accepted(SCHEMAS["github"], file)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("host", SCHEMAS)
def test_a_workflow_of_the_page_is_of_its_schema(host: str, tmp_path: Path) -> None:
    file = tmp_path / f"{host}.yml"
    file.write_text(WORKFLOWS[host], encoding="utf-8")
    ran = accepted(SCHEMAS[host], file)
    assert ran.returncode == 0, ran.stdout


def test_the_schemas_refuse_what_is_no_workflow(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yml"
    file.write_text(WORKFLOWS["github"].replace("runs-on", "runs-at"), encoding="utf-8")
    assert accepted(SCHEMAS["github"], file).returncode == 1


def test_the_workflow_gives_the_action_inputs_that_it_has() -> None:
    (job,) = yaml.safe_load(WORKFLOWS["github"])["jobs"].values()
    (step,) = (step for step in job["steps"] if step.get("uses", "").startswith("OWNER/"))
    assert set(step["with"]) <= set(ACTION["inputs"])
    assert "arguments" in step["with"]


def flags_of(command: str) -> set[str]:
    found = app.get_command(click.Context(app), command)
    assert found is not None
    return {flag for option in found.params for flag in (*option.opts, *option.secondary_opts)}


def commands_told() -> list[str]:
    """The lines of the page and of the action that call onnxproof."""
    prove = next(step for step in ACTION["runs"]["steps"] if step.get("id") == "prove")
    action = prove["run"].replace("\\\n", " ").replace('"$COMMAND"', "export")
    text = PAGE.replace("\\\n", " ")
    return re.findall(r"onnxproof (?:export|validate|check|compare) [^\n`]*", f"{text}\n{action}")


@pytest.mark.parametrize("line", commands_told())
def test_commands_use_options_that_they_have(line: str) -> None:
    _, command, *rest = shlex.split(line.partition("||")[0].partition(" #")[0])
    assert command in COMMANDS
    given = {word.partition("=")[0] for word in rest if word.startswith("--")}
    assert given <= flags_of(command), given - flags_of(command)


@pytest.mark.parametrize("code", [0, 1, 4])
def test_the_actions_script_passes_words_and_the_exit_code_on(tmp_path: Path, code: int) -> None:
    stub = tmp_path / "bin" / "onnxproof"
    stub.parent.mkdir()
    stub.write_text(
        f"#!{sys.executable}\nimport json, sys\nopen('said.json', 'w').write(json.dumps(sys.argv[1:]))\n"
        f"sys.exit({code})\n",
        encoding="utf-8",
    )
    stub.chmod(stub.stat().st_mode | stat.S_IXUSR)
    python = stub.with_name("python")
    python.symlink_to(sys.executable)
    (prove,) = (step for step in ACTION["runs"]["steps"] if step.get("id") == "prove")
    environment = {
        **os.environ,
        "PATH": f"{stub.parent}{os.pathsep}{os.environ['PATH']}",
        "COMMAND": "validate",
        "ARGUMENTS": "'a job.toml' --set 'dims.batch=1..2; $(touch harm)' `touch harm`",
        "REPORTS": "my reports",
        "GITHUB_OUTPUT": str(tmp_path / "output"),
    }
    ran = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", prove["run"]],
        cwd=tmp_path,
        env=environment,
        check=False,
        timeout=120,
    )
    assert ran.returncode == code
    said = json.loads((tmp_path / "said.json").read_text(encoding="utf-8"))
    assert said[:4] == ["validate", "a job.toml", "--set", "dims.batch=1..2; $(touch harm)"]
    assert said[-8::2] == ["--junit", "--sarif", "--html", "--markdown"]
    assert said[-7] == "my reports/junit.xml"
    assert (tmp_path / "output").read_text(encoding="utf-8") == f"exit-code={code}\n"
    assert not (tmp_path / "harm").exists()
