"""A bundle is timed in turn with other files, and noise is called noise."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import run_here

import onnxproof
from onnxproof.errors import RequestError
from onnxproof.seeded import draw


def test_each_file_is_timed_at_each_batch_with_its_ratio(demo_bundle: Path) -> None:
    other = f"onnx:{demo_bundle / 'model.onnx'}"
    asked = ["bench", str(demo_bundle), "--against", other, "--batch", "1,2", "--rounds", "4", "--quiet"]
    ran = run_here([*asked, "--json"])
    assert ran.code == 0, ran.printed
    rows = json.loads(ran.printed)["rows"]
    assert [(row["name"], row["batch"]) for row in rows] == [
        *(("the bundle", 1), (other, 1)),
        *(("the bundle", 2), (other, 2)),
    ]
    for row in rows:
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
        assert row["throughput"] == pytest.approx(1e3 * row["batch"] / row["p50_ms"])
        assert (row["ratio"] is None) == (row["name"] == "the bundle")
    table = run_here(asked).printed
    assert "the bundle" in table
    assert "p50 ms" in table


def test_a_spread_above_the_limit_is_noise_and_so_is_nan(demo_bundle: Path) -> None:
    (row,) = onnxproof.bench(demo_bundle, rounds=2)
    assert not replace(row, spread=0.01).noisy
    assert replace(row, spread=0.5).noisy
    assert replace(row, spread=float("nan")).noisy
    assert replace(row, spread=0.5, ratio=1.0, ratio_spread=0.01).noisy is False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"batch": [1000]}, "does not take a batch of 1000", id="too-large-a-batch"),
        pytest.param({"against": ["torch"]}, 'expected "onnx:PATH"', id="an-unknown-contestant"),
        pytest.param({"rounds": 1}, "at least 2 rounds", id="one-round"),
    ],
)
def test_what_cannot_be_timed_is_refused(demo_bundle: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        onnxproof.bench(demo_bundle, **options)  # type: ignore[arg-type]


def test_the_noise_is_in_the_declared_ranges(demo_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def noted(*asked: Any) -> Any:
        drawn.append((asked[0], draw(*asked)))
        return drawn[-1][1]

    monkeypatch.setattr("onnxproof.deploy.bench.draw", noted)
    onnxproof.bench(demo_bundle, rounds=2)
    assert drawn
    for spec, array in drawn:
        low, high = spec.range
        assert low <= array.min() < array.max() <= high
