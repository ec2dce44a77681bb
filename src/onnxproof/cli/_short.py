"""A verdict on the terminal in a few lines, for commands of the base install, which has no tables."""

import click

from onnxproof.text import one_line
from onnxproof.validate.report.runtimes import runtime_lines
from onnxproof.validate.report.short import not_passed, note_lines, verdict_line
from onnxproof.validate.verdict import Verdict, link_lines


def show_short(verdict: Verdict) -> None:
    """Print the links, the table of runtimes, what did not pass, the notes and the verdict."""
    lines = [line for _, line in link_lines(verdict)]
    lines += runtime_lines(verdict)
    lines += [line for _, line in not_passed(verdict.checks, several=len(verdict.facts) > 1)]
    lines += note_lines(verdict.notes)
    for line in (*lines, verdict_line(verdict.status, verdict.checks)[1]):
        click.echo(one_line(line))
