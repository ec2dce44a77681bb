"""A bundle is timed in turn with PyTorch and with other files, and noise is called noise."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from commands import run_here
from contracts import contract
from onnx import numpy_helper

import onnxproof
from onnxproof.contract import Preprocess
from onnxproof.deploy.bench import usual_sizes, why_unlike
from onnxproof.deploy.plot import write_plot
from onnxproof.deploy.rows import OWN, Figures, Row, interval, row_of
from onnxproof.errors import RequestError, TrustError
from onnxproof.runtime.drawings import is_drawing
from onnxproof.system import extras
from onnxproof.tensors import Dim, TensorSpec

ROOT = Path(__file__).parents[2]
TINY = ROOT / "release" / "tiny"
OTHER = f"onnx:{TINY / 'model.onnx'}"


def bench(*flags: str, bundle: Path = TINY) -> Any:
    ran = run_here(["bench", str(bundle), "--rounds", "4", "--quiet", "--json", *flags])
    assert ran.code == 0, ran.printed
    return json.loads(ran.printed)


def test_each_is_timed_at_each_size_batch_and_number_of_threads() -> None:
    sizes = ("--size", "height=64,width=32", "--size", "height=32")
    rows = bench("--against", OTHER, "--batch", "1,2", *sizes)["rows"]
    places = [(said, batch) for said in ("height=64, width=32", "height=32, width=32") for batch in (1, 2)]
    assert [(row["sizes"], row["batch"], row["name"]) for row in rows] == [
        (*place, name) for place in places for name in (OWN, OTHER)
    ]
    for row in rows:
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
        assert row["p50_ms"] < row["first_ms"]
        assert row["throughput"] == pytest.approx(1e3 * row["batch"] / row["p50_ms"])
        assert (row["ratio"] is None) == (row["name"] == OWN)
        assert row["ratio"] is None or row["low"] <= row["ratio"] <= row["high"]


@pytest.mark.skipif(sys.platform == "win32", reason="the system does not tell")
def test_the_peak_is_of_a_process_of_its_own() -> None:
    held = np.ones(2**26)  # 512 MiB here, none of it there
    (row,) = bench()["rows"]
    assert 2**24 < row["peak_bytes"] < held.nbytes


def test_the_table_and_the_plot(tmp_path: Path) -> None:
    asked = ["bench", str(TINY), "--against", OTHER, "--rounds", "3", "--quiet"]
    ran = run_here([*asked, "--plot", str(tmp_path / "plot.png")])
    assert ran.code == 0, ran.printed
    head, *lines = [line for line in ran.printed.splitlines() if not line.startswith(("note:", "height"))]
    assert head.split()[-3:] == ["ratio", "interval", "spread"]
    assert [("the bundle" in line, OTHER in line) for line in lines] == [(True, False), (False, True)]
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_a_plot_names_its_extra_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "is_there", lambda module: module != "matplotlib")
    ran = run_here(["bench", str(TINY), "--plot", "plot.png"])
    assert (ran.code, ran.printed) == (
        2,
        f"onnxproof: bench --plot needs the package matplotlib: {extras.hint('plot')}\n",
    )


def test_one_that_answers_otherwise_is_refused_and_the_others_are_timed(tmp_path: Path) -> None:
    model = onnx.load(TINY / "model.onnx")
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(-3 * values, tensor.name))
    onnx.save(model, tmp_path / "wrong.onnx")
    wrong = f"onnx:{tmp_path / 'wrong.onnx'}"
    ran = run_here(["bench", str(TINY), "--against", f"{wrong},{OTHER}", "--rounds", "2", "--quiet"])
    assert ran.code == 4
    assert (
        f"refused: {wrong} (height=32, width=32, batch 1, threads 1): its output logits differs"
        in ran.printed
    )
    assert f"  {OTHER}" in ran.printed


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torch", pytest.param("torch.compile", marks=pytest.mark.long())])
def test_the_checkpoint_runs_in_pytorch(small_bundle: Path, name: str) -> None:
    found = bench("--against", name, "--threads", "1,2", bundle=small_bundle)
    assert [(row["name"], row["threads"]) for row in found["rows"]] == [
        *((OWN, 1), (name, 1)),
        *((OWN, 2), (name, 2)),
    ]
    assert found["refused"] == []
    ours, theirs, *_ = found["rows"]
    assert ours["peak_bytes"] < theirs["peak_bytes"]


def test_code_that_a_bundle_names_is_not_run_unasked() -> None:
    with pytest.raises(TrustError, match="names code"):
        onnxproof.bench(TINY, against=["torch"])


def row(rounds: list[list[float]], base: list[list[float]], name: str = "other") -> Row:
    return row_of(name, "", 2, 1, rounds, base, 1.0, None)


def test_ratios_are_taken_round_by_round() -> None:
    base = [[1.0], [2.0], [10.0], [1.0], [1.0], [4.0], [1.0], [1.0]]  # a machine that others use
    twice = [[2 * one for one in turn] for turn in base]
    found = row(twice, base)
    assert (found.ratio, found.low, found.high, found.ratio_spread) == (2, 2, 2, 0)
    assert not found.noisy
    assert found.said == ""
    assert found.spread > 0.15
    own = row(base, base, OWN)
    assert own.ratio is None
    assert own.said == "too noisy to tell"
    assert own.throughput == 2 / own.p50


def test_a_spread_above_the_limit_is_noise_and_so_is_nan() -> None:
    found = row([[1.0], [1.0]], [[1.0], [1.0]])
    assert found.said == "no clear difference"
    assert replace(found, ratio_spread=0.5).said == "too noisy to tell"
    assert replace(found, ratio_spread=float("nan")).noisy
    assert replace(found, ratio=0.8, low=0.7, high=0.9).said == ""
    assert replace(found, ratio=0.8, low=0.7, high=1.1).said == "no clear difference"
    assert replace(found, ratio=0.97, low=0.96, high=0.98).said == "no clear difference"


def test_the_interval_is_that_of_the_binomial_table() -> None:
    """Of 30 values, the 10th and the 21st (Conover, table A3); of 5, none at 95 %: the whole range."""
    assert interval([float(one) for one in range(1, 31)]) == (10, 21)
    assert interval([3.0, 1.0, 2.0, 5.0, 4.0]) == (1, 5)


SPEC = TensorSpec("out", "float32", ("batch", "rows", 2))
LABELS = TensorSpec("labels", "int64", ("batch",))
PROMISED = contract(outputs=(SPEC, LABELS), dims=(Dim("batch", 1, 4),))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(lambda out, labels: (out, labels), "", id="the-same"),
        pytest.param(lambda out, labels: (out * 1.02, labels), "", id="as-int8-errs"),
        pytest.param(lambda out, labels: (out[:, :3], labels), "", id="rows-that-depend-on-the-values"),
        pytest.param(lambda out, labels: (out[::-1].copy(), labels), "output out differs", id="another"),
        pytest.param(lambda out, labels: (out * np.nan, labels), "output out differs", id="nan"),
        pytest.param(lambda out, labels: (out, labels + 1), "output labels differs", id="other-labels"),
        pytest.param(lambda out, labels: (out[..., :1], labels), "output out is float32", id="a-fixed-axis"),
        pytest.param(lambda out, labels: (out,), "it has 1 outputs, the bundle 2", id="fewer"),
    ],
)
def test_what_clearly_disagrees(change: Any, says: str) -> None:
    out = np.random.default_rng(0).standard_normal((4, 5, 2)).astype(np.float32)
    found = why_unlike(PROMISED, (out, np.arange(4)), change(out, np.arange(4)))
    assert found.startswith(says) if not says else says in found
    assert bool(found) == bool(says)


def test_sizes_are_those_of_predict_or_the_smallest() -> None:
    height, width = Dim("height", 64, 640, 32), Dim("width", 64, 640, 32)
    spec = Preprocess("image", "NCHW", "float32", 255, "letterbox", 416, height, width)
    image = TensorSpec("image", "float32", ("batch", 3, "height", "width"))
    made = contract(
        inputs=(image,), dims=(Dim("batch", 1, 8), height, width, Dim("time", 3, 9)), preprocess=spec
    )
    assert usual_sizes(made) == {"batch": 1, "height": 416, "width": 416, "time": 3}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"batch": [1000]}, "does not take a batch of 1000", id="too-large-a-batch"),
        pytest.param(
            {"against": ["pytorch"]}, 'expected "torch", "torch.compile" or "onnx:PATH"', id="unknown"
        ),
        pytest.param({"rounds": 1}, "at least 2 rounds", id="one-round"),
        pytest.param({"sizes": [{"height": 33}]}, r"height=33: the bundle takes 32\.\.64 step 32", id="size"),
        pytest.param(
            {"sizes": [{"time": 3}]}, 'there is no "time"; there are: batch, height, width', id="axis"
        ),
        pytest.param(
            {"sizes": [{"batch": 2}]}, "batch is the rows of a run: give --batch 2", id="rows-by-size"
        ),
        pytest.param({"providers": ["NoneExecutionProvider"]}, "is not in this ONNX Runtime", id="provider"),
    ],
)
def test_what_cannot_be_timed_is_refused(options: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        onnxproof.bench(TINY, **options)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        pytest.param(("--threads", "100000"), "expected whole numbers from 1 to 1,024, such", id="threads"),
        pytest.param(("--threads", "0"), "--threads 0: expected whole numbers from 1", id="none"),
        pytest.param(("--batch", "9" * 20), "expected whole numbers from 1 to 2,147,483,647", id="rows"),
        pytest.param(("--batch", "9" * 5000), "9…: expected whole numbers from 1 to 2,1", id="digits"),
        pytest.param(("--size", f"height={'9' * 5000}"), "9…: expected NAME=N,…, such as", id="size"),
        pytest.param(("--plot", "b.jpg"), "--plot b.jpg: it is a PNG: name it b.png", id="another-format"),
    ],
)
def test_flags_that_cannot_be_met_are_refused_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, flags: tuple[str, str], says: str
) -> None:
    monkeypatch.setattr("onnxproof.cli.bench.onnxproof", SimpleNamespace(bench=None))
    ran = run_here(["bench", str(TINY), *flags])
    assert ran.code == 2
    assert ran.printed.startswith("onnxproof: ")
    assert says in ran.printed


@pytest.mark.parametrize("flags", [(), ("--json",)], ids=["table", "document"])
def test_figures_are_printed_although_the_plot_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    figures = Figures((row([[0.1]] * 4, [[0.1]] * 4, OWN),), (), ())
    folder = tmp_path / "made"

    def bench(*_: object, **__: object) -> Figures:
        folder.write_bytes(b"")  # a file where the plot's folder was to be made
        return figures

    monkeypatch.setattr("onnxproof.cli.bench.onnxproof", SimpleNamespace(bench=bench))
    ran = run_here(["bench", str(TINY), "--plot", str(folder / "b.png"), *flags])
    assert ran.code == 2
    assert OWN in ran.printed
    assert "b.png cannot be written" in ran.printed
    if flags:
        document, end = json.JSONDecoder().raw_decode(ran.printed)
        assert len(document["rows"]) == 1
        assert ran.printed[end:].strip().startswith("onnxproof: ")


def test_a_plots_folder_is_made(tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder" / "b.png"
    write_plot([row([[0.1]] * 4, [[0.1]] * 4, OWN)], file)
    assert is_drawing(file)


def test_pytorch_needs_a_bundles_folder() -> None:
    with pytest.raises(RequestError, match="rebuilds the checkpoint that a bundle names"):
        onnxproof.bench(TINY / "model.onnx", against=["torch"])
