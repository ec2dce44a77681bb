"""pydantic's errors about a job, in the words of a TOML file."""

import json
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
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "finite_number": "expected a finite number",
    "bool_type": "expected true or false",
    "string_type": "expected a text",
    "too_short": "expected at least {min_length} {values}",
    "too_long": "expected at most {max_length} values",
    "greater_than": "expected a number above {gt}",
    "greater_than_equal": "expected {ge} or more",
    "less_than": "expected a number below {lt}",
    "less_than_equal": "expected {le} or less",
    "literal_error": "expected {expected}",
}
"""What pydantic says of Python's types, patterns and limits, in the words of a TOML file."""


def explain(source: str, entry: Mapping[str, Any], schema: type[BaseModel]) -> str:
    """One line for one of pydantic's errors. ``schema`` is the class of the whole document."""
    location = [str(part) for part in entry["loc"]]
    key, given = ".".join(location), in_toml(entry["input"])
    if entry["type"] == "extra_forbidden":
        table, unknown = _table_at(schema, location[:-1]), location[-1]
        allowed = sorted(
            (field.alias or name) for name, field in table.model_fields.items() if name != "folder"
        )
        allowed += () if location[:-1] else FILE_KEYS
        known = f"allowed here: {', '.join(allowed)}{meant(unknown, allowed)}"
        return f"{source}: unknown key {key} = {given}; {known}"
    if entry["type"] == "missing" and isinstance(entry["loc"][-1], int):
        array = ".".join(location[:-1])
        return f"{source}: {array} = {given}: expected at least {entry['loc'][-1] + 1} values"
    if entry["type"] == "missing":
        return f"{source}: the key {key} is missing"
    message = _in_words(entry)
    if entry["type"] == "literal_error" and isinstance(entry["input"], str):
        message += meant(entry["input"], re.findall(r'"([^"]*)"', message))
    return f"{source}: {key} = {given}: {message}"


def _in_words(entry: Mapping[str, Any]) -> str:
    told = IN_TOMLS_WORDS.get(entry["type"])
    if told is None:
        return str(entry["msg"][0].lower() + entry["msg"][1:])
    limits = dict(entry.get("ctx", {}))
    if "expected" in limits:
        limits["expected"] = limits["expected"].replace("'", '"')
    return told.format(**limits, values="value" if limits.get("min_length") == 1 else "values")


def in_toml(value: Any) -> str:
    """A value as a job has it; one that TOML does not have, as in Python."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(in_toml, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key} = {in_toml(one)}' for key, one in value.items())}}}"
    return repr(value)


def _table_at(schema: type[BaseModel], location: Sequence[str]) -> type[BaseModel]:
    table = schema
    for part in location:
        for name, field in table.model_fields.items():
            kind = field.annotation
            if part in (name, field.alias) and isinstance(kind, type) and issubclass(kind, BaseModel):
                table = kind
    return table
