"""onnxproof bisect."""

from collections.abc import Iterator
from pathlib import Path

import click

import onnxproof
from onnxproof.cli._document import show_json
from onnxproof.cli._options import checkpoint_options, map_option, mapping_of, onnx_option
from onnxproof.cli._terminal import progress
from onnxproof.job.asked import refuse_own_names
from onnxproof.steps.look_first import refuse_to_validate
from onnxproof.text import one_line
from onnxproof.validate.bisect.result import Bisection, Leaving
from onnxproof.validate.report.notes import bare
from onnxproof.validate.report.short import note_lines

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
@map_option
@click.option(
    "--out", type=click.Path(path_type=Path), help="A folder for a file of these nodes. Default: bisect/NAME."
)
@checkpoint_options
def command(
    source: Path,
    case: str | None,
    onnx: Path | None,
    pairs: tuple[str, ...],
    out: Path | None,
    checkpoint: Path | None,
    trust: bool,
    set: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> int:
    """Name the node of an ONNX file that introduces error, and not those that only pass it on.

    The file's graph is evaluated in float64. Each of its values is looked up among those that PyTorch
    computes in float64 from the checkpoint that JOB or BUNDLE names. If they agree and the verdict is fail,
    each node that ONNX Runtime runs is held to its rounding bound. Exit codes: 0 no node is named; 1 nodes
    are named; 2 the request is wrong; 4 it could not be run.
    """
    names = mapping_of(pairs)
    refuse_own_names(names, onnx)
    refuse_to_validate(source, onnx, set, checkpoint)
    with progress(quiet=quiet) as report:
        found = onnxproof.bisect(
            source,
            onnx=onnx,
            map=names,
            checkpoint=checkpoint,
            set=set,
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
    yield from note_lines(found.notes)
    case = f"case {found.case_number}, {found.case['name']}"
    walked = f"{found.nodes_walked} nodes walked on {case}; {found.tied} give what the model gives"
    if not found.nodes:
        yield f"no node is named: the file computes what the checkpoint computes here, in float64 ({walked})"
        if found.failing:
            yield "on this case alone the verdict is fail, and no single node of the runtime's is to blame"
        return
    yield f"{_told(found)} ({walked})"
    for node in found.nodes:
        yield f"  {node.operator}  {node.name}  -> {', '.join(node.outputs)}"
    yield from (f"  not the checkpoint's: {constant}" for constant in found.constants)
    if found.reason:
        yield f"  {found.reason}"
    for value in found.leaving:
        yield from _measured(value)


def _told(found: Bisection) -> str:
    where = "in the file" if found.graph == "file" else "in what ONNX Runtime's optimizer makes of the file"
    if found.link == "function" or any(value.operation for value in found.leaving):
        return f"{found.link} link: error begins at one node {where}"
    return f"{found.link} link: ONNX Runtime computes something else than one node states, {where}"


def _measured(value: Leaving) -> Iterator[str]:
    wanted = "what the node itself gives in float64"
    if value.operation:
        wanted = f"{value.operation} of {bare(value.module) or 'the wrapper itself'}"
    yield f"{value.output} should be {wanted}"
    apart = value.apart
    if apart is None:
        yield f"  got the shape {list(value.shape)}, expected the shape {list(value.expected_shape)}"
        return
    yield (
        f"  off by {apart.rms:.2e} rms, {apart.maximum:.2e} at most; rounding allows {apart.limit:.2e} "
        f"(its size is {apart.scale:.2e} rms)"
    )
