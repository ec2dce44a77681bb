"""The clients of examples/clients on the demo's kit: Python, Node, a real browser, C++.

A client whose tools are not here is skipped by name, unless ONNXPROOF_CLIENTS names it.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from contracts import contract
from documents import mistakes
from kits import bundle, edit
from once import Once
from onnx import helper
from playwright.sync_api import sync_playwright

import onnxproof
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.validate.golden.kit import PLAIN

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "examples" / "clients"
REQUIRED = "ONNXPROOF_CLIENTS"
"""The environment variable with the clients that must be run, for example "node browser"."""

WEB = CLIENTS / "node_modules" / "onnxruntime-web"
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


def need(client: str, tools: Mapping[str, object]) -> None:
    """Skip the test if a tool is not here, or fail it if the client must be run."""
    missing = ", ".join(name for name, found in tools.items() if not found)
    if missing and client in os.environ.get(REQUIRED, "").split():
        pytest.fail(f"the client {client} must be run, and there is no {missing}")
    if missing:
        pytest.skip(f"the client {client}: there is no {missing}; .ci/clients installs it")


def module(name: str) -> Any:
    """A program of examples/clients."""
    spec = importlib.util.spec_from_file_location(name, CLIENTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def ran(*command: str | Path) -> None:
    """Run a program of a client."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr


def in_python(kit: Path, outputs: Path) -> None:
    module("client").main(kit, outputs)


def in_node(kit: Path, outputs: Path) -> None:
    need("node", {"Node": shutil.which("node"), "onnxruntime-web in examples/clients": WEB.is_dir()})
    ran("node", CLIENTS / "client.mjs", kit, outputs)


def in_a_browser(kit: Path, outputs: Path) -> None:
    need("browser", {"Chromium": CHROMIUM, "onnxruntime-web in examples/clients": WEB.is_dir()})
    with module("serve").server(kit, outputs, 0) as served, sync_playwright() as started:
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


EVERY = contract(
    name="every dtype",
    inputs=(
        *(TensorSpec(f'an "{dtype}", whole', dtype, ("batch", 3), (0, 1)) for dtype in PLAIN),
        TensorSpec("a scalar", "float32", (), (0, 1)),
    ),
    outputs=(
        *(TensorSpec(f'out "{dtype}"', dtype, ("batch", 3)) for dtype in PLAIN),
        TensorSpec("out", "float32", ()),
    ),
    dims=(Dim("batch", 1, 4),),
)
"""An input and an output of each dtype, a scalar, and names that JSON escapes."""


def returned(inputs: Mapping[str, Any], *_: Any) -> dict[str, Any]:
    """What a model returns that returns its inputs."""
    return {spec.name: array for spec, array in zip(EVERY.outputs, inputs.values(), strict=True)}


@pytest.fixture(scope="module")
def every(once: Once) -> Path:
    """The kit of a model that returns its inputs; not to be written to."""

    def make(folder: Path) -> None:
        def values(specs: Sequence[TensorSpec]) -> list[onnx.ValueInfoProto]:
            return [
                helper.make_tensor_value_info(
                    spec.name, helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), spec.shape
                )
                for spec in specs
            ]

        nodes = [
            helper.make_node("Identity", [one.name], [other.name])
            for one, other in zip(EVERY.inputs, EVERY.outputs, strict=True)
        ]
        graph = helper.make_graph(nodes, "every", values(EVERY.inputs), values(EVERY.outputs))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        made = bundle(folder / "bundle", EVERY, model=model.SerializeToString(), network=returned)
        onnxproof.kit(made, out=folder / "kit")

    return once("the kit of every dtype", make) / "kit"


CLIENTS_RUN = [
    pytest.param(in_python, id="python"),
    pytest.param(in_node, id="node", marks=pytest.mark.slow),
    pytest.param(in_cpp, id="c++", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("client", CLIENTS_RUN)
def test_a_client_reads_and_writes_each_dtype(
    every: Path, tmp_path: Path, client: Callable[[Path, Path], None]
) -> None:
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


def test_the_package_of_the_clients_is_pinned() -> None:
    (version,) = json.loads((CLIENTS / "package.json").read_text(encoding="utf-8"))["dependencies"].values()
    assert version.replace(".", "").isdigit()
