"""Golden cases of the bundled jobs: what healthy files measure on them, damaged copies, and other hosts.

python benchmarks/golden.py ratios     the self-test of each bundle, at each level of ONNX Runtime
python benchmarks/golden.py damage     copies with a tensor scaled, by a self-test's limits and by 2.7 and 5
python benchmarks/golden.py clients    kits answered by the clients in Python, C++ and Node
python benchmarks/golden.py browser    the demo's kit in Chromium, by provider

``--bundles FOLDER`` keeps the exports for later runs, ``--only`` takes some of the jobs. The clients need
what .ci/clients installs.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import onnx
import onnxruntime
from onnx import numpy_helper
from playwright.sync_api import sync_playwright

import onnxproof
from onnxproof.validate.policy import RATIO_MAX, RATIO_RMS
from onnxproof.validate.verdict import Verdict

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

from programs import program  # noqa: E402

CLIENTS = ROOT / "examples" / "clients"
DEMO = "digits-yolox"
JOBS: Mapping[str, Sequence[str]] = {
    DEMO: (),
    "digits-yolox-uint8": ('dims.height="64..320 step 32"', 'dims.width="64..320 step 32"'),
    "digits-classifier": (),
    "digits-multilabel": (),
    "digits-segmenter": (),
    "digits-reader": (),
    "module-bert": (),
}
"""Bundled jobs that need no download, and what is set."""

FACTORS = (1.001, 1.0001, 1.00001)
PLACES = (0.25, 0.5, 0.75)
"""Where the damaged tensors stand among a file's weights."""

FLAGS = {
    "wasm": (),
    "webgpu": ("--enable-unsafe-webgpu", "--enable-features=Vulkan", "--use-webgpu-adapter=swiftshader"),
    "webgl": ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
}
"""What Chromium is started with to run a provider where there is no graphics card."""

BROWSER_S = 300


def bundle_of(name: str, folder: Path) -> Path:
    """The bundle of a job with its verdict, exported if it is not in the folder."""
    found = folder / name
    if not (found / "golden.npz").is_file():
        settings = (*JOBS[name], "validate.threads=1")
        made = onnxproof.export(ROOT / "configs" / f"{name}.toml", out=folder, set=settings)
        assert made.verdict is not None
        assert made.verdict.passed, f"{name}: {made.verdict}"
    return found


def ratios(verdict: Verdict) -> tuple[float, float]:
    """The largest ratios of any field on any leg, by rms and by maximum."""
    fields = [field for facts in verdict.facts for field in facts.fields if field.count]
    return max(field.ratio_rms for field in fields), max(field.ratio_max for field in fields)


def print_ratios(names: Sequence[str], folder: Path) -> None:
    print(
        "| job | values of the smallest field | rms ratios of the fields | max ratios | move by | verdict |"
    )
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    for name in names:
        bundle = bundle_of(name, folder)
        verdict = onnxproof.selftest(bundle, runtimes=("ort",), threads=1)
        fields = [field for facts in verdict.facts for field in facts.fields if field.count]
        columns = [
            f"{min(found):.3g} to {max(found):.3g}"
            for found in ([field.ratio_rms for field in fields], [field.ratio_max for field in fields])
        ]
        smallest = min(field.count for field in fields)
        told = f"{smallest:,} | {' | '.join(columns)} | {moves(bundle):.2f}"
        print(f"| {name} | {told} | {verdict.status} |", flush=True)


def moves(bundle: Path) -> float:
    """By how much the fields move from input to input at least, as a share of their largest values."""
    written = json.loads((bundle / "parity.json").read_text(encoding="utf-8"))
    fields = Verdict.from_json(written).facts[0].fields
    return min(field.varied / field.scale_max for field in fields if field.varied is not None)


def damaged(bundle: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Copies of a bundle in which one tensor is scaled, with what was done. Each replaces the one before."""
    healthy = onnx.load(bundle / "model.onnx")
    large = [
        index
        for index, tensor in enumerate(healthy.graph.initializer)
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) >= 2
    ]
    copy = folder / bundle.name
    for factor in FACTORS:
        for place in PLACES:
            proto = onnx.load(bundle / "model.onnx")
            tensor = proto.graph.initializer[large[int(place * len(large))]]
            values = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array((values * factor).astype(values.dtype), tensor.name))
            shutil.copytree(bundle, copy, dirs_exist_ok=True)
            onnx.save(proto, copy / "model.onnx")
            yield f"{tensor.name} × {factor}", copy


def print_damage(names: Sequence[str], folder: Path) -> None:
    """The limits are those of ratio_rms and ratio_max alone: the checksum of each copy fails, too."""
    print("| job | tensor | rms ratio | max ratio | by 2.7 and 5 | by a self-test's limits |")
    print("| --- | --- | ---: | ---: | --- | --- |")
    counts = {"copies": 0, "refused by 2.7 and 5": 0, "refused by a self-test's limits": 0}
    spans: dict[float, list[float]] = {factor: [] for factor in FACTORS}
    with tempfile.TemporaryDirectory() as copies:
        for name in names:
            for what, copy in damaged(bundle_of(name, folder), Path(copies)):
                verdict = onnxproof.selftest(copy, threads=1)
                rms, largest = ratios(verdict)
                usual = not (rms <= RATIO_RMS and largest <= RATIO_MAX)
                grown = any(
                    check.status == "fail" for check in verdict.checks if check.name.startswith("ratio_")
                )
                for key, one in zip(counts, (True, usual, grown), strict=True):
                    counts[key] += one
                spans[float(what.rpartition(" ")[2])].append(rms)
                told = " | ".join("refused" if one else "passed" for one in (usual, grown))
                print(f"| {name} | {what} | {rms:.3g} | {largest:.3g} | {told} |", flush=True)
    print(", ".join(f"{key}: {count}" for key, count in counts.items()))
    for factor, found in spans.items():
        print(f"× {factor}: rms ratios {min(found):.3g} to {max(found):.3g}")


def compiled(folder: Path) -> Path:
    """The client in C++, compiled against the library in the package onnxruntime."""
    places = (ROOT / "build/include", Path("/usr/include"), Path("/usr/local/include"))
    headers = next(place / "onnxruntime" for place in places if (place / "onnxruntime").is_dir())
    (found,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.1.*")
    library = folder / "libonnxruntime.so.1"  # the name that the library has for the loader
    library.symlink_to(found)
    built = folder / "client"
    source = str(CLIENTS / "client.cpp")
    command = ["g++", "-std=c++17", f"-I{headers}", source, str(library), f"-Wl,-rpath,{folder}", "-o"]
    subprocess.run([*command, str(built)], check=True)
    return built


def errs(verdict: Verdict) -> str:
    facts, decided = verdict.facts[0].decisions, "none"
    if facts is not None:
        decided = f"{facts.matched:,} matched, {facts.tie_count} ties, {facts.defect_count} defects"
    return f"{decided} | {ratios(verdict)[0]:.2g} | {verdict.status}"


def print_clients(names: Sequence[str], folder: Path) -> None:
    print("| job | client | decisions | errs so many times what PyTorch errs | verdict |")
    print("| --- | --- | --- | ---: | --- |")
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        commands = {
            "Python": [sys.executable, str(CLIENTS / "client.py")],
            "C++": [str(compiled(place))],
            "Node": ["node", str(CLIENTS / "client.mjs")],
        }
        for name in names:
            kit = onnxproof.kit(bundle_of(name, folder), out=place / name)
            for client, command in commands.items():
                outputs = place / f"{name}-{client}"
                subprocess.run([*command, str(kit), str(outputs)], check=True, stdout=subprocess.DEVNULL)
                print(f"| {name} | {client} | {errs(onnxproof.judge(kit, outputs))} |", flush=True)


def print_browser(folder: Path) -> None:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    server = program(CLIENTS / "serve.py").server
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as started:
        kit = onnxproof.kit(bundle_of(DEMO, folder), out=Path(temporary, "kit"))
        for provider, flags in FLAGS.items():
            outputs = Path(temporary, provider)
            with server(kit, outputs, 0) as served:
                threading.Thread(target=served.serve_forever, daemon=True).start()
                browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox", *flags])
                version, page = browser.version, browser.new_page()
                page.goto(f"http://localhost:{served.server_port}/client.html?provider={provider}")
                page.wait_for_function("said.textContent !== 'running'", timeout=1000 * BROWSER_S)
                said = page.inner_text("#said")
                browser.close()
                served.shutdown()
            told = errs(onnxproof.judge(kit, outputs)) if said == "done" else said
            print(f"| Chromium {version} | {provider} | {told} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("ratios", "damage", "clients", "browser"))
    parser.add_argument("--bundles", type=Path, help="a folder that keeps the exports")
    parser.add_argument("--only", nargs="+", choices=JOBS, help="jobs; all by default")
    arguments = parser.parse_args()
    names = arguments.only or list(JOBS)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.bundles or Path(temporary)
        if arguments.what == "ratios":
            print_ratios(names, folder)
        elif arguments.what == "damage":
            print_damage(names, folder)
        elif arguments.what == "clients":
            print_clients(names, folder)
        else:
            print_browser(folder)


if __name__ == "__main__":
    main()
