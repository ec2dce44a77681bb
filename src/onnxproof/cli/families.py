"""onnxproof families."""

import click

from onnxproof.wrappers import family_names, family_summary


@click.command("families")
def command() -> int:
    """List the model families and what each is."""
    names = family_names()
    width = max(map(len, names))
    for name in names:
        click.echo(f"{name:<{width}}  {family_summary(name)}")
    return 0
