"""onnxproof kit."""

import shlex
import sys
from pathlib import Path

import click

import onnxproof
from onnxproof.cli._document import show_json
from onnxproof.cli._lines import StageLines
from onnxproof.cli._options import json_option, quiet_option
from onnxproof.progress import silent
from onnxproof.system.parsed import json_in
from onnxproof.text import one_line
from onnxproof.validate.golden.kit import KIT_FILE


@click.command("kit")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="The folder; a kit that is there is replaced.",
)
@click.option("--model/--no-model", default=True, help="Whether to copy the model into it.  [default: model]")
@json_option
@quiet_option
def command(bundle: Path, out: Path, model: bool, as_json: bool, quiet: bool) -> int:
    """Write the golden cases of a bundle as plain files, to be run by a host in any language.

    The README.md in the folder says what the files are, and what the host returns. onnxproof judge then says
    whether the host computes and decides as it was proven to. With --json, the document is kit.json.
    """
    progress = silent if quiet else StageLines(sys.stderr)
    folder = onnxproof.kit(bundle, out=out, model=model, progress=progress)
    index = json_in(folder / KIT_FILE)
    if as_json:
        show_json(index)
    elif not quiet:
        count = len(index["cases"])
        click.echo(
            one_line(
                f"{folder}: {count} cases; run them, then: onnxproof judge {shlex.quote(str(folder))} OUTPUTS"
            )
        )
    return 0
