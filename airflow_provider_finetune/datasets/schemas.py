"""JSON schemas of tools: what is wrong with one, and what only some endpoints mind."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_finetune.datasets.problem import MOST_LOOKED_AT, ErrorKind, Fault, joined, named, type_of

if TYPE_CHECKING:
    from collections.abc import Iterator

JSON_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")


def schema_faults(schema: dict[str, Any]) -> tuple[Fault, ...]:
    """Return what is wrong with the JSON schema of a tool's arguments, with paths below the schema's."""
    # The lines of a file mostly have the same tools.
    return _schema_faults_of(msgspec.json.encode(schema))


def pydantic_habits(schema: dict[str, Any]) -> tuple[str, ...]:
    """Return what a schema has of the things that pydantic writes and Azure has failed files for, in words."""
    return _habits_of(msgspec.json.encode(schema))


@lru_cache(maxsize=128)
def _schema_faults_of(schema: bytes) -> tuple[Fault, ...]:
    value = msgspec.json.decode(schema)
    faults = _schema_faults(value, "")
    if not faults and value.get("type", "object") != "object":
        faults = [Fault(ErrorKind.BAD_VALUE, ".type", "not that of an object", '"object": arguments have names')]
    return tuple(faults)


def _schema_faults(schema: Any, path: str) -> list[Fault]:
    """Return what is wrong with the JSON schema of a tool's arguments, in the keywords that a mistake is likely in."""

    def wrong(key: str, value: Any, expected: str) -> Fault:
        found = named(value) if isinstance(value, str) and value else type_of(value)
        return Fault(ErrorKind.BAD_VALUE, f"{path}{key}", found, expected)

    if isinstance(schema, bool):
        return []
    if not isinstance(schema, dict):
        return [wrong("", schema, "a JSON schema")]
    faults: list[Fault] = []
    types = schema.get("type", [])
    if any(name not in JSON_TYPES for name in (types if isinstance(types, list) else [types])):
        faults.append(wrong(".type", types, f"one of {', '.join(JSON_TYPES)}, or a list of them"))
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        faults.append(wrong(".required", required, "a list of names"))
    properties = schema.get("properties", {})
    if not isinstance(properties, dict):
        faults.append(wrong(".properties", properties, "an object of JSON schemas"))
        properties = {}
    for place, (name, inner) in enumerate(properties.items(), 1):
        faults += _schema_faults(inner, joined(f"{path}.properties", name, place))
        if len(faults) >= MOST_LOOKED_AT:
            break
    if "items" in schema and not isinstance(schema["items"], list):
        faults += _schema_faults(schema["items"], f"{path}.items")
    return faults


@lru_cache(maxsize=128)
def _habits_of(schema: bytes) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_habits(msgspec.json.decode(schema))))


def _habits(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for inner in schema:
            yield from _habits(inner)
    if not isinstance(schema, dict):
        return
    if isinstance(schema.get("title"), str):
        yield "title"
    if "default" in schema and schema["default"] is None:
        yield "default: null"
    if any(isinstance(choice, dict) and choice.get("type") == "null" for choice in _list(schema.get("anyOf"))):
        yield "a nullable anyOf"
    for key in ("properties", "$defs", "definitions"):
        # The keys in there are names: an argument may be called title.
        if isinstance(schema.get(key), dict):
            yield from _habits(list(schema[key].values()))
    for key in ("items", "prefixItems", "anyOf", "allOf", "oneOf", "additionalProperties"):
        yield from _habits(schema.get(key))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
