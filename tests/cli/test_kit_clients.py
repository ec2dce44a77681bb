"""The clients of examples/clients on the demo's kit: Python, Node, a real browser, C++.

A client whose tools are not here is skipped by name, unless ONNXPROOF_CLIENTS names it.
"""

import json
import shutil
import subprocess
import threading
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest
from clients import CLIENTS, EVERY, REQUIRED, ROOT, WEB, kit_of_every_dtype, need
from documents import mistakes
from kits import edit
from once import Once
from playwright.sync_api import sync_playwright
from programs import program

import onnxproof

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HEADERS = [
    Path(folder, "onnxruntime") for folder in (ROOT / "build/include", "/usr/include", "/usr/local/include")
]
MOST_LINES = 60
SECONDS = 120


@pytest.fixture(scope="module")
def kit(demo_bundle: Path, once: Once) -> Path:
    """The demo's kit; not to be written to."""
    return once("the demo's kit", lambda folder: onnxproof.kit(demo_bundle, out=folder / "kit")) / "kit"


def ran(*command: str | Path) -> None:
    """Run a program of a client."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr


def in_python(kit: Path, outputs: Path) -> None:
    program(CLIENTS / "client.py").main(kit, outputs)


def in_node(kit: Path, outputs: Path) -> None:
    need("node", {"Node": shutil.which("node"), "onnxruntime-web in examples/clients": WEB.is_dir()})
    ran("node", CLIENTS / "client.mjs", kit, outputs)


def in_a_browser(kit: Path, outputs: Path) -> None:
    need("browser", {"Chromium": CHROMIUM, "onnxruntime-web in examples/clients": WEB.is_dir()})
    with program(CLIENTS / "serve.py").server(kit, outputs, 0) as served, sync_playwright() as started:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"http://localhost:{served.server_port}/client.html")
        page.wait_for_function("said.textContent !== 'running'", timeout=1000 * SECONDS)
        said = page.inner_text("#said")
        browser.close()
        served.shutdown()
    assert said == "done"


def in_cpp(kit: Path, outputs: Path) -> None:
    headers = next((folder for folder in HEADERS if (folder / "onnxruntime_cxx_api.h").is_file()), None)
    libraries = sorted((Path(ort.__file__).parent / "capi").glob("libonnxruntime.so.*"))
    tools = {"g++": shutil.which("g++"), "onnxruntime_cxx_api.h": headers, "libonnxruntime.so": libraries}
    need("c++", tools)
    folder = outputs.parent / "built"
    folder.mkdir()
    library = folder / "libonnxruntime.so.1"  # The name that the library has for the loader.
    library.symlink_to(libraries[0])
    program = folder / "client"
    source = CLIENTS / "client.cpp"
    ran("g++", "-std=c++17", f"-I{headers}", source, library, f"-Wl,-rpath,{folder}", "-o", program)
    ran(program, kit, outputs)


CLIENTS_RUN = [
    pytest.param(in_python, id="python"),
    pytest.param(in_node, id="node", marks=pytest.mark.slow),
    pytest.param(in_cpp, id="c++", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("client", CLIENTS_RUN)
def test_a_client_reads_and_writes_each_dtype(
    once: Once, tmp_path: Path, client: Callable[[Path, Path], None]
) -> None:
    every = kit_of_every_dtype(once)
    outputs = tmp_path / "outputs"
    client(every, outputs)
    index, told = (
        json.loads((folder / name).read_text(encoding="utf-8"))
        for folder, name in ((every, "kit.json"), (outputs, "outputs.json"))
    )
    assert mistakes("outputs", told) == []
    for case, answered in zip(index["cases"], told["cases"], strict=True):
        assert answered["case"] == case["case"]
        by_name = {one["name"]: one for one in answered["outputs"]}
        for given, spec in zip(case["inputs"], EVERY.outputs, strict=True):
            one = by_name[spec.name]
            assert (one["dtype"], one["shape"]) == (given["dtype"], given["shape"])
            assert (outputs / one["file"]).read_bytes() == (every / given["file"]).read_bytes()


def test_the_server_gives_the_kit_and_its_own_files_and_takes_outputs(tmp_path: Path) -> None:
    kit, outputs = tmp_path / "kit", tmp_path / "outputs"
    (kit / "inputs").mkdir(parents=True)
    (kit / "inputs" / "00-0.bin").write_bytes(b"numbers")
    (tmp_path / "secret").write_text("secret")

    def asked(path: str, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
        connection = HTTPConnection("localhost", served.server_port, timeout=SECONDS)
        connection.request(method, path, body)
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found

    with program(CLIENTS / "serve.py").server(kit, outputs, 0) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        try:
            assert asked("/kit/inputs/00-0.bin") == (200, b"numbers")
            assert asked("/client.html") == (200, (CLIENTS / "client.html").read_bytes())
            assert asked("/outputs/0-0.bin", "PUT", b"found")[0] == 204
            assert asked("/outputs/../../secret2", "PUT", b"found")[0] == 204
            assert asked("/kit/../../secret")[0] == asked("/kit/%2e%2e/secret")[0] == 404
        finally:
            served.shutdown()
    assert {path.name: path.read_bytes() for path in outputs.iterdir()} == {
        "0-0.bin": b"found",
        "secret2": b"found",
    }


def test_the_python_client_passes(kit: Path, tmp_path: Path) -> None:
    check_passes(kit, tmp_path / "outputs", in_python, "onnxruntime", "CPUExecutionProvider")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("client", "runtime", "provider"),
    [
        pytest.param(in_node, "onnxruntime-web", "wasm", id="node"),
        pytest.param(in_a_browser, "onnxruntime-web", "wasm", id="browser"),
        pytest.param(in_cpp, "onnxruntime", "CPUExecutionProvider", id="c++"),
    ],
)
def test_a_client_passes(
    kit: Path, tmp_path: Path, client: Callable[[Path, Path], None], runtime: str, provider: str
) -> None:
    check_passes(kit, tmp_path / "outputs", client, runtime, provider)


def check_passes(
    kit: Path, outputs: Path, client: Callable[[Path, Path], None], runtime: str, provider: str
) -> None:
    """A client's outputs pass in the links that a host shows, and fail once two cases are exchanged."""
    client(kit, outputs)
    verdict = onnxproof.judge(kit, outputs)
    assert verdict.passed, str(verdict)
    links = {one.link: one.status for one in verdict.links}
    assert (links["runtime"], links["decisions"]) == ("pass", "pass")
    assert (verdict.environment["runtime"], verdict.environment["providers"]) == (runtime, [provider])
    assert verdict.facts[0].decisions is not None
    assert verdict.facts[0].decisions.reference > 0
    edit(outputs / "outputs.json", exchange_two_cases)
    spoiled = onnxproof.judge(kit, outputs)
    reasons = {check.name: check.reason for check in spoiled.checks if check.status == "fail"}
    assert " bytes, and float32[" in reasons["runs"]


def exchange_two_cases(document: Any) -> None:
    """The files of two cases are in each other's place."""
    (one,), (other,) = (case["outputs"] for case in document["cases"][:2])
    assert one["shape"] != other["shape"]
    one["file"], other["file"] = other["file"], one["file"]


def verdict_without_tools(monkeypatch: pytest.MonkeyPatch, required: str) -> type[BaseException]:
    monkeypatch.setenv(REQUIRED, required)
    with pytest.raises(BaseException) as stopped:  # noqa: PT011
        need("browser", {"Chromium": None})
    return stopped.type


def test_a_client_that_must_be_run_is_not_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    assert verdict_without_tools(monkeypatch, "node browser") is pytest.fail.Exception
    assert verdict_without_tools(monkeypatch, "node") is pytest.skip.Exception


@pytest.mark.parametrize(
    "files",
    [["client.py"], ["client.mjs", "kit.mjs"], ["client.html", "kit.mjs"], ["client.cpp"], ["serve.py"]],
    ids=["python", "node", "browser", "c++", "server"],
)
def test_a_client_is_short(files: list[str]) -> None:
    lines = [line for name in files for line in (CLIENTS / name).read_text(encoding="utf-8").splitlines()]
    assert len(lines) <= MOST_LINES


def test_the_client_in_python_lets_onnx_runtime_write_nothing_beside_the_outputs() -> None:
    lines = (CLIENTS / "client.py").read_text(encoding="utf-8").splitlines()
    off, imported = 'os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")', "import onnxruntime as ort"
    (at,) = (number for number, line in enumerate(lines) if line.startswith(off))
    assert at < lines.index(imported)  # it is read as the library starts


def test_the_package_of_the_clients_is_pinned() -> None:
    (version,) = json.loads((CLIENTS / "package.json").read_text(encoding="utf-8"))["dependencies"].values()
    assert version.replace(".", "").isdigit()
