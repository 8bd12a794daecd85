"""The JSON Schema of audits, made from the type hints and docstrings of the values in skinaudit.audit.judgement.result."""

from __future__ import annotations

import inspect
import json
import math
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from skinaudit.artifacts.typed_json import Range
from skinaudit.audit.judgement.result import AUDIT_FORMAT, AuditResult

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_SCALARS: Mapping[Any, Mapping[str, Any]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    Path: {"type": "string"},
    Fraction: {"type": "string", "pattern": "^-?[0-9]+(/[1-9][0-9]*)?$"},
    types.NoneType: {"type": "null"},
}


def audit_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the reports of `skinaudit audit`; dataclasses and enumerations are in $defs."""
    definitions: dict[str, Any] = {}
    _schema(AuditResult, definitions)
    root = definitions.pop(AuditResult.__name__)
    return {
        "$schema": DIALECT,
        "$id": f"urn:{AUDIT_FORMAT.replace('/', ':')}",
        **root,
        "properties": {"kind": {"const": AUDIT_FORMAT}, **root["properties"]},
        "required": ["kind", *root["required"]],
        "$defs": {name: definitions[name] for name in sorted(definitions)},
    }


def schema_text() -> str:
    """The schema as it is published in docs/audit.schema.json."""
    return json.dumps(audit_schema(), indent=2, ensure_ascii=False) + "\n"


def _schema(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a type hint. Named types go to `definitions` and are referred to."""
    if is_dataclass(hint) or (isinstance(hint, type) and issubclass(hint, Enum)):
        name: str = hint.__name__  # type: ignore[union-attr]
        if name not in definitions:
            definitions[name] = {}  # prevents endless recursion
            definitions[name] = _object(hint, definitions) if is_dataclass(hint) else _enumeration(hint)
        return {"$ref": f"#/$defs/{name}"}
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return {**_schema(arguments[0], definitions), **_bounds(arguments[1])}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(member, definitions) for member in arguments]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is tuple and arguments[-1:] == (...,):
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    if origin is tuple:
        items = [_schema(member, definitions) for member in arguments]
        return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items), "maxItems": len(items)}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _schema(arguments[1], definitions)}
    if hint in _SCALARS:
        return dict(_SCALARS[hint])
    raise TypeError(f"no schema for {hint}; add one here and to skinaudit.artifacts.typed_json")


def _bounds(note: Range) -> dict[str, float]:
    return {"minimum": note.low, **({"maximum": note.high} if note.high < math.inf else {})}


def _object(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    hints, names = get_type_hints(hint, include_extras=True), [field.name for field in fields(hint)]
    return {
        **_titled(hint),
        "type": "object",
        "properties": {name: _schema(hints[name], definitions) for name in names},
        "required": names,
        "additionalProperties": False,
    }


def _enumeration(hint: Any) -> dict[str, Any]:
    return {**_titled(hint), "enum": [member.value for member in hint]}


def _titled(hint: Any) -> dict[str, str]:
    """Title and description: the name, and the first paragraph of the docstring if a person wrote one."""
    text = " ".join((inspect.cleandoc(hint.__doc__ or "")).split("\n\n")[0].split())
    written = text and not text.startswith(f"{hint.__name__}(")
    return {"title": hint.__name__, **({"description": text.split(". ")[0].rstrip(".") + "."} if written else {})}
