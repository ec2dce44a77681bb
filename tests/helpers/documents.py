"""Documents held against the JSON Schemas of the package."""

from typing import Any

from jsonschema import Draft202012Validator

import onnxproof


def closed(schema: Any) -> Any:
    """The schema, in which an object has no keys but those that the schema names.

    Readers ignore keys that they do not know; what onnxproof writes itself must all be in the schema.
    """
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(item) for key, item in schema.items()}
    if "properties" in made and "required" in made and "additionalProperties" not in made:
        made["additionalProperties"] = False
    return made


def mistakes(name: str, document: Any) -> list[str]:
    """Where a document does not fit the schema of that name; empty if it does."""
    found = Draft202012Validator(closed(onnxproof.schema(name))).iter_errors(document)
    return [f"{error.json_path}: {error.message[:200]}" for error in found]
