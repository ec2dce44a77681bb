"""onnxproof tasks."""

import click

from onnxproof.cli._document import show_json
from onnxproof.cli._options import json_option
from onnxproof.runtime.tasks import get_task, task_names


@click.command("tasks")
@json_option
def command(as_json: bool) -> int:
    """List the tasks and what each is."""
    names = task_names()
    if as_json:
        show_json([{"name": name, "summary": get_task(name).summary} for name in names])
        return 0
    width = max(map(len, names))
    for name in names:
        click.echo(f"{name:<{width}}  {get_task(name).summary}")
    return 0
