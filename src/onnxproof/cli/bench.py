"""onnxproof bench."""

import sys
from pathlib import Path

import click

import onnxproof
from onnxproof.cli._document import show_json
from onnxproof.cli._lines import StageLines
from onnxproof.cli._options import checkpoint_options
from onnxproof.deploy.rows import Figures, Row
from onnxproof.document import LARGEST_WHOLE
from onnxproof.errors import CheckError, RequestError
from onnxproof.progress import silent
from onnxproof.runtime.drawings import is_drawing
from onnxproof.runtime.folder import model_files, refuse_in_bundle
from onnxproof.runtime.session import CPU
from onnxproof.system.endings import ending_of
from onnxproof.system.extras import require_extra
from onnxproof.system.files import check_file, refuse_inputs
from onnxproof.system.imports import imported
from onnxproof.system.limits import MOST_THREADS
from onnxproof.system.own_file import refuse_foreign
from onnxproof.text import one_line

HEAD = "batch threads   p50 ms   p95 ms   p99 ms   rows/s  first ms  peak MB  ratio    interval  spread"
MB = 10**6
PNG = ".png"
SHOWN = 60
"""Characters of a list that a message shows."""


def _numbers(flag: str, text: str, most: int) -> tuple[int, ...]:
    found = [_whole(word, most) for word in text.split(",")]
    if not all(found):
        raise RequestError(f"{flag} {_short(text)}: expected whole numbers from 1 to {most:,}, such as 1,4")
    return tuple(dict.fromkeys(found))


def _whole(word: str, most: int) -> int:
    """The number that a word is, or 0 if it is none from 1 to ``most``."""
    digits = word.strip().lstrip("0")
    fits = digits.isdecimal() and len(digits) <= len(str(most)) and int(digits) <= most
    return int(digits) if fits else 0


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _sizes(text: str) -> dict[str, int]:
    found = {}
    for part in text.split(","):
        name, sign, size = (word.strip() for word in part.partition("="))
        found[name] = _whole(size, LARGEST_WHOLE)
        if not (name and sign and found[name]):
            raise RequestError(f"--size {_short(text)}: expected NAME=N,…, such as height=96,width=128")
    return found


@click.command("bench")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--against",
    default="",
    metavar="torch,torch.compile,onnx:OTHER,…",
    help="The checkpoint in PyTorch, the same compiled, and other files, each timed in turn.",
)
@click.option("--batch", default="1", show_default=True, metavar="N,…", help="Rows of a run.")
@click.option(
    "--threads", default="1", show_default=True, metavar="N,…", help="Threads of ONNX Runtime and of PyTorch."
)
@click.option(
    "--size",
    "sizes",
    multiple=True,
    metavar="NAME=N,…",
    help="Sizes of dynamic dimensions. Repeatable.  [default: as predict fits pictures, or the smallest]",
)
@click.option("--rounds", type=click.IntRange(2), default=30, show_default=True, help="Timed turns of each.")
@click.option(
    "--provider",
    "providers",
    multiple=True,
    metavar="NAME",
    help=f"An execution provider of ONNX Runtime. Repeatable.  [default: {CPU}]",
)
@click.option("--plot", type=click.Path(path_type=Path), help="A PNG to draw the figures into.")
@checkpoint_options
def command(
    bundle: Path,
    against: str,
    batch: str,
    threads: str,
    sizes: tuple[str, ...],
    rounds: int,
    providers: tuple[str, ...],
    plot: Path | None,
    checkpoint: Path | None,
    trust: bool,
    set: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> int:
    """Time a bundle on this machine, warmed up, in turn with its checkpoint in PyTorch and with other files.

    Each runs on the same noise in a process of its own. Ratios are medians over rounds, with their interval
    at 95 %. A line whose spread is above 15 % is called noisy: run it again on a quiet machine. One whose
    outputs clearly disagree with the bundle's is refused; then the exit code is 4.
    """
    if plot is not None:
        require_extra("plot", "bench --plot")
        if plot.suffix.lower() != PNG:
            raise RequestError(f"--plot {plot}: it is a PNG: name it {plot.with_suffix(PNG).name}")
        refuse_in_bundle(plot, "--plot")
        check_file(plot, "--plot")
        refuse_inputs([plot], model_files(bundle), "--plot")
        refuse_foreign(plot, is_drawing, "drawing", "--plot", "file")
    figures = onnxproof.bench(
        bundle,
        against=[name for name in against.split(",") if name],
        batch=_numbers("--batch", batch, LARGEST_WHOLE),
        threads=_numbers("--threads", threads, MOST_THREADS),
        sizes=[_sizes(text) for text in sizes],
        rounds=rounds,
        providers=providers or (CPU,),
        checkpoint=checkpoint,
        set=set,
        trust=trust,
        progress=silent if quiet else StageLines(sys.stderr),
    )
    if as_json:
        show_json({"rounds": rounds, **figures.to_json()})
    else:
        _print(figures)
    if plot is not None and figures.rows:
        try:
            imported("onnxproof.deploy.plot").write_plot(figures.rows, plot)
        except RequestError as error:  # the document is printed already
            click.echo(ending_of(error).text, err=True)
            return error.exit_code
    return CheckError.exit_code if figures.refused else 0


def _print(figures: Figures) -> None:
    sizes: str | None = None
    for row in figures.rows:
        if row.sizes != sizes:
            sizes = row.sizes
            click.echo(one_line(f"{sizes}:") if sizes else HEAD)
            if sizes:
                click.echo(HEAD)
        click.echo(one_line(_line(row)))
    for one in figures.refused:
        place = f"{one.sizes}, " if one.sizes else ""
        at = f"{place}batch {one.batch}, threads {one.threads}"
        click.echo(one_line(f"refused: {one.name} ({at}): {one.reason}"))
    for note in figures.notes:
        click.echo(one_line(f"note: {note}"), err=True)


def _line(row: Row) -> str:
    times = " ".join(f"{1e3 * value:8.2f}" for value in (row.p50, row.p95, row.p99))
    peak = "      -" if row.peak is None else f"{row.peak / MB:7.0f}"
    ratio, interval = "     -", "          -"
    if row.ratio is not None:
        ratio, interval = f"{row.ratio:6.2f}", f"{row.low:5.2f}…{row.high:.2f}"
    spread = row.spread if row.ratio_spread is None else row.ratio_spread
    said = f"  {row.said}" if row.said else ""
    figures = f"{row.throughput:8.1f} {1e3 * row.first:9.0f}  {peak} {ratio} {interval:>11}"
    return f"{row.batch:5} {row.threads:7} {times} {figures} {spread:7.1%}  {row.name}{said}"
