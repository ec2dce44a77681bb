"""onnxproof explain."""

import textwrap
from dataclasses import asdict

import click

from onnxproof.cli._document import show_json
from onnxproof.cli._options import json_option
from onnxproof.errors import RequestError
from onnxproof.text import near
from onnxproof.validate.explained import EXPLAINED

WIDTH = 100


@click.command("explain")
@click.argument("check")
@json_option
def command(check: str, as_json: bool) -> int:
    """Say what CHECK, a check of a verdict, means, why it fails in practice, and what to do.

    Of a link, such as runtime, the checks are listed.
    """
    found = EXPLAINED.get(check)
    own = [one.name for one in EXPLAINED.values() if one.link == check]
    if found is None and own:
        if as_json:
            show_json({"link": check, "checks": own})
        else:
            click.echo(f"{check} is a link of the proof, with the checks {', '.join(own)}")
        return 0
    if found is None:
        close = near(check, EXPLAINED)
        hint = f": did you mean {close[0]}?" if close else f"; there are: {', '.join(EXPLAINED)}"
        raise RequestError(f"there is no check {check}{hint}")
    if as_json:
        show_json(asdict(found))
        return 0
    click.echo(f"{found.name}, a check of the link {found.link}")
    for heading, text in (("means", found.means), ("fails", found.fails), ("do", found.do)):
        body = textwrap.fill(text, WIDTH, initial_indent=f"{heading:<7}", subsequent_indent=" " * 7)
        click.echo(body)
    return 0
