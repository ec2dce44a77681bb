"""pydantic's errors about a job, in the words of a TOML file."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from onnxproof.contract import NAME_IN_WORDS
from onnxproof.job.document import FILE_KEYS
from onnxproof.text import meant

IN_TOMLS_WORDS = {
    "dict_type": "expected a table",
    "model_type": "expected a table",
    "string_pattern_mismatch": f"expected {NAME_IN_WORDS}",
    "tuple_type": "expected an array",
}
"""pydantic's messages about Python's types and patterns, in the words of a TOML file."""


def explain(source: str, entry: Mapping[str, Any], schema: type[BaseModel]) -> str:
    """One line for one of pydantic's errors. ``schema`` is the class of the whole document."""
    location = [str(part) for part in entry["loc"]]
    key = ".".join(location)
    if entry["type"] == "extra_forbidden":
        table, unknown = _table_at(schema, location[:-1]), location[-1]
        allowed = sorted(
            (field.alias or name) for name, field in table.model_fields.items() if name != "folder"
        )
        allowed += () if location[:-1] else FILE_KEYS
        hint = meant(unknown, allowed)
        return f"{source}: unknown key {key} = {entry['input']!r}; allowed here: {', '.join(allowed)}{hint}"
    if entry["type"] == "missing" and isinstance(entry["loc"][-1], int):
        array = ".".join(location[:-1])
        return f"{source}: {array} = {list(entry['input'])}: expected at least {entry['loc'][-1] + 1} values"
    if entry["type"] == "missing":
        return f"{source}: the key {key} is missing"
    message = IN_TOMLS_WORDS.get(entry["type"]) or entry["msg"][0].lower() + entry["msg"][1:]
    if entry["type"] == "literal_error" and isinstance(entry["input"], str):
        message += meant(entry["input"], re.findall(r"'([^']*)'", message))
    return f"{source}: {key} = {entry['input']!r}: {message}"


def _table_at(schema: type[BaseModel], location: Sequence[str]) -> type[BaseModel]:
    table = schema
    for part in location:
        for name, field in table.model_fields.items():
            kind = field.annotation
            if part in (name, field.alias) and isinstance(kind, type) and issubclass(kind, BaseModel):
                table = kind
    return table
