"""Go's fmt.Sprint, Sprintln and Sprintf, as far as templates of prompts go."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from .template_values import float_text, printed, type_name
from .text import quoted

_MAX_WIDTH = 1000
_VERB = re.compile(r"%([-+ 0#]*)([0-9]*)(?:\.([0-9]*))?(.?)", re.DOTALL)


def sprint(values: Sequence[Any]) -> str:
    """The values, with a blank between two of which none is a text."""
    text = ""
    for place, value in enumerate(values):
        if place and not isinstance(value, str) and not isinstance(values[place - 1], str):
            text += " "
        text += printed(value)
    return text


def sprintln(values: Sequence[Any]) -> str:
    """The values, with blanks between them and a line feed behind."""
    return " ".join(map(printed, values)) + "\n"


def sprintf(form: str, values: Sequence[Any]) -> str:
    """A form with the values in it. What does not fit shows in the text, as in Go: `%!d(string=a)`.

    :raises ValueError: a verb, a flag or a width that is not supported here.
    """
    result: list[str] = []
    used = position = 0
    for match in _VERB.finditer(form):
        result.append(form[position : match.start()])
        position = match.end()
        flags, width, precision, verb = match.groups()
        if verb == "%":
            result.append("%")
        elif not verb:
            result.append("%!(NOVERB)")
        elif "#" in flags or " " in flags or (verb not in _VERBS):
            raise ValueError(f"verb {match.group()} is not supported by this server")
        elif any(len(digits or "") > 4 or int(digits or 0) > _MAX_WIDTH for digits in (width, precision)):
            raise ValueError(f"width of {match.group()} is not supported by this server")
        elif used >= len(values):
            result.append(f"%!{verb}(MISSING)")
        else:
            places = None if precision is None else int(precision or 0)
            result.append(_padded(_formatted(verb, flags, places, values[used]), flags, int(width or 0), values[used]))
            used += 1
    result.append(form[position:])
    if used < len(values):
        extra = ", ".join(
            "<nil>" if value is None else f"{type_name(value)}={printed(value)}" for value in values[used:]
        )
        result.append(f"%!(EXTRA {extra})")
    return "".join(result)


def _formatted(verb: str, flags: str, places: int | None, value: Any) -> str:
    text = _VERBS[verb](value, places)
    if text is None:
        return f"%!{verb}(<nil>)" if value is None else f"%!{verb}({type_name(value)}={printed(value)})"
    if "+" in flags and verb in "dfegv" and _is_number(value) and not text.startswith(("-", "+")):
        return f"+{text}"
    return text


def _padded(text: str, flags: str, width: int, value: Any) -> str:
    if "-" in flags:
        return text.ljust(width)
    if "0" in flags and _is_number(value):
        sign = text[0] if text[:1] in ("-", "+") else ""
        return sign + text[len(sign) :].rjust(width - len(sign), "0")
    return text.rjust(width)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _string(value: Any, places: int | None) -> str | None:
    if value is None or isinstance(value, bool) or _is_number(value):
        return None
    text = printed(value)
    return text if places is None else text[:places]


def _value(value: Any, places: int | None) -> str:
    if isinstance(value, float) and places is not None:
        return _general(value, places) or ""
    text = printed(value)
    return text[:places] if isinstance(value, str) and places is not None else text


def _integer(value: Any, places: int | None) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return f"{'-' if value < 0 else ''}{abs(value):0{places or 0}d}"


def _quoted(value: Any, places: int | None) -> str | None:
    if isinstance(value, str):
        return quoted(value if places is None else value[:places])
    if isinstance(value, int) and not isinstance(value, bool):
        return quoted(chr(value) if 0 <= value < 0x110000 and not 0xD800 <= value < 0xE000 else "\ufffd", "'")
    return None


def _truth(value: Any, _: int | None) -> str | None:
    return printed(value) if isinstance(value, bool) else None


def _fixed(value: Any, places: int | None) -> str | None:
    return f"{value:.{6 if places is None else places}f}" if isinstance(value, float) else None


def _exponent(value: Any, places: int | None) -> str | None:
    return f"{value:.{6 if places is None else places}e}" if isinstance(value, float) else None


def _general(value: Any, places: int | None) -> str | None:
    if not isinstance(value, float):
        return None
    return float_text(value) if places is None else f"{value:.{places}g}"


_VERBS: dict[str, Callable[[Any, int | None], str | None]] = {
    "s": _string,
    "v": _value,
    "d": _integer,
    "q": _quoted,
    "t": _truth,
    "f": _fixed,
    "e": _exponent,
    "g": _general,
}
