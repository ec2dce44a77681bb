"""onnxproof tasks."""

import click

from onnxproof.runtime.tasks import get_task, task_names


@click.command("tasks")
def command() -> int:
    """List the tasks and what each is."""
    names = task_names()
    width = max(map(len, names))
    for name in names:
        click.echo(f"{name:<{width}}  {get_task(name).summary}")
    return 0
