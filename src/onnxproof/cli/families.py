"""onnxproof families."""

import click

from onnxproof.wrappers import family_names, family_summary


@click.command("families")
def command() -> int:
    """List the model families and what each is."""
    for name in family_names():
        click.echo(f"{name:<12} {family_summary(name)}")
    return 0
