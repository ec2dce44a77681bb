"""The commands, and a run of the one that the arguments name."""

import atexit
import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from onnxproof import __version__
from onnxproof.cli import _ending, asks_for
from onnxproof.cli._crash import told_if_it_crashes
from onnxproof.cli._document import document_only
from onnxproof.cli._lines import warnings_in_lines
from onnxproof.cli._streams import patient_streams
from onnxproof.system.extras import NEEDED_BY, require
from onnxproof.system.frames import roomy
from onnxproof.system.imports import PASSIVE, freeze_imports, imported
from onnxproof.text import meant

COMMANDS = {
    "export": "Export a checkpoint, prove the file, write a bundle.",
    "init": "Write a commented job for a checkpoint.",
    "validate": "Check an ONNX file against the checkpoint that a job or a bundle names.",
    "check": "Check someone else's ONNX file against a checkpoint, without a job.",
    "compare": "Compare an ONNX file with another.",
    "bisect": "Name the nodes of an ONNX file that introduce error.",
    "selftest": "Judge a bundle where it is deployed, without PyTorch.",
    "kit": "Write a bundle's golden cases as plain files, for a host in any language.",
    "judge": "Judge what such a host answered to a kit.",
    "bench": "Time a bundle on this machine, in turn with other ONNX files.",
    "package": "Write a bundle as one file, or as a model of a Triton repository.",
    "predict": "Run a bundle or an ONNX file on pictures.",
    "explain": "Say what a check means, why it fails, and what to do.",
    "inspect": "Show what a bundle or an ONNX file is.",
    "schema": "Print the JSON Schema of job files or of a document that onnxproof writes.",
    "families": "List the model families.",
    "tasks": "List the tasks.",
}

TRACEBACK = click.Option(
    ["--traceback"], is_flag=True, expose_value=False, help="Show where in the code an error comes from."
)
"""Accepted before and after a command's name. ``main`` looks for it itself, because an error may come before
click reads the options."""


class _Commands(click.Group):
    """Imports a command's module only when the command is called, so that --help imports none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        require(NEEDED_BY.get(cmd_name, ()), cmd_name)
        command: click.Command = imported(f"onnxproof.cli.{cmd_name}").command
        if TRACEBACK not in command.params:
            command.params.append(TRACEBACK)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            listed = ", ".join(COMMANDS)
            raise click.UsageError(
                f"there is no command {args[0]!r}; there are: {listed}{meant(args[0], COMMANDS)}", ctx
            )
        return super().resolve_command(ctx, args)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        with _ending.reader_may_go():
            _require_no_empty(args)
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _ending.reader_may_go():
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _require_no_empty(args: Sequence[str]) -> None:
    """Raise UsageError for an empty argument: a shell's variable may be unset.

    As a path it would be the current folder.
    """
    for before, given in zip(("onnxproof", *args), args, strict=False):
        flag, equals, value = given.partition("=")
        if not given:
            raise click.UsageError(f"the argument after {before} is empty: is a variable unset?")
        if flag.startswith("--") and equals and not value:
            raise click.UsageError(f"{flag}= is without a value: is a variable unset?")


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="onnxproof")
def app() -> None:
    """Export trained PyTorch checkpoints to ONNX, and prove that the file decides as the checkpoint did.

    Exit codes: 0 done, or the verdict is pass; 1 the verdict is fail; 2 the request is wrong, or code that
    it names raised or exited; 3 capture or export failed; 4 a check could not be run; 70 an error that
    nobody foresaw, a fault of onnxproof; 130, 143 and 129 stopped by Ctrl-C, SIGTERM and SIGHUP; 141 the
    reader of the output went away. Of many jobs it is the worst: from the best, 0, 4, 1, 3, 2, 70.

    With --json, standard output is one JSON document. It is {"error": {"type", "message", "exit_code"}} if
    there is no result.
    """


app.params.append(TRACEBACK)


def whole_run() -> Any:
    """Run what the arguments name, what ``atexit`` has, and flush the streams. Returns the exit code.

    The process is to end then. Taking apart all that torch made, as Python does at its end, takes a second.
    """
    code: Any = 0
    try:
        main()
    except SystemExit as error:
        code = error.code
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # it is None, gone, or closed
            stream.flush()
    return code


@roomy
def main() -> None:
    """Run what the arguments name. Errors go to standard error, in words, and set the exit code."""
    for name, value in PASSIVE.items():
        os.environ.setdefault(name, value)
    freeze_imports()
    as_json = asks_for("--json")
    alone = as_json or asks_for("--jsonl")
    with (
        patient_streams(),
        warnings_in_lines(),
        told_if_it_crashes() if as_json else contextlib.nullcontext(),
        document_only() if alone else contextlib.nullcontext(),
    ):
        code = _ending.run(
            lambda: app(standalone_mode=False), as_json=as_json, with_traceback=asks_for("--traceback")
        )
    sys.exit(code)
