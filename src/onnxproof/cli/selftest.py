"""onnxproof selftest."""

import sys
from pathlib import Path

import click

import onnxproof
from onnxproof.cli._document import show_json
from onnxproof.cli._lines import StageLines
from onnxproof.cli._options import json_option, quiet_option, runtime_option
from onnxproof.cli._short import show_short
from onnxproof.progress import silent
from onnxproof.runtime.session import CPU
from onnxproof.system.endings import EXIT_CODES
from onnxproof.system.limits import MOST_THREADS


@click.command("selftest")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--provider",
    "providers",
    multiple=True,
    metavar="NAME",
    help=f"An execution provider of ONNX Runtime, such as CUDAExecutionProvider. Repeatable, the first that "
    f"can run a node first.  [default: {CPU}]",
)
@click.option(
    "--threads",
    type=click.IntRange(0, MOST_THREADS),
    default=0,
    show_default=True,
    help="Threads of ONNX Runtime; 0: as many as it chooses.",
)
@runtime_option
@click.option(
    "--verify",
    metavar="KEY",
    type=click.Path(path_type=Path),
    help="A public key (PEM): the signature beside the bundle, .sig, must hold before anything is run.",
)
@json_option
@quiet_option
def command(
    bundle: Path,
    providers: tuple[str, ...],
    threads: int,
    runtimes: tuple[str, ...],
    verify: Path | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Judge a bundle on this machine by the golden cases in it: neither PyTorch nor the checkpoint is needed.

    The files must be those that were verified, and ONNX Runtime must compute the recorded cases as well, and
    decide on them alike, as validate demands it. A provider that is not there, or does not start, is refused.
    With --runtime other runtimes are judged, and each --provider by itself.
    """
    progress = silent if quiet else StageLines(sys.stderr)
    verdict = onnxproof.selftest(
        bundle,
        providers=providers or (CPU,),
        threads=threads,
        runtimes=runtimes,
        verify=verify,
        progress=progress,
    )
    if as_json:
        show_json(verdict.to_json())
    elif not quiet:
        show_short(verdict)
    return EXIT_CODES[verdict.status]
