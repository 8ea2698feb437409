"""Values that templates work on, and how Go prints them and writes them as JSON.

A text is a `str`, a number an `int` or a `float`, nil is None, a map of Go a `dict`, a slice a `list`; a struct, and
anything that has a text of its own, is one of the classes here. Numbers that came as JSON are floats, as in Go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .json import quote


class TextList(list[Any]):
    """A slice whose text is its JSON. An empty one stands for nil."""


class TextMap(dict[str, Any]):
    """A map whose text is its JSON."""


class TypeNames(list[Any]):
    """Names of types of JSON; a single one is a text wherever it is written."""


@dataclass(frozen=True)
class Struct:
    """A struct: other fields than these are errors.

    :ivar members: its fields as JSON has them, in order; asked for only where they are printed.
    :ivar has_text: its text is its JSON.
    """

    type_name: str
    fields: Mapping[str, Any]
    members: Callable[[], Mapping[str, Any]]
    has_text: bool = False


def plain_numbers(value: Any) -> Any:
    """A value of decoded JSON as Go decodes it into an `any`: all numbers are floats."""
    if isinstance(value, dict):
        return {name: plain_numbers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain_numbers(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return float("inf")
    return value


def is_true(value: Any) -> bool:
    """What `if` asks: not the zero of its type."""
    return True if isinstance(value, Struct) else bool(value)


def printed(value: Any, nothing: str = "<nil>") -> str:
    """A value as Go's `%v` prints it.

    :param nothing: what nil is printed as.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return nothing
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, (TextList, TextMap)) or (isinstance(value, Struct) and value.has_text):
        return to_json(value)
    if isinstance(value, TypeNames) and len(value) < 2:
        return "".join(value)
    if isinstance(value, Struct):
        return "{" + " ".join(printed(item) for item in value.fields.values()) + "}"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{name}:{printed(value[name])}" for name in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(printed, value)) + "]"
    return str(value)


def to_json(value: Any) -> str:
    """A value as Go's json.Marshal writes it: members of maps sorted, `<` and its like escaped."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quote(value).decode()
    if isinstance(value, float):
        return _json_number(value)
    if isinstance(value, Struct):
        members = value.members()
        return "{" + ",".join(f"{to_json(name)}:{to_json(item)}" for name, item in members.items()) + "}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{to_json(name)}:{to_json(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, TextList) and not value:
        return "null"
    if isinstance(value, TypeNames) and len(value) == 1:
        return to_json(value[0])
    if isinstance(value, list):
        return "[" + ",".join(map(to_json, value)) + "]"
    return str(value)


def float_text(value: float) -> str:
    """A float64 as Go's `%v` prints it: 2, 2.5, 1e+06."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    digits, exponent = _shortest(value)
    return _placed(value, digits, exponent) if -4 <= exponent < 6 else _scientific(value, digits, exponent, 2)


def type_name(value: Any) -> str:
    """What Go calls the type of a value."""
    if isinstance(value, Struct):
        return value.type_name
    if isinstance(value, bool):
        return "bool"
    names = {str: "string", int: "int", float: "float64", list: "[]interface {}", dict: "map[string]interface {}"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), "nil")


def _json_number(value: float) -> str:
    if value - value != 0.0:
        return "null"
    digits, exponent = _shortest(value)
    return _placed(value, digits, exponent) if -6 <= exponent < 21 else _scientific(value, digits, exponent, 1)


def _shortest(value: float) -> tuple[str, int]:
    """The fewest digits that mean this number, and the exponent of the first one."""
    mantissa, _, exponent = f"{value!r}".lstrip("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return "0", 0
    leading = len(whole + fraction) - len(digits)
    return digits.rstrip("0"), int(exponent or 0) + len(whole) - 1 - leading


def _placed(value: float, digits: str, exponent: int) -> str:
    if exponent < 0:
        text = "0." + "0" * (-exponent - 1) + digits
    else:
        text = digits[: exponent + 1].ljust(exponent + 1, "0")
        text += f".{digits[exponent + 1 :]}" if len(digits) > exponent + 1 else ""
    return f"-{text}" if str(value).startswith("-") else text


def _scientific(value: float, digits: str, exponent: int, least: int) -> str:
    sign = "-" if value < 0 else ""
    rest = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{rest}e{'-' if exponent < 0 else '+'}{abs(exponent):0{least}d}"
