"""onnxproof bisect."""

from collections.abc import Iterator
from pathlib import Path

import click

from onnxproof.cli._document import show_json
from onnxproof.cli._options import checkpoint_options, onnx_option
from onnxproof.cli._terminal import progress
from onnxproof.pipeline import bisect
from onnxproof.text import one_line
from onnxproof.validate.bisect.deviation import LIMIT_MAX, LIMIT_RMS
from onnxproof.validate.bisect.result import Bisection, Leaving
from onnxproof.validate.report.notes import bare

FOUND = 1
"""The exit code if nodes are named."""


@click.command("bisect")
@click.argument("source", metavar="JOB|BUNDLE", type=click.Path(path_type=Path))
@click.option(
    "--case",
    metavar="N",
    help="A case's number in parity.json's list, from 0, or its name. Default: one that fails.",
)
@onnx_option
@click.option(
    "--out", type=click.Path(path_type=Path), help="A folder for a file of these nodes. Default: bisect/NAME."
)
@checkpoint_options
def command(
    source: Path,
    case: str | None,
    onnx_file: Path | None,
    out: Path | None,
    checkpoint: Path | None,
    trust: bool,
    overrides: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> int:
    """Name the nodes of an ONNX file that introduce error, and not those that only pass it on.

    Each node is run on the inputs that PyTorch computes for it in float64, from the checkpoint that JOB or
    BUNDLE names. Exit codes: 0 no node introduces more error than float rounding; 1 nodes are named; 2 the
    request is wrong; 4 it could not be run.
    """
    with progress(quiet=quiet) as report:
        found = bisect(
            source,
            onnx_file=onnx_file,
            checkpoint=checkpoint,
            overrides=overrides,
            trust=trust,
            case=case,
            out=out,
            progress=report,
        )
    if as_json:
        show_json(found.to_json())
    elif not quiet:
        click.echo("\n".join(map(one_line, _sentences(found))))
    return FOUND if found.nodes else 0


def _sentences(found: Bisection) -> Iterator[str]:
    """The finding in words."""
    yield from (f"note: {note}" for note in found.notes)
    case = f"case {found.case_number}, {found.case['name']}"
    walked = f"{found.nodes_walked} nodes walked on {case}; {found.tied} give what the model gives"
    if not found.nodes:
        yield f"no node introduces more error than {LIMIT_RMS:g} times what rounding makes ({walked})"
        if found.failing:
            yield "on this case alone the verdict is fail: rounding adds up on the way, in no one place"
        return
    where = (
        "in what ONNX Runtime's optimizer makes of the file" if found.graph == "optimized" else "in the file"
    )
    yield f"error begins at one node {where} ({walked})"
    for node in found.nodes:
        yield f"  {node.operator}  {node.name}  -> {', '.join(node.outputs)}"
    if found.reason:
        yield f"  does not run: {found.reason}"
    for value in found.leaving:
        yield from _measured(value)


def _measured(value: Leaving) -> Iterator[str]:
    yield f"{value.output} should be {value.operation} of {bare(value.module) or 'the wrapper itself'}"
    if value.local is None:
        got = "nothing" if value.shape is None else f"the shape {list(value.shape)}"
        yield f"  got {got}, expected the shape {list(value.expected_shape)}"
        return
    local = value.local
    yield f"  introduced, rms: {_against(local.rms, local.floor_rms, local.ratio, LIMIT_RMS)}"
    yield f"  introduced, largest: {_against(local.maximum, local.floor_max, local.ratio_max, LIMIT_MAX)}"
    if value.own_rms is not None and value.passed_on_rms is not None:
        passed_on = f"{value.passed_on_rms:.2e} of it passed on"
        yield f"  with the file's own inputs: rms {value.own_rms:.2e}, {passed_on}"


def _against(error: float, floor: float, ratio: float, limit: float) -> str:
    return f"{error:.2e}, {ratio:.3g} times the floor of {floor:.2e} (limit {limit:g})"
