"""The terminal: each command parses, calls one function, prints, exits."""

import importlib
import sys
from typing import Any

import click

from onnxproof import __version__
from onnxproof.errors import OnnxproofError

COMMANDS = {
    "export": "Export a job's checkpoint, prove the file, write a bundle.",
    "validate": "Hold an ONNX file against the checkpoint that a job or a bundle names.",
    "compare": "Hold an ONNX file against another.",
    "bisect": "Name the nodes of an ONNX file that introduce error.",
    "predict": "Run a bundle or an ONNX file on pictures.",
    "inspect": "Show what a bundle or an ONNX file is.",
    "families": "List the model families.",
    "tasks": "List the tasks.",
}

INTERRUPTED = 130
"""The shell's exit code for a command that was stopped by Ctrl-C."""


class _Commands(click.Group):
    """Imports a command's module only when it is called, so that --help imports none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"onnxproof.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="onnxproof")
def app() -> None:
    """Export trained PyTorch checkpoints to ONNX, and prove that the file decides as the checkpoint did.

    Exit codes: 0 done, or the verdict is pass; 1 the verdict is fail; 2 the request is wrong; 3 capture
    or export failed; 4 a check could not be run.
    """


def main() -> None:
    """The console script: errors for people on standard error, and the right exit code."""
    try:
        code: Any = app(standalone_mode=False)
    except OnnxproofError as error:
        click.echo(f"onnxproof: {error}", err=True)
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("onnxproof: stopped", err=True)
        code = INTERRUPTED
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("onnxproof"):
            raise
        extra = EXTRAS.get(error.name.partition(".")[0])
        if extra is None:
            raise
        click.echo(
            f"onnxproof: this needs the package {error.name}: pip install 'onnxproof[{extra}]'", err=True
        )
        code = 2
    sys.exit(code if isinstance(code, int) else 0)


EXTRAS = {
    "torch": "export",
    "onnx": "export",
    "onnxscript": "export",
    "onnxsim": "export",
    "pydantic": "export",
    "pydantic_core": "export",
    "rich": "export",
    "safetensors": "export",
    "torchvision": "torchvision",
    "timm": "timm",
    "cjm_yolox_pytorch": "cjm_yolox_pytorch",
    "cjm_psl_utils": "cjm_yolox_pytorch",
}
"""Which extra brings a package that the base install does without."""
