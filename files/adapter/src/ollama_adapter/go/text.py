"""Strings in Go's source notation: what strconv's Quote writes, and what its Unquote and ParseInt read."""

from __future__ import annotations

import re

_LETTERS = {"\a": "a", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t", "\v": "v", "\\": "\\"}
_ESCAPED = {letter: character for character, letter in _LETTERS.items()}
_ESCAPE = re.compile(r"\\(?:([abfnrtv\\'\"])|([0-7]{3})|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|)")
_INTEGER = re.compile(r"[+-]?(?:0[xX](?:_?[0-9a-fA-F])+|0[oO]?(?:_?[0-7])+|0[bB](?:_?[01])+|0|[1-9](?:_?[0-9])*)")
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_HEX_FLOAT = re.compile(r"[+-]?0[xX][0-9a-fA-F]*\.?[0-9a-fA-F]*[pP][+-]?[0-9]+")


def quoted(text: str, mark: str = '"') -> str:
    """A text in quotes, with backslashes where Go has them."""
    return mark + "".join(_escaped(character, mark) for character in text) + mark


def unquoted(written: str) -> str:
    """The text that is written in quotes of any of the three kinds.

    :raises ValueError: "invalid syntax", as in Go.
    """
    mark, inner = written[0], written[1:-1]
    if mark == "`":
        return inner.replace("\r", "")
    result = bytearray()
    position = 0
    for match in _ESCAPE.finditer(inner):
        letter, octal, byte, *runes = match.groups()
        result += inner[position : match.start()].encode()
        position = match.end()
        number = int(octal or byte or runes[0] or runes[1] or "0", 8 if octal else 16)
        if letter in ("'", '"') and letter == mark:
            result += letter.encode()
        elif letter in _ESCAPED:
            result += _ESCAPED[letter].encode()
        elif (octal and number < 256) or byte:
            result.append(number)
        elif (runes[0] or runes[1]) and number < 0x110000 and not 0xD800 <= number < 0xE000:
            result += chr(number).encode()
        else:
            raise ValueError("invalid syntax")
    result += inner[position:].encode()
    return result.decode("utf-8", "replace")


def number(written: str) -> int | float:
    """The number that stands for a constant in a template.

    :raises ValueError: with Go's words.
    """
    if _INTEGER.fullmatch(written):
        value = _integer(written)
        if not -(2**63) <= value < 2**63:
            raise ValueError(f"integer overflow: {quoted(written)}")
        return value
    if _FLOAT.fullmatch(written):
        if not any(character in written for character in ".eE"):
            raise ValueError(f"integer overflow: {quoted(written)}")
        value_of_float = float(written)
        if value_of_float in (float("inf"), float("-inf")):
            raise ValueError(f"illegal number syntax: {quoted(written)}")
        return value_of_float
    if _HEX_FLOAT.fullmatch(written):
        try:
            return float.fromhex(written)
        except (ValueError, OverflowError):
            pass
    raise ValueError(f"illegal number syntax: {quoted(written)}")


def _integer(written: str) -> int:
    sign = -1 if written.startswith("-") else 1
    digits = written.lstrip("+-").replace("_", "").lower()
    if len(digits) > 70:  # whatever the base: more than 64 bits
        return 2**64
    if digits.startswith(("0x", "0o", "0b")):
        return sign * int(digits, 0)
    return sign * int(digits, 8 if digits.startswith("0") else 10)


def _escaped(character: str, mark: str) -> str:
    if character == mark:
        return "\\" + character
    if character in _LETTERS:
        return "\\" + _LETTERS[character]
    if character.isprintable():
        return character
    code = ord(character)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
