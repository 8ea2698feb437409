"""The functions of templates: those of Go's text/template, and Ollama's own.

Not here: `and` and `or`, which do not look at all of their arguments.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

from .template_printing import sprint, sprintf, sprintln
from .template_values import Struct, is_true, to_json, type_name

_TYPESCRIPT = {
    "string": "string",
    "number": "number",
    "integer": "number",
    "boolean": "boolean",
    "array": "any[]",
    "object": "Record<string, any>",
    "null": "null",
}
_INCOMPARABLE = "incompatible types for comparison"
_INVALID = "invalid type for comparison"


class BadCall(Exception):
    """A function cannot take these arguments; the text is Go's."""


def size(value: Any) -> int:
    """`len`"""
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, (list, dict)):
        return len(value)
    if value is None:
        raise BadCall("len of nil pointer")
    raise BadCall(f"len of type {type_name(value)}")


def item(value: Any, *places: Any) -> Any:
    """`index`"""
    if value is None:
        raise BadCall("index of untyped nil")
    for place in places:
        if isinstance(value, dict):
            if not isinstance(place, str):
                raise BadCall(f"value has type {type_name(place)}; should be string")
            value = value.get(place)
        elif isinstance(value, (str, list)):
            elements = value.encode() if isinstance(value, str) else value
            value = elements[_place(place, len(elements) - 1)]
        else:
            raise BadCall("index of nil pointer" if value is None else f"can't index item of type {type_name(value)}")
    return value


def part(value: Any, *places: Any) -> Any:
    """`slice`"""
    if value is None:
        raise BadCall("slice of untyped nil")
    if len(places) > 3:
        raise BadCall(f"too many slice indexes: {len(places)}")
    if isinstance(value, str):
        if len(places) == 3:
            raise BadCall("cannot 3-index slice a string")
        data = value.encode()
        start, end = _bounds(places, len(data))
        return data[start:end].decode("utf-8", "replace")
    if not isinstance(value, list):
        raise BadCall(f"can't slice item of type {type_name(value)}")
    start, end = _bounds(places[:2], len(value))
    if len(places) == 3 and _place(places[2], len(value)) < end:
        raise BadCall(f"invalid slice index: {end} > {places[2]}")
    return type(value)(value[start:end])


def equal(first: Any, *others: Any) -> bool:
    """`eq`: equal to any of the others."""
    if not others:
        raise BadCall("missing argument for comparison")
    return any(_is_equal(first, other) for other in others)


def unequal(first: Any, second: Any) -> bool:
    """`ne`"""
    return not _is_equal(first, second)


def less(first: Any, second: Any) -> bool:
    """`lt`"""
    kinds = _kind(first), _kind(second)
    if kinds[0] != kinds[1]:
        raise BadCall(_INVALID if "" in kinds else _INCOMPARABLE)
    if kinds[0] not in ("int", "float64", "string"):
        raise BadCall(_INVALID)
    if isinstance(first, str):
        return bool(first.encode() < second.encode())
    return bool(first < second)


def typescript_type(value: Any) -> str:
    """Ollama's `toTypeScriptType`, of a property of a tool's parameters."""
    if not isinstance(value, Struct) or value.type_name != "api.ToolProperty":
        return "any"
    choices = value.fields["AnyOf"]
    if choices:
        return " | ".join(map(typescript_type, choices))
    return " | ".join(_TYPESCRIPT.get(name, "any") for name in value.fields["Type"]) or "any"


def _today(*_: Any) -> str:
    return datetime.date.today().isoformat()


def _yesterday(*_: Any) -> str:
    return (datetime.date.today() - datetime.timedelta(days=1)).isoformat()


def _formatted(form: Any, *values: Any) -> str:
    if not isinstance(form, str):
        raise BadCall(f"wrong type for value; expected string; got {type_name(form)}")
    try:
        return sprintf(form, values)
    except ValueError as error:
        raise BadCall(str(error)) from None


# Name -> function, the fewest arguments and the most; -1 for any number.
FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "not": (lambda value: not is_true(value), 1, 1),
    "len": (size, 1, 1),
    "index": (item, 1, -1),
    "slice": (part, 1, -1),
    "eq": (equal, 1, -1),
    "ne": (unequal, 2, 2),
    "lt": (less, 2, 2),
    "le": (lambda first, second: less(first, second) or _is_equal(first, second), 2, 2),
    "gt": (lambda first, second: not less(first, second) and not _is_equal(first, second), 2, 2),
    "ge": (lambda first, second: not less(first, second), 2, 2),
    "print": (lambda *values: sprint(values), 0, -1),
    "printf": (_formatted, 1, -1),
    "println": (lambda *values: sprintln(values), 0, -1),
    "json": (to_json, 1, 1),
    "currentDate": (_today, 0, -1),
    "yesterdayDate": (_yesterday, 0, -1),
    "toTypeScriptType": (typescript_type, 1, 1),
}


def _kind(value: Any) -> str:
    """The basic kind of a value, "" for one that has none."""
    name = type_name(value)
    return name if name in ("bool", "int", "float64", "string") else ""


def _is_equal(first: Any, second: Any) -> bool:
    if first is None or second is None:
        return first is second
    kinds = _kind(first), _kind(second)
    if kinds[0] != kinds[1]:
        raise BadCall(_INCOMPARABLE)
    if not kinds[0]:
        raise BadCall(f"non-comparable types {type_name(first)}, {type_name(second)}")
    return bool(first == second)


def _place(place: Any, last: int) -> int:
    if place is None:
        raise BadCall("cannot index slice/array with nil")
    if isinstance(place, bool) or not isinstance(place, int):
        raise BadCall(f"cannot index slice/array with type {type_name(place)}")
    if not 0 <= place <= last:
        raise BadCall(f"index out of range: {place}")
    return place


def _bounds(places: tuple[Any, ...], length: int) -> tuple[int, int]:
    start = _place(places[0], length) if places else 0
    end = _place(places[1], length) if len(places) > 1 else length
    if start > end:
        raise BadCall(f"invalid slice index: {start} > {end}")
    return start, end
