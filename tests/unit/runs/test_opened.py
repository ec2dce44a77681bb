"""Which files a process is seen to read."""

import json
import os
import subprocess
import sys
from pathlib import Path

from onnxproof.source import sha256_of

PROGRAM = """
import importlib.util, json, sys
from pathlib import Path

from onnxproof.runs.opened import OpenedFiles

folder = Path(sys.argv[1])
sys.path.insert(0, str(folder))
opened = OpenedFiles([folder / "named.bin", folder / "named-changed.bin"])
opened.start()
import helper
(folder / "data.json").read_text()
(folder / "replaced.json").read_text()
(folder / "replaced.json").write_text("other, and longer")
(folder / "changed.json").read_text()
(folder / "gone.json").read_text()
(folder / "made.json").write_text("made here")
(folder / "made.json").read_text()
(folder / "out" / "model.onnx").read_bytes()
import importlib.metadata, xml.dom.minidom, click.testing
import subprocess
for name in ("changed.json", "named-changed.bin"):
    subprocess.run([sys.executable, "-c", f"open({str(folder / name)!r}, 'w').write('by another')"])
(folder / "gone.json").unlink()
print(json.dumps({str(path): found for path, found in opened.sums(folder / "out").items()}))
"""


def sums(folder: Path) -> dict[str, str | None]:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    told: dict[str, str | None] = json.loads(ran.stdout)
    return {Path(name).name: found for name, found in told.items()}


def test_what_is_read_is_noted_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path.resolve()
    (folder / "out").mkdir()
    (folder / "out" / "model.onnx").write_bytes(b"of the bundle itself")
    (folder / "helper.py").write_text("value = 1\n", encoding="utf-8")
    names = ("data.json", "replaced.json", "changed.json", "gone.json", "named.bin", "named-changed.bin")
    for _ in range(2):  # the second time Python reads the compiled helper
        for name in names:
            (folder / name).write_text("as it was", encoding="utf-8")
        found = sums(folder)
        assert found == {
            "helper.py": sha256_of(folder / "helper.py"),
            "data.json": sha256_of(folder / "data.json"),
            "changed.json": None,
            "named.bin": sha256_of(folder / "named.bin"),
            "named-changed.bin": None,
        }
        assert list(folder.glob("__pycache__/helper.*.pyc"))
