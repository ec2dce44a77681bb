"""The JSON Schema of a Python type, and the words that schemas are made of."""

import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from onnxproof.validate.facts_json import NUMBERS

DRAFT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
TEXTS: Schema = {"type": "array", "items": TEXT}
NUMBER: Schema = {"anyOf": [{"type": "number"}, {"enum": [*NUMBERS]}]}
SHA256: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}


def head(name: str, title: str, text: str) -> Schema:
    return {"$schema": DRAFT, "$id": f"urn:onnxproof:schema:{name}", "title": title, "description": text}


def of(kind: Any) -> Schema:
    """The schema of a type as JSON holds its values."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return {}
    if origin is Literal:
        return {"enum": list(parts)}
    if origin in (Union, types.UnionType):
        kinds = [{"type": "null"} if part is type(None) else of(part) for part in parts]
        return {"anyOf": [flat for one in kinds for flat in one.get("anyOf", [one])]}
    if origin is tuple and parts[-1] is not Ellipsis:
        return {
            "type": "array",
            "prefixItems": [of(part) for part in parts],
            "minItems": len(parts),
            "maxItems": len(parts),
        }
    if origin is tuple:
        return {"type": "array", "items": of(parts[0])}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": of(parts[1])}
    if is_dataclass(kind):
        return table(**of_fields(kind))
    simple = {str: TEXT, bool: {"type": "boolean"}, int: {"type": "integer"}, float: NUMBER}
    return dict(simple[kind])


def of_fields(kind: Any, **replaced: Schema) -> dict[str, Schema]:
    """The schemas of a dataclass's fields by name."""
    hints = get_type_hints(kind)
    return {field.name: replaced.get(field.name) or of(hints[field.name]) for field in fields(kind)}


def table(**keys: Schema) -> Schema:
    """An object with these keys, all required."""
    return {"type": "object", "properties": keys, "required": list(keys)}


def may_lack(made: Schema, keys: Iterable[str]) -> Schema:
    """The object, of whose keys some need not be there."""
    left = [key for key in made["required"] if key not in set(keys)]
    rest = {key: value for key, value in made.items() if key != "required"}
    return {**rest, "required": left} if left else rest


def alone(made: Schema) -> Schema:
    """The object without any other keys."""
    return {**made, "additionalProperties": False}


def with_defaults(kind: Any) -> tuple[str, ...]:
    """The fields of a dataclass that older documents may lack."""
    return tuple(one.name for one in fields(kind) if one.default is not MISSING)


def nullable(one: Schema) -> Schema:
    return {"anyOf": [one, {"type": "null"}]}


def rows(one: Schema) -> Schema:
    return {"type": "array", "items": one}
