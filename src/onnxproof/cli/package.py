"""onnxproof package."""

from pathlib import Path
from typing import get_args

import click

import onnxproof
from onnxproof.cli._document import show_json
from onnxproof.cli._options import json_option
from onnxproof.deploy.package import REPOSITORY, Format
from onnxproof.text import one_line


@click.command("package")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(get_args(Format)),
    default="zip",
    show_default=True,
    help="One file that the runtime reads without unpacking, or a model of a Triton repository.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help=f"The archive, or the repository's folder.  [default: BUNDLE.zip, {REPOSITORY}]",
)
@click.option(
    "--sign",
    metavar="KEY",
    type=click.Path(path_type=Path),
    help="Sign it with a private key (PEM, an elliptic curve); the signature is beside it, .sig.",
)
@click.option("--bom", is_flag=True, help="Write a CycloneDX bill of materials beside it, .cdx.json.")
@json_option
def command(bundle: Path, form: Format, out: Path | None, sign: Path | None, bom: bool, as_json: bool) -> int:
    """Write a bundle as one file, or as a model of a Triton repository, after a look at its checksums.

    predict, inspect and selftest take the archive as a bundle. selftest --verify KEY also verifies the
    signature beside it.
    """
    made = onnxproof.package(bundle, format=form, out=out, sign=sign, bom=bom)
    if as_json:
        show_json(made.to_json())
        return 0
    click.echo(one_line(f"{made.path}: {', '.join(made.files)}"))
    for what, path in (("signature", made.signature), ("bill of materials", made.bom)):
        if path is not None:
            click.echo(one_line(f"{what}: {path}"))
    return 0
