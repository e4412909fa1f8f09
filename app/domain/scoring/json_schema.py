"""A JSON schema of gold answers, for a model to be held to. Pure."""

import json
from collections.abc import Sequence
from typing import Any

Schema = dict[str, Any]


def schema_of(golds: Sequence[str]) -> Schema | None:
    """The narrowest schema of this kind that every gold answer keeps to: fields in the order of the first row, those of every row required, no others
    allowed; types, and no limits to texts and numbers. None where one is no JSON object or list, or there is none."""
    values = []
    for gold in golds:
        try:
            values.append(json.loads(gold))
        except ValueError:
            return None
    return _of(values) if values and all(isinstance(value, dict | list) for value in values) else None


def _of(values: Sequence[Any]) -> Schema:
    kinds = [_objects([one for one in values if isinstance(one, dict)]), _lists([one for one in values if isinstance(one, list)])]
    kinds.append(_plain([one for one in values if not isinstance(one, dict | list)]))
    found = [kind for kind in kinds if kind]
    return found[0] if len(found) == 1 else {"anyOf": found}


def _objects(values: Sequence[dict[str, Any]]) -> Schema:
    if not values:
        return {}
    names = list(dict.fromkeys(name for value in values for name in value))
    properties = {name: _of([value[name] for value in values if name in value]) for name in names}
    required = [name for name in names if all(name in value for value in values)]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _lists(values: Sequence[list[Any]]) -> Schema:
    if not values:
        return {}
    members = [member for value in values for member in value]
    return {"type": "array", "items": _of(members)} if members else {"type": "array", "maxItems": 0}


def _plain(values: Sequence[Any]) -> Schema:
    types = sorted({_type(value) for value in values})
    if "number" in types and "integer" in types:
        types.remove("integer")
    return {} if not types else {"type": types[0] if len(types) == 1 else types}


def _type(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    return "string" if isinstance(value, str) else "integer" if isinstance(value, int) else "number"
