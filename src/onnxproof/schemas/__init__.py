"""The JSON Schemas (draft 2020-12) of what onnxproof reads and writes.

``benchmarks/schemas.py`` makes them.
"""

from importlib.resources import files
from typing import Any

from onnxproof.errors import RequestError
from onnxproof.system.parsed import parse_json
from onnxproof.system.signatures import checks_arguments
from onnxproof.text import meant

SCHEMAS = ("job", "manifest", "parity", "made-from", "many", "kit", "outputs")
"""A job file (as TOML, or JSON), ``manifest.json``, ``parity.json``, the record of what a bundle was made
from, what ``--json`` prints of many jobs, and the indices of a kit and of a host's outputs."""


@checks_arguments
def schema(name: str) -> dict[str, Any]:
    """The JSON Schema of a document by its name in ``SCHEMAS``. Raises RequestError for another name."""
    document: dict[str, Any] = parse_json(schema_text(name))
    return document


def schema_text(name: str) -> str:
    """The schema as it lies in the package. Raises RequestError as ``schema``."""
    if name not in SCHEMAS:
        raise RequestError(
            f"there is no schema {name}; there are: {', '.join(SCHEMAS)}{meant(name, SCHEMAS)}"
        )
    return files("onnxproof.schemas").joinpath(f"{name}.schema.json").read_text(encoding="utf-8")
