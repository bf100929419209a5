"""JSON files held against their schema; what does not fit becomes one sentence."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vcm.core.errors import Code, VcmError
from vcm.core.reading import read_json

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator, ValidationError

MOST_DOCUMENT = 4_000_000
"""Bytes of a manifest, a catalogue or a configuration; the largest that ships has 8,000."""

_TYPES = {
    "object": "an object {…}",
    "array": "a list […]",
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}
_BOUNDS = {
    "minimum": "at least",
    "maximum": "at most",
    "exclusiveMinimum": "more than",
    "exclusiveMaximum": "less than",
}


def read_document(path: Path) -> dict[str, Any]:
    """The object in a JSON file that belongs to packs; what is none is refused with a sentence."""
    return read_json(path, most=MOST_DOCUMENT, code=Code.PACK_INVALID)


def check_schema(content: Any, schema_name: str, source: str) -> None:
    """Raise one sentence about the most specific place where `content` departs from `packs/<schema_name>`.

    Slicer's own Python has no jsonschema: there the types of what is made of the content have to do.
    """
    try:
        from jsonschema.exceptions import best_match
    except ImportError:
        return

    problem = best_match(_validator(schema_name).iter_errors(content))
    if problem is not None:
        raise VcmError(Code.PACK_INVALID, f"In {source}, {_complaint(problem)}.", "Correct that field.")


@cache
def _validator(schema_name: str) -> Draft202012Validator:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(read_json(Path(__file__).with_name(schema_name)))


def _complaint(problem: ValidationError) -> str:
    """What a schema's error means, in words.

    A subschema's `description` says what it expects; it goes before the generic wording.
    """
    schema, found, wanted = problem.schema, problem.instance, problem.validator_value
    field = _field(problem)
    if problem.validator == "required":
        missing = next(name for name in wanted if name not in found)
        return f"{field or 'the file'} lacks the field “{missing}”"
    if problem.validator == "additionalProperties":
        allowed = schema.get("properties", {})
        surplus = next(name for name in found if name not in allowed)
        return f"{field or 'the file'} has a field “{surplus}” that is not known; known are {', '.join(allowed)}"
    if problem.validator == "dependentRequired":
        given, partners = next((k, v) for k, v in wanted.items() if k in found and not set(v) <= set(found))
        return f"{field} has “{given}” but lacks “{partners[0]}”"
    if problem.validator == "uniqueItems":
        return f"{field} must not name anything twice, but is {_short(found)}"
    return f"{field or 'the content'} must be {_expected(problem)}, not {_short(found)}"


def _expected(problem: ValidationError) -> str:
    wanted = problem.validator_value
    if description := problem.schema.get("description"):
        return str(description)
    if problem.validator == "type":
        return " or ".join(_TYPES[name] for name in ([wanted] if isinstance(wanted, str) else wanted))
    if problem.validator in _BOUNDS:
        return f"{_BOUNDS[problem.validator]} {wanted}"
    if problem.validator in ("minItems", "maxItems", "minLength", "minProperties"):
        bound = "at most" if problem.validator == "maxItems" else "at least"
        return f"{bound} {wanted} long"
    if problem.validator in ("enum", "const"):
        options = wanted if problem.validator == "enum" else [wanted]
        return " or ".join(json.dumps(option, ensure_ascii=False) for option in options)
    return f"of the form {wanted}"


def _field(problem: ValidationError) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem.absolute_path)
    return f"“{path.lstrip('.')}”" if path else ""


def _short(value: Any, limit: int = 60) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= limit else text[: limit - 1] + "…"
