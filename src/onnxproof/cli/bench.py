"""onnxproof bench."""

import sys
from pathlib import Path

import click

import onnxproof
from onnxproof.cli._document import show_json
from onnxproof.cli._lines import StageLines
from onnxproof.cli._options import json_option, quiet_option
from onnxproof.deploy.bench import NOISY
from onnxproof.errors import RequestError
from onnxproof.progress import silent
from onnxproof.system.limits import MOST_THREADS
from onnxproof.text import one_line


def _numbers(flag: str, text: str) -> tuple[int, ...]:
    words = text.split(",")
    if not all(word.strip().isdecimal() and 0 < int(word) <= MOST_THREADS for word in words):
        raise RequestError(f"{flag} {text}: expected whole numbers from 1, such as 1,4")
    return tuple(dict.fromkeys(int(word) for word in words))


@click.command("bench")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--against", default="", metavar="onnx:OTHER,…", help="Other files, each timed in turn.")
@click.option("--batch", default="1", show_default=True, metavar="N,…", help="Rows of a run.")
@click.option("--threads", default="1", show_default=True, metavar="N,…", help="ONNX Runtime's threads.")
@click.option("--rounds", type=click.IntRange(2), default=30, show_default=True, help="Timed runs of each.")
@json_option
@quiet_option
def command(
    bundle: Path, against: str, batch: str, threads: str, rounds: int, as_json: bool, quiet: bool
) -> int:
    """Time a bundle on this machine, warmed up, in turn with other ONNX files, at its smallest sizes.

    Ratios are medians over rounds. A line whose spread is above 15 % is called noisy: run it again on a quiet
    machine.
    """
    rows = onnxproof.bench(
        bundle,
        against=[name for name in against.split(",") if name],
        batch=_numbers("--batch", batch),
        threads=_numbers("--threads", threads),
        rounds=rounds,
        progress=silent if quiet else StageLines(sys.stderr),
    )
    if as_json:
        show_json({"rounds": rounds, "noisy_above": NOISY, "rows": [row.to_json() for row in rows]})
        return 0
    click.echo("batch threads   p50 ms   p95 ms   p99 ms   rows/s  first ms   ratio  spread")
    for row in rows:
        times = " ".join(f"{1e3 * value:8.2f}" for value in (row.p50, row.p95, row.p99))
        ratio = "      -" if row.ratio is None else f"{row.ratio:7.2f}"
        spread = row.spread if row.ratio_spread is None else row.ratio_spread
        said = "  too noisy to tell" if row.noisy else ""
        line = f"{row.batch:5} {row.threads:7} {times} {row.throughput:8.1f} {1e3 * row.first:9.1f} {ratio}"
        click.echo(one_line(f"{line} {spread:7.1%}  {row.name}{said}"))
    return 0
