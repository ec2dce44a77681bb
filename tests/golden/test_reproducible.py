"""The same job and checkpoint give the same bytes, in another process and with another hash seed."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("exporter", ["torch.export", pytest.param("torchscript", marks=pytest.mark.long)])
def test_two_processes_write_the_same_bytes(exporter: str, demo_job: Path, tmp_path: Path) -> None:
    processes = []
    for seed in ("1", "2"):
        command = [
            sys.executable, "-m", "onnxproof", "export", str(demo_job), "--out", str(tmp_path / seed),
            "--no-validate", "--set", f"export.exporter={exporter}",
        ]  # fmt: skip
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        processes.append(subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL))
    assert [process.wait() for process in processes] == [0, 0]
    for name in ("model.onnx", "README.md"):
        first, second = (tmp_path / seed / "digits-yolox" / name for seed in ("1", "2"))
        assert hashlib.sha256(first.read_bytes()).digest() == hashlib.sha256(second.read_bytes()).digest()
