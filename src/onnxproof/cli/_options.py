"""The options that several commands have."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from onnxproof.errors import RequestError

Command = Callable[..., Any]

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."
)
quiet_option = click.option(
    "--quiet",
    is_flag=True,
    help="Print nothing but errors, and with --json the document: no progress, no table.",
)
onnx_option = click.option(
    "--onnx",
    "onnx",
    type=click.Path(path_type=Path),
    help="The ONNX file, in place of the bundle's own.",
)
map_option = click.option(
    "--map",
    "pairs",
    multiple=True,
    metavar="FILE_NAME=NAME",
    help="Which input or output of the file is which of the model: images=input.",
)
baseline_option = click.option(
    "--baseline",
    metavar="PARITY.json|BUNDLE",
    type=click.Path(path_type=Path),
    help="An older verdict: a check that got worse beyond its noise fails, even within its limit.",
)
runtime_option = click.option(
    "--runtime",
    "runtimes",
    multiple=True,
    metavar="NAME[,NAME]",
    help="Try the file in these runtimes, and print the table of them: ort (at each of its levels), ort-web "
    "(through Node), openvino (told to compute in float32), openvino-auto (as it chooses), reference. "
    "Repeatable.",
)
_checkpoint_option = click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    help="The checkpoint of a bundle that was moved; its SHA-256 must be the manifest's.",
)
_trust_option = click.option(
    "--trust", is_flag=True, help="Run the code that a bundle names; accept a checkpoint of another SHA-256."
)
_set_option = click.option(
    "--set",
    "set",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="Replace a value of the job, or of a bundle's job.",
)


def checkpoint_options(command: Command) -> Command:
    """Give a command that compares with a checkpoint the options that say which one, and how to print.

    The command's arguments are ``checkpoint``, ``trust``, ``set``, ``as_json`` and ``quiet``.
    """
    # click lists the options of the outermost decorator first.
    return _checkpoint_option(_trust_option(_set_option(json_option(quiet_option(command)))))


def mapping_of(pairs: Sequence[str]) -> dict[str, str]:
    """The names of a file and of the model that --map pairs. Raises RequestError if it has another form."""
    for pair in pairs:
        if not all(pair.partition("=")):
            raise RequestError(f"--map {pair}: expected FILE_NAME=NAME, such as images=input")
    return {name: known for name, _, known in (pair.partition("=") for pair in pairs)}
