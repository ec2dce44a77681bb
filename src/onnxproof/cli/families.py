"""onnxproof families."""

from typing import Any

import click

from onnxproof.cli._document import show_json
from onnxproof.cli._options import json_option
from onnxproof.wrappers.catalog import FamilyEntry, describe, offered_families


@click.command("families")
@json_option
def command(as_json: bool) -> int:
    """List the model families and what each is."""
    entries = [describe(entry) for entry in offered_families()]
    if as_json:
        show_json([_document(entry) for entry in entries])
        return 0
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        click.echo(f"{entry.name:<{width}}  {_line(entry)}")
    return 0


def _document(entry: FamilyEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "summary": entry.summary,
        "package": entry.distribution,
        "problem": entry.problem or None,
    }


def _line(entry: FamilyEntry) -> str:
    """The family's summary, or why it cannot be used, and the package that brings it unless it is ours."""
    said = f"cannot be used: {entry.problem}" if entry.problem else entry.summary
    return said if entry.distribution is None else f"{said} [{entry.distribution}]"
