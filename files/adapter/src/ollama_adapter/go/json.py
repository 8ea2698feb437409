"""JSON as Go's decoder reads it: the same values accepted, the same words for what is wrong.

`decode` first tries msgspec. Only a body that msgspec refuses is walked here, character by character, in the states of
Go's encoding/json scanner; the walk finds the end of the first value (what follows it is ignored, as by json.Decoder)
or the error. Error texts: ollama-api 2.2, and the recordings of Ollama 0.32.15.
"""

from __future__ import annotations

import codecs
import json
import re
from typing import Any

import msgspec

_SPACE = b" \t\r\n"
_DIGITS = b"0123456789"
_HEX = b"0123456789abcdefABCDEF"
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_DEPTH = 10_000  # encoding/json, maxNestingDepth
_MAX_DIGITS = 4000

_decoder = msgspec.json.Decoder()


class BadBody(ValueError):
    """A body that Ollama answers with 400; the text is the answer's `error`."""


class _Syntax(Exception):
    """Go's SyntaxError; `position` is the byte that was not expected, or the length of a body that ended early."""

    def __init__(self, position: int, context: str) -> None:
        self.position = position
        self.context = context


def decode(body: bytes) -> Any:
    """The first JSON value of a body.

    :raises BadBody: "missing request body", "unexpected EOF", "invalid character ..."
    """
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _decode_slowly(body)


def raw_members(body: bytes) -> dict[str, bytes]:
    """The members of a body that `decode` read as an object, each as the client wrote it; in UTF-8, as Go makes it."""
    try:
        members = msgspec.json.decode(body.decode("utf-8", "go-replace"), type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return {name: bytes(raw) for name, raw in members.items()}


def quote(text: str) -> bytes:
    """A JSON string as Go writes it: `<`, `>`, `&`, U+2028 and U+2029 escaped too."""
    return escape(msgspec.json.encode(text))


def escape(encoded: bytes) -> bytes:
    """The same escapes, in JSON that is already encoded."""
    if NEEDS_ESCAPE.search(encoded) is None:
        return encoded
    for plain, escaped in _ESCAPES:
        encoded = encoded.replace(plain, escaped)
    return encoded


NEEDS_ESCAPE = re.compile(rb"[<>&\xe2]")
_ESCAPES = (
    (b"<", rb"\u003c"),
    (b">", rb"\u003e"),
    (b"&", rb"\u0026"),
    ("\u2028".encode(), rb"\u2028"),
    ("\u2029".encode(), rb"\u2029"),
)


def _decode_slowly(body: bytes) -> Any:
    if not body.strip(_SPACE):
        raise BadBody("missing request body")
    try:
        end = _Scanner(body).value_end()
    except _Syntax as error:
        if error.position >= len(body):
            raise BadBody("unexpected EOF") from None
        raise BadBody(f"invalid character {_quoted_character(body, error.position)} {error.context}") from None
    text = body[:end].decode("utf-8", "go-replace")
    try:
        return _without_lone_surrogates(json.loads(text, strict=False, parse_int=_integer))
    except RecursionError:
        raise BadBody("exceeded max depth") from None


def _integer(digits: str) -> int | float:
    """An integer of JSON. Python refuses to read one of more than 4300 digits; as a double it is infinite."""
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)


def _replace_each_byte(error: UnicodeError) -> tuple[str, int]:
    """Go replaces every byte that is not UTF-8; Python's `replace` takes several at once."""
    assert isinstance(error, UnicodeDecodeError)
    return "\ufffd", error.start + 1


codecs.register_error("go-replace", _replace_each_byte)


def _without_lone_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_lone_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_LONE_SURROGATE.sub("\ufffd", key): _without_lone_surrogates(item) for key, item in value.items()}
    return value


def _quoted_character(body: bytes, position: int) -> str:
    """A character as quoteChar of encoding/json shows it. Go looks at one byte, so 'é' is shown as 'Ã'."""
    character = chr(body[position])
    if character == "'":
        return r"'\''"
    if character == '"':
        return "'\"'"
    if character.isprintable() or character == "\xa0":
        return f"'{character}'"
    named = {"\n": r"\n", "\r": r"\r", "\t": r"\t", "\a": r"\a", "\b": r"\b", "\f": r"\f", "\v": r"\v"}
    return "'" + named.get(character, f"\\x{ord(character):02x}" if ord(character) < 0x80 else character) + "'"


class _Scanner:
    """The grammar of encoding/json's scanner. Each method takes a position and returns the one after what it read."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def value_end(self) -> int:
        """Walk the first value without recursion, so that a deeply nested body is no danger."""
        position = self._skip(0)
        open_values: list[int] = []
        while True:
            position, opened = self._begin(position, open_values)
            if opened:
                continue
            while open_values:
                position = self._skip(position)
                in_object = open_values[-1] == 0x7B
                byte = self._at(position)
                if byte == 0x2C:
                    position = self._skip(position + 1)
                    if in_object:
                        position = self._key(position)
                    break
                if byte == (0x7D if in_object else 0x5D):
                    position += 1
                    open_values.pop()
                    continue
                raise _Syntax(position, "after object key:value pair" if in_object else "after array element")
            else:
                return position

    def _begin(self, position: int, open_values: list[int]) -> tuple[int, bool]:
        """Read the beginning of a value; True where it opened an object or array that is not empty."""
        byte = self._at(position)
        if byte in (0x7B, 0x5B):
            if len(open_values) >= _MAX_DEPTH:
                raise BadBody("exceeded max depth")
            closing = 0x7D if byte == 0x7B else 0x5D
            position = self._skip(position + 1)
            if self._at(position) == closing:
                return position + 1, False
            open_values.append(byte)
            return (self._key(position) if byte == 0x7B else position), True
        if byte == 0x22:
            return self._string(position + 1), False
        if byte == 0x2D or 0x30 <= byte <= 0x39:
            return self._number(position), False
        for word in (b"true", b"false", b"null"):
            if byte == word[0]:
                return self._literal(position, word), False
        raise _Syntax(position, "looking for beginning of value")

    def _at(self, position: int) -> int:
        if position >= len(self.body):
            raise _Syntax(len(self.body), "")
        return self.body[position]

    def _skip(self, position: int) -> int:
        while position < len(self.body) and self.body[position] in _SPACE:
            position += 1
        return position

    def _key(self, position: int) -> int:
        if self._at(position) != 0x22:
            raise _Syntax(position, "looking for beginning of object key string")
        position = self._skip(self._string(position + 1))
        if self._at(position) != 0x3A:
            raise _Syntax(position, "after object key")
        return self._skip(position + 1)

    def _string(self, position: int) -> int:
        while True:
            byte = self._at(position)
            if byte == 0x22:
                return position + 1
            if byte == 0x5C:
                position = self._escape(position + 1)
            elif byte < 0x20:
                raise _Syntax(position, "in string literal")
            else:
                position += 1

    def _escape(self, position: int) -> int:
        byte = self._at(position)
        if byte == 0x75:
            for offset in range(1, 5):
                if self._at(position + offset) not in _HEX:
                    raise _Syntax(position + offset, r"in \u hexadecimal character escape")
            return position + 5
        if byte not in b'bfnrt\\/"':
            raise _Syntax(position, "in string escape code")
        return position + 1

    def _literal(self, position: int, word: bytes) -> int:
        for offset in range(1, len(word)):
            if self._at(position + offset) != word[offset]:
                raise _Syntax(position + offset, f"in literal {word.decode()} (expecting '{chr(word[offset])}')")
        return position + len(word)

    def _number(self, position: int) -> int:
        if self.body[position] == 0x2D:
            position += 1
            if self._at(position) not in _DIGITS:
                raise _Syntax(position, "in numeric literal")
        position = position + 1 if self.body[position] == 0x30 else self._digits(position)
        if position < len(self.body) and self.body[position] == 0x2E:
            if self._at(position + 1) not in _DIGITS:
                raise _Syntax(position + 1, "after decimal point in numeric literal")
            position = self._digits(position + 1)
        if position < len(self.body) and self.body[position] in b"eE":
            position += 1
            if self._at(position) in b"+-":
                position += 1
            if self._at(position) not in _DIGITS:
                raise _Syntax(position, "in exponent of numeric literal")
            position = self._digits(position)
        return position

    def _digits(self, position: int) -> int:
        while position < len(self.body) and self.body[position] in _DIGITS:
            position += 1
        return position
