"""The options of commands that share work on many pictures out to workers."""

import functools
from pathlib import Path
from typing import Any

import click

from onnxproof.cli._options import Command
from onnxproof.many.workers import Workers


def workers_options(command: Command) -> Command:
    """Give a command the options that say who works on many pictures, as ``workers``."""

    @click.option(
        "--workers",
        "count",
        metavar="N",
        type=int,
        help="Share many pictures out to N processes of this machine.",
    )
    @click.option("--dask", metavar="ADDRESS", help="Share them out to the workers of a Dask scheduler.")
    @click.option(
        "--resume",
        metavar="FOLDER",
        type=click.Path(path_type=Path),
        help="Keep what is done in FOLDER, and go on there after a stop.",
    )
    @functools.wraps(command)
    def with_workers(
        *args: Any, count: int | None, dask: str | None, resume: Path | None, **options: Any
    ) -> Any:
        return command(*args, workers=Workers(count, dask, resume), **options)

    return with_workers
