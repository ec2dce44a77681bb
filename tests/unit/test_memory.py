"""Whether there is memory enough is asked of the machine and of the process's control groups."""

from pathlib import Path

import pytest

from onnxproof.errors import RequestError
from onnxproof.system import memory
from onnxproof.system.memory import available_bytes, require_memory, require_memory_to_read

GIB = 2**30


def machine(root: Path, group: str, files: dict[str, str]) -> Path:
    """A /proc and a /sys in which a process is in a control group."""
    everything = {
        "proc/meminfo": "MemTotal: 99 kB\nMemAvailable: 16777216 kB\nSwapFree: 1048576 kB\n",
        "proc/self/cgroup": group,
        **files,
    }
    for name, text in everything.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="ascii")
    return root


def group(folder: str, limit: str, used: int, cached: int = 0, version: int = 2) -> dict[str, str]:
    names = (
        ("memory.max", "memory.current")
        if version == 2
        else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    )
    return {
        f"{folder}/{names[0]}": limit,
        f"{folder}/{names[1]}": str(used),
        f"{folder}/memory.stat": f"anon 7\ninactive_file {cached}\n",
    }


TOP = "sys/fs/cgroup"
CASES = [
    pytest.param("0::/\n", {}, 17 * GIB, id="no-limit"),
    pytest.param("0::/a\n", group(f"{TOP}/a", "max", 5), 17 * GIB, id="a-group-without-a-limit"),
    pytest.param("0::/a\n", group(f"{TOP}/a", str(4 * GIB), GIB, 100), 3 * GIB + 100, id="a-group"),
    pytest.param("0::/a/b\n", group(f"{TOP}/a", str(4 * GIB), GIB), 3 * GIB, id="the-group-around-it"),
    pytest.param("0::/\n", group(TOP, str(2 * GIB), GIB), GIB, id="a-container-with-groups-of-its-own"),
    pytest.param("0::/host/x\n", group(TOP, str(2 * GIB), GIB), GIB, id="a-container-with-the-hosts-path"),
    pytest.param(
        "5:cpu:/\n4:memory:/a\n",
        group(f"{TOP}/memory/a", str(2 * GIB), GIB, version=1),
        GIB,
        id="version-1",
    ),
    pytest.param(
        "4:memory:/a\n",
        group(f"{TOP}/memory/a", str(2**63 - 4096), GIB, version=1),
        17 * GIB,
        id="version-1-none",
    ),
]


@pytest.mark.parametrize(("own", "files", "there"), CASES)
def test_the_least_of_all_limits_counts(own: str, files: dict[str, str], there: int, tmp_path: Path) -> None:
    assert available_bytes(machine(tmp_path, own, files)) == there


def test_this_machine_tells() -> None:
    found = available_bytes()
    assert found is not None
    assert found > 2**20


def test_a_model_that_does_not_fit_is_told_with_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 8 * 10**9)
    require_memory(5 * 10**9)
    with pytest.raises(
        RequestError, match=r"6.0 GB of weights.* about 9.5 GB of memory more; there are 8.0 GB"
    ):
        require_memory(6 * 10**9)
    monkeypatch.setattr(memory, "available_bytes", lambda: 10)
    require_memory(10**8)  # it may be wrong, and little memory would do
    monkeypatch.setattr(memory, "available_bytes", lambda: None)
    require_memory(6 * 10**9)


def test_a_checkpoint_that_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights.pth"
    with file.open("wb") as stream:
        stream.truncate(3 * 10**9)
    monkeypatch.setattr(memory, "available_bytes", lambda: 2 * 10**9)
    with pytest.raises(
        RequestError, match=r"weights.pth takes 3.0 GB of memory to read, and there are 2.0 GB"
    ):
        require_memory_to_read(file)
