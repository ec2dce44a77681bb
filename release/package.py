#!/usr/bin/env python3
"""Build the wheel and the sdist, check what lies in them, and try each extra alone.

``python3 dev.py package`` runs it. It needs Python with pip; the tools come into a throw-away environment.
With ``--files DIR`` it builds nothing and tries the two files that lie there.
"""

import argparse
import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import venv
import zipfile
from collections.abc import Iterator, Sequence
from email import message_from_bytes
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CONSTRAINTS = ROOT / "constraints.txt"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NAME, VERSION = PROJECT["project"]["name"], PROJECT["project"]["version"]
PACKAGE = ROOT / "src" / NAME
STEM = f"{NAME}-{VERSION}"

BASE = "base"
LIGHT = (BASE, "polygons", "coco", "report", "signing", "bom", "video", "plot", "dask", "fsspec", "openvino")
"""What brings no torch. Others take gigabytes: their packages are linked from ``.venv`` if it is there."""
EXTRAS = [extra for extra in PROJECT["project"]["optional-dependencies"] if extra != "all"]

IN_THE_SDIST = ("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml")
IN_ITS_FOLDERS = ("docs", "src")
LARGEST = 256 * 1024
"""Bytes of a file in the sdist: the largest is a picture of docs/."""
BINARY = (".pth", ".pt", ".onnx", ".npy", ".npz", ".safetensors", ".pyc")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where the two files go [dist]")
    parser.add_argument("--files", type=Path, metavar="DIR", help="try these files, build none")
    parser.add_argument("--extras", default=",".join([BASE, *EXTRAS]), help="those to try; none: '' [all]")
    parser.add_argument("--tag", help="the tag of the release, which must be the version's")
    asked = parser.parse_args()
    extras = [extra for extra in asked.extras.split(",") if extra]
    if unknown := sorted(set(extras) - {BASE, *EXTRAS}):
        parser.error(f"there is no extra {unknown[0]}; there are: {BASE}, {', '.join(EXTRAS)}")
    if asked.tag is not None:
        check_tag(asked.tag)
    with tempfile.TemporaryDirectory(prefix="onnxproof-package-") as scratch:
        folder = Path(scratch)
        tools = Environment(folder / "tools", with_pip=True)
        tools.install(*PROJECT["dependency-groups"]["package"])
        if asked.files is None:
            wheel, sdist = built(tools, folder)
            asked.out.mkdir(parents=True, exist_ok=True)
            wheel, sdist = (Path(shutil.copy2(file, asked.out)) for file in (wheel, sdist))
        else:
            wheel, sdist = only(asked.files, "*.whl"), only(asked.files, "*.tar.gz")
        check(tools, wheel, sdist)
        for extra in extras:
            smoke(tools, wheel, extra, folder / f"extra-{extra}")
    for file in (wheel, sdist):
        print(f"{file.name}  {file.stat().st_size:,} bytes  sha256 {sha256_of(file)}")
    return 0


class Environment:
    """A virtual environment in a folder. Those without pip are filled by that of the tools."""

    def __init__(self, folder: Path, *, with_pip: bool = False, pip: "Environment | None" = None) -> None:
        venv.create(folder, with_pip=with_pip, symlinks=os.name != "nt")
        self.folder = folder
        self.python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        self._pip = pip or self

    @property
    def packages(self) -> Path:
        """Its site-packages."""
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return self.folder / ("Lib" if os.name == "nt" else f"lib/{version}") / "site-packages"

    def install(self, *what: str) -> None:
        """Install requirements in the versions of constraints.txt."""
        pip = (self._pip.python, "-m", "pip", "--disable-pip-version-check", "--python", self.python)
        run(*pip, "install", "--quiet", "-c", CONSTRAINTS, *what)


def run(*words: str | Path, folder: Path | None = None, epoch: str = "") -> str:
    """Run a command and return what it prints. Ends the program with its output if it fails.

    ``epoch`` is the time that the files in archives get.
    """
    command = [str(word) for word in words]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "SOURCE_DATE_EPOCH": epoch} if epoch else None,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout


def built(tools: Environment, scratch: Path) -> tuple[Path, Path]:
    """The wheel and the sdist, after a check that other ways to build them give the same bytes."""
    time = commit_time()

    def build(source: Path, out: Path, *what: str) -> Path:
        options = ("--no-isolation", "--outdir", out)  # the tools pin the backend, too
        run(tools.python, "-m", "build", *options, *what, source, epoch=time)
        return out

    first = build(ROOT, scratch / "first")  # the wheel is built from the sdist
    wheel, sdist = only(first, "*.whl"), only(first, "*.tar.gz")
    with tarfile.open(sdist) as archive, other_umask():
        archive.extractall(scratch / "unpacked", filter="data")
    for name, again in (
        ("the wheel of the tree", only(build(ROOT, scratch / "tree", "--wheel"), "*.whl")),
        ("the sdist of the sdist", only(build(scratch / "unpacked" / STEM, scratch / "again"), "*.tar.gz")),
    ):
        before = wheel if again.suffix == ".whl" else sdist
        if sha256_of(again) != sha256_of(before):
            sys.exit(f"{name} has other bytes than {before.name}: {differing(before, again)}")
    return wheel, sdist


def commit_time() -> str:
    """The time of the commit, in seconds, or what the environment says."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return given or run("git", "-C", ROOT, "log", "-1", "--format=%ct").strip()


@contextlib.contextmanager
def other_umask() -> Iterator[None]:
    """Files get other modes than in the clone, which must not show."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def differing(one: Path, other: Path) -> str:
    """The names that only one archive has, or else that the same names have other bytes."""
    a, b = set(names_in(one)), set(names_in(other))
    return ", ".join(sorted(a ^ b)) or "the same names with other contents or times"


def check(tools: Environment, wheel: Path, sdist: Path) -> None:
    """End the program if the archives do not hold what they should, or their metadata is not valid."""
    run(tools.python, "-m", "twine", "check", "--strict", wheel, sdist)
    run(tools.python, "-m", "check_wheel_contents", "--no-config", wheel)
    check_wheel(wheel)
    check_sdist(sdist)


def check_wheel(wheel: Path) -> None:
    """The package's files and no others, the licence, and the metadata of pyproject.toml."""
    info = f"{STEM}.dist-info"
    names = {name for name in names_in(wheel) if not name.startswith(f"{info}/")}
    wanted = {f"{NAME}/{file.relative_to(PACKAGE).as_posix()}" for file in own_files()}
    if names != wanted:
        sys.exit(f"{wheel.name}: not as src/{NAME}: {', '.join(sorted(names ^ wanted))}")
    for needed in ("py.typed", "schemas/job.schema.json", "validate/report/templates/report.html.j2"):
        if f"{NAME}/{needed}" not in names:
            sys.exit(f"{wheel.name} lacks {needed}")
    with zipfile.ZipFile(wheel) as archive:
        licence = archive.read(f"{info}/licenses/LICENSE")
        metadata = message_from_bytes(archive.read(f"{info}/METADATA"))
    extras = set(metadata.get_all("Provides-Extra", []))
    declared = {extra.replace("_", "-") for extra in PROJECT["project"]["optional-dependencies"]}
    if licence != (ROOT / "LICENSE").read_bytes() or extras != declared:
        sys.exit(
            f"{wheel.name}: the licence or the extras ({', '.join(sorted(extras))}) are not the project's"
        )


def check_sdist(sdist: Path) -> None:
    """The sources and the docs; no tests, which need the checkpoints, and nothing large."""
    with tarfile.open(sdist) as archive:
        members = [member for member in archive.getmembers() if member.isfile()]
    for member in members:
        name = member.name.removeprefix(f"{STEM}/")
        top, slash, _ = name.partition("/")
        expected = top in IN_ITS_FOLDERS if slash else name in (*IN_THE_SDIST, ".gitignore")
        if not expected or name.endswith(BINARY) or member.size > LARGEST:
            sys.exit(f"{sdist.name} holds {name} ({member.size:,} bytes), which does not belong there")
    lacking = {f"{STEM}/{name}" for name in IN_THE_SDIST} - {member.name for member in members}
    if lacking:
        sys.exit(f"{sdist.name} lacks {', '.join(sorted(lacking))}")


def own_files() -> list[Path]:
    """The package's files: those that git does not ignore; in an sdist, those that are there."""
    if (ROOT / ".git").exists():
        which = ("-z", "--cached", "--others", "--exclude-standard")
        listed = [
            ROOT / name for name in run("git", "-C", ROOT, "ls-files", *which, PACKAGE).split("\0") if name
        ]
        return [file for file in listed if file.is_file()]
    return [file for file in PACKAGE.rglob("*") if file.is_file() and "__pycache__" not in file.parts]


def smoke(tools: Environment, wheel: Path, extra: str, folder: Path) -> None:
    """Install the wheel with one extra alone, and try what it is for."""
    environment = Environment(folder / "environment", pip=tools)
    if extra not in LIGHT and (owner := dev_python()) is not None:
        run(owner, HERE / "linked.py", wheel, extra, environment.packages)
    environment.install(str(wheel) if extra == BASE else f"{wheel}[{extra}]")
    work = folder / "work"
    work.mkdir()
    told = run(environment.python, "-I", HERE / "smoke.py", extra, HERE, folder=work)
    print(told.splitlines()[-1])
    if extra == BASE:
        follow_a_hint(environment, work)
        shutil.copy2(HERE / "consumer.py", work)
        python = ("--python-executable", environment.python)
        run(tools.python, "-m", "mypy", "--strict", *python, "consumer.py", folder=work)
        print("typed: mypy --strict takes the program that uses it, and finds its mistakes")
    shutil.rmtree(folder)


def follow_a_hint(environment: Environment, work: Path) -> None:
    """What a message says to install is found, by the name of the package that is installed already."""
    ask = (
        "import numpy; from onnxproof.runtime import polygons; polygons.polygons_of(numpy.ones((2, 2), bool))"
    )
    command = [str(environment.python), "-I", "-c", ask]
    said = subprocess.run(command, capture_output=True, text=True, check=False, cwd=work).stderr
    told = re.search(r"pip install '([^']+)'", said)
    if told is None:
        sys.exit(f"no hint in: {said}")
    environment.install(told[1])
    run(*command, folder=work)
    print(f"hint: pip install '{told[1]}' works where {NAME} is installed")


def dev_python() -> Path | None:
    """The Python of ``.venv`` if it is finished and of this version: its packages can be linked."""
    folder = ROOT / ".venv"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (folder / ".installed").is_file():
        return None
    version = "import sys; print('%d.%d' % sys.version_info[:2])"
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    return python if run(python, "-c", version).strip() == ours else None


def check_tag(tag: str) -> None:
    """End the program unless the tag, the version and the changelog's newest section are one release."""
    log = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    if tag != f"v{VERSION}":
        sys.exit(f"the tag is {tag}, and pyproject.toml has the version {VERSION}: expected v{VERSION}")
    if re.search(rf"^## \[{re.escape(VERSION)}\] - \d{{4}}-\d\d-\d\d$", log, re.MULTILINE) is None:
        sys.exit(f"CHANGELOG.md has no section with a date for {VERSION}: ## [{VERSION}] - YYYY-MM-DD")


def only(folder: Path, pattern: str) -> Path:
    """The one file of a pattern."""
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        sys.exit(f"{folder} has {len(found)} files {pattern}, expected one")
    return found[0]


def names_in(file: Path) -> Sequence[str]:
    """The names of the files in a wheel or an sdist."""
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as archive:
            return [name for name in archive.namelist() if not name.endswith("/")]
    with tarfile.open(file) as tar:
        return [member.name for member in tar.getmembers() if member.isfile()]


def sha256_of(file: Path) -> str:
    """The checksum of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
