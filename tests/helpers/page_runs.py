"""Runs the blocks of a page, one after the other, in a folder of its own that looks like a clone.

The folder has ``examples``, ``configs`` (its jobs are tried at a ``Scale``) and the demo's bundle in
``dist/digits-yolox``. What a page needs besides, such as a user's ``best.pt``, page_files.py puts there. An
export that several pages run is made once. ``pip install``, ``npm install`` and the tasks of dev.py other
than ``demo`` and ``run`` are not run: test_pages.py knows that they exist.
"""

import contextlib
import io
import os
import pickle
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from commands import Ran, run_here
from once import Once
from page_files import PREPARE
from pages import ROOT, Block, Command, blocks_of, commands_of, missing

from onnxproof.job import Job


@dataclass(frozen=True)
class Scale:
    """On how much the jobs of a page are tried: as they stand, unless it says otherwise.

    ``narrower`` are sizes in jobs and what stands in their place, ``validate`` are lines for their table
    of this name, ``set`` are arguments of jobs that the page alone has, and a command of the shell may
    take ``seconds``. Blocks with one of the marks ``left_out`` are not run.
    """

    narrower: tuple[tuple[str, str], ...] = ()
    validate: str = ""
    set: tuple[str, ...] = ()
    seconds: float = 3600
    left_out: tuple[str, ...] = ("not run",)

    def of_job(self, job: str) -> str:
        """The text of a job at this scale."""
        for wide, narrow in self.narrower:
            job = job.replace(wide, narrow)
        if not self.validate or "effort" in job or "[model]" not in job:
            return job
        before, table, after = job.partition("[validate]\n")
        return (
            f"{before}[validate]\n{self.validate}{after}" if table else f"{job}\n[validate]\n{self.validate}"
        )


WHOLE = Scale()
SMALL = Scale(
    narrower=(
        ("64..640", "64..256"),
        ("96..640", "96..256"),
        ("64..320", "64..160"),
        ("1..8", "1..2"),
        ("1..4", "1..2"),
        ("1..640", "1..128"),
    ),
    validate='effort = "quick"\nthreads = 1\n',
    set=("--set", "validate.threads=1"),  # the other cores have other tests
    seconds=300,
    left_out=("not run", "at length"),
)
DEMO = ("export", "configs/digits-yolox.toml")
OFFLINE = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
"""Ultralytics neither downloads nor installs."""
REPORTS = ("--html", "--junit", "--sarif", "--markdown", "--baseline", "--out", "--json")
"""With these an export writes or prints something else, and is not shared."""


class PageError(AssertionError):
    """A block that does not do what its page says."""


class PageRun:
    """What a page has made so far. ``folder`` is the working directory of all its blocks."""

    def __init__(self, folder: Path, once: Once, scale: Scale) -> None:
        self._folder = folder
        self._once = once
        self._scale = scale
        self.names: dict[str, Any] = {}
        self._last = Ran("", 0)
        self._run = {
            "python": self._python,
            "bash": self._commands,
            "console": self._commands,
            "toml": self._toml,
            "text": self._text,
        }

    def block(self, block: Block) -> bool:
        """Run one block; False if there is nothing to run. Raises PageError."""
        if "file" in block.marks:
            target = self._folder / block.marks["file"]
            target.parent.mkdir(parents=True, exist_ok=True)
            text = self._scale.of_job(block.source) if block.language == "toml" else block.source
            target.write_text(text, encoding="utf-8")
        if not block.marks.keys().isdisjoint(self._scale.left_out) or block.language not in self._run:
            return False
        if "output" in block.marks:
            self.compare(block, block.source, self._last)
            return True
        if block.language == "python" and "file" in block.marks:
            return True
        self._run[block.language](block)
        return block.language != "text"

    def _python(self, block: Block) -> None:
        printed = io.StringIO()
        code = compile("\n" * block.line + block.source, str(block.page), "exec")
        with contextlib.redirect_stdout(printed):
            exec(code, self.names)
        self._last = Ran(printed.getvalue(), 0)

    def _toml(self, block: Block) -> None:
        document = tomllib.loads(block.source)
        # The file that such a job extends is the reader's own. test_pages.py holds the job to the schema.
        if "name" not in document or not {"extends", "matrix"}.isdisjoint(document):
            return
        job = Job.from_document(document, folder=self._folder / "configs", source=block.place)
        checkpoint = job.model.checkpoint
        if checkpoint and job.resolve(checkpoint).exists():
            from onnxproof.export.model import build_model

            build_model(job)

    def _text(self, block: Block) -> None:
        """Is looked at by the reader alone, unless it is marked as output."""

    def _commands(self, block: Block) -> None:
        commands = commands_of(block)
        for number, command in enumerate(commands, 1):
            if command.line == "echo $?":
                self._last = Ran(f"{self._last.code}\n", self._last.code)
                self.compare(block, command.printed, self._last)
                continue
            asked = number < len(commands) and commands[number].line == "echo $?"
            self._last = self._command(command)
            expected = int(block.marks.get("exits", 0)) if number == len(commands) else 0
            if self._last.code != expected and not asked:
                raise PageError(
                    f"{block.place}: {command.line}\nexit code {self._last.code}, expected {expected}\n"
                    f"{self._last.printed}"
                )
            self.compare(block, command.printed, self._last)

    def _command(self, command: Command) -> Ran:
        line = command.line.removeprefix("python3 dev.py run ")
        words = Command(line).words
        if words[:3] == ["python3", "dev.py", "demo"]:
            words = ["onnxproof", *DEMO]
        if words[:2] in (["pip", "install"], ["npm", "install"], ["python3", "dev.py"]):
            return Ran(self._last.printed, 0)  # test_pages.py knows that the extras and the tasks exist
        if words[0] == "onnxproof" and command.is_plain:
            if words[1] == "export" and not set(words) & set(REPORTS) and is_shared(words[2]):
                return self._shared(tuple(words[1:]))
            return run_here([*words[1:], *(self._scale.set if words[1] in ("export", "check") else ())])
        return self._shell(line)

    def _shell(self, line: str) -> Ran:
        """In a shell, with the commands of this environment."""
        # A page's reader runs no tests: Ultralytics writes its runs elsewhere in one.
        outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        environment = {
            **outside,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "src"),
        }
        ran = subprocess.run(
            ["bash", "-c", line],
            capture_output=True,
            text=True,
            check=False,
            timeout=self._scale.seconds,
            env=environment,
        )
        return Ran(ran.stdout + ran.stderr, ran.returncode)

    def _shared(self, arguments: tuple[str, ...]) -> Ran:
        """An export of a job that all pages have, made once for them."""
        made = shared_export(self._once, arguments, self._scale)
        _copy_bundle(made, self._folder)
        ran = pickle.loads((made / "ran.pickle").read_bytes())
        assert isinstance(ran, Ran)
        return ran

    def compare(self, block: Block, told: str, ran: Ran) -> None:
        """Hold what the page shows to what was printed. Raises PageError."""
        lacks = missing(told, ran.printed)
        if lacks:
            shown = "\n".join(lacks)
            raise PageError(f"{block.place} shows what is not printed:\n{shown}\n\nprinted:\n{ran.printed}")


@contextlib.contextmanager
def clone(folder: Path, scale: Scale) -> Iterator[None]:
    """The folder is laid out as a clone, and is the working directory."""
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / "configs").mkdir()
    for job in (ROOT / "configs").glob("*.toml"):
        text = scale.of_job(job.read_text(encoding="utf-8"))
        (folder / "configs" / job.name).write_text(text, encoding="utf-8")
    settings = folder / ".ultralytics"
    settings.mkdir()
    with contextlib.chdir(folder), mock.patch.dict(os.environ, OFFLINE, YOLO_CONFIG_DIR=str(settings)):
        yield


def is_shared(job: str) -> bool:
    """Whether all pages have the job."""
    return job.startswith("configs/") and (ROOT / job).is_file()


def _copy_bundle(made: Path, folder: Path) -> Path:
    """Copy the one bundle of a folder that ``shared_export`` made into another's ``dist``."""
    (bundle,) = (made / "dist").iterdir()
    target = folder / "dist" / bundle.name
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(bundle, target))


def shared_export(once: Once, arguments: tuple[str, ...], scale: Scale) -> Path:
    """A folder with the ``dist`` that ``onnxproof ARGUMENTS`` wrote, and what it printed."""

    def make(folder: Path) -> None:
        with clone(folder, scale):
            ran = run_here(arguments)
            assert ran.code == 0, ran.printed
            (folder / "ran.pickle").write_bytes(pickle.dumps(ran))

    return once(f"pages: {arguments}", make)


def run_page(page: Path, once: Once, scale: Scale = SMALL, run_by: type[PageRun] = PageRun) -> int:
    """Run all blocks of a page. Returns how many were run. Raises PageError."""
    counted = []

    def make(folder: Path) -> None:
        with clone(folder, scale):
            _copy_bundle(shared_export(once, DEMO, scale), folder)
            run = run_by(folder, once, scale)

            def bundle(*arguments: str) -> Path:
                return _copy_bundle(shared_export(once, ("export", *arguments), scale), folder)

            prepare = PREPARE.get(str(page.relative_to(ROOT)))
            if prepare is not None:
                prepare(folder, run.names, bundle)
            counted.append(sum(run.block(block) for block in blocks_of(page)))

    once(f"page {page}", make)
    return counted[0]
