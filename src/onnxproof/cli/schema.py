"""onnxproof schema."""

import click

from onnxproof.cli._document import show_json
from onnxproof.cli._options import json_option
from onnxproof.schemas import SCHEMAS, schema


@click.command("schema")
@click.argument("name", metavar="|".join(SCHEMAS))
@json_option
def command(name: str, as_json: bool) -> int:
    """Print the JSON Schema of job files or of a document that onnxproof writes. With --json, too.

    An editor completes and checks a job file by it: write onnxproof schema job > job.schema.json, and the
    line #:schema ./job.schema.json at the top of the job file.
    """
    show_json(schema(name))
    return 0
