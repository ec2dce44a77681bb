"""onnxproof families."""

import click

from onnxproof.wrappers.catalog import FamilyEntry, describe, offered_families


@click.command("families")
def command() -> int:
    """List the model families and what each is."""
    entries = [describe(entry) for entry in offered_families()]
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        click.echo(f"{entry.name:<{width}}  {_line(entry)}")
    return 0


def _line(entry: FamilyEntry) -> str:
    """The family's summary, or why it cannot be used, and the package that brings it unless it is ours."""
    said = f"cannot be used: {entry.problem}" if entry.problem else entry.summary
    return said if entry.distribution is None else f"{said} [{entry.distribution}]"
