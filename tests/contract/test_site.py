"""The site builds, and Sphinx has nothing to warn of."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    pytest.importorskip("furo")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-c",
        "docs",
        "-d",
        str(tmp_path / "trees"),
    ]
    ran = subprocess.run(
        [*command, ".", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    front = (tmp_path / "site/docs/index.html").read_text(encoding="utf-8")
    for page in ("start", "troubleshooting", "tutorials/classifier", "tutorials/detr", "reference"):
        assert f'href="{page}.html"' in front
