"""onnxproof tasks."""

import click

from onnxproof.runtime.tasks import get_task, task_names


@click.command("tasks")
def command() -> int:
    """List the tasks and what each is."""
    for name in task_names():
        click.echo(f"{name:<12} {get_task(name).summary}")
    return 0
