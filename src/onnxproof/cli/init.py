"""onnxproof init."""

from pathlib import Path

import click

import onnxproof
from onnxproof.cli._document import show_json
from onnxproof.cli._options import json_option
from onnxproof.steps.look_first import refuse_to_init
from onnxproof.text import one_line


@click.command("init")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The job file to write: <job name>.toml in this folder unless given.",
)
@click.option(
    "--set", "set", multiple=True, metavar="SECTION.KEY=VALUE", help="A value of your own for the job."
)
@json_option
def command(checkpoint: Path, out: Path | None, set: tuple[str, ...], as_json: bool) -> int:
    """Find out what CHECKPOINT is, and write a job for it, with a comment on each key."""
    refuse_to_init(checkpoint, out, set)
    made = onnxproof.init(checkpoint, out=out, set=set)
    if as_json:
        show_json({"file": str(made.file), "recognised": made.said, "job": made.job.to_json()})
        return 0
    click.echo(one_line(f"{made.file}: {made.said}"))
    click.echo(one_line(f"next: onnxproof export {made.file}"))
    return 0
