"""The words of a template in Go's text/template notation: text, delimiters, and what stands between these."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from .text import quoted

SPACE = " \t\r\n"
KEYWORDS = frozenset(
    (".", "block", "break", "continue", "define", "else", "end", "if", "nil", "range", "template", "with")
)

_AFTER_WORD = frozenset((*SPACE, "", ".", ",", "|", ":", ")", "(", "}"))
_NUMBER = re.compile(
    r"[+-]?(?:0[xX][0-9a-fA-F_]*(?:\.[0-9a-fA-F_]*)?(?:[pP][+-]?[0-9_]*)?"
    r"|0[oO][0-7_]*|0[bB][01_]*|[0-9_]*(?:\.[0-9_]*)?(?:[eE][+-]?[0-9_]*)?)i?"
)


class Token(NamedTuple):
    """A word. `kind` is text, open, close, space, field, variable, name, keyword, bool, number, character, string,
    raw string, declare, assign, pipe, (, ), other, error or end."""

    kind: str
    text: str
    position: int
    line: int

    def __str__(self) -> str:
        if self.kind == "end":
            return "EOF"
        if self.kind == "error":
            return self.text
        if self.kind == "keyword":
            return f"<{self.text}>"
        return f"{quoted(self.text[:10])}..." if len(self.text.encode()) > 10 else quoted(self.text)


class _Wrong(Exception):
    pass


def tokens(source: str) -> Iterator[Token]:
    """The words of a template, an `error` or `end` as the last one."""
    return _Lexer(source).run()


def is_word_character(character: str) -> bool:
    """A letter, a digit or the underscore, as Go's unicode tables have it."""
    return character == "_" or character.isalpha() or character.isdecimal()


class _Lexer:
    """`_start` is where the word begins that is being read, `_line` the line of it."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self._start = 0
        self._line = 1
        self._depth = 0  # of parentheses

    def run(self) -> Iterator[Token]:
        try:
            while True:
                opening = self._source.find("{{", self._at)
                text_end = len(self._source) if opening < 0 else opening
                trims = opening >= 0 and self._trims_left(opening + 2)
                text = self._source[self._at : text_end]
                kept = text.rstrip(SPACE) if trims else text
                if kept:
                    yield self._token("text", self._at + len(kept))
                if opening < 0:
                    self._skip_to(text_end)
                    yield self._token("end", text_end)
                    return
                self._skip_to(opening)
                inside = opening + (4 if trims else 2)
                if self._source.startswith("/*", inside if trims else opening + 2):
                    self._comment(inside)
                    continue
                yield self._token("open", opening + 2)
                self._skip_to(inside)
                self._depth = 0
                yield from self._action()
        except _Wrong as wrong:
            yield Token("error", str(wrong), self._start, self._line)

    def _action(self) -> Iterator[Token]:
        while True:
            closing, trims = self._closes()
            if closing:
                if self._depth:
                    raise _Wrong("unclosed left paren")
                yield self._close(trims)
                return
            if self._peek() and self._peek() in SPACE:
                end = self._at
                while end < len(self._source) and self._source[end] in SPACE:
                    end += 1
                if self._source.startswith("-}}", end):
                    end -= 1  # the blank belongs to the delimiter
                if end > self._at:
                    yield self._token("space", end)
                continue
            yield self._word()

    def _word(self) -> Token:
        character = self._peek()
        end = self._at + 1
        if not character:
            raise _Wrong("unclosed action")
        if character in "=|":
            return self._token("assign" if character == "=" else "pipe", end)
        if character == ":":
            if self._peek(1) != "=":
                raise _Wrong("expected :=")
            return self._token("declare", end + 1)
        if character in "\"'":
            return self._quoted(character)
        if character == "`":
            closing = self._source.find("`", end)
            if closing < 0:
                raise _Wrong("unterminated raw quoted string")
            return self._token("raw string", closing + 1)
        if character == "$":
            return self._name("variable", end)
        if character == "." and not ("0" <= self._peek(1) <= "9") and self._peek(1):
            if self._peek(1) in _AFTER_WORD:
                return self._token("keyword", end)
            return self._name("field", end)
        if character in "+-." or "0" <= character <= "9":
            return self._number()
        if is_word_character(character):
            token = self._name("name", self._at)
            if token.text in KEYWORDS:
                return token._replace(kind="keyword")
            return token._replace(kind="bool") if token.text in ("true", "false") else token
        if character in "()":
            self._depth += 1 if character == "(" else -1
            if self._depth < 0:
                raise _Wrong("unexpected right paren")
            return self._token(character, end)
        if " " <= character <= "~":
            return self._token("other", end)
        shown = f" '{character}'" if character.isprintable() else ""
        raise _Wrong(f"unrecognized character in action: U+{ord(character):04X}{shown}")

    def _name(self, kind: str, end: int) -> Token:
        while end < len(self._source) and is_word_character(self._source[end]):
            end += 1
        following = self._source[end : end + 1]
        if following not in _AFTER_WORD:
            shown = f" '{following}'" if following.isprintable() else ""
            raise _Wrong(f"bad character U+{ord(following):04X}{shown}")
        return self._token(kind, end)

    def _number(self) -> Token:
        match = _NUMBER.match(self._source, self._at)
        end = match.end() if match else self._at
        following = self._source[end : end + 1]
        if following and is_word_character(following):
            raise _Wrong(f"bad number syntax: {quoted(self._source[self._at : end + 1])}")
        return self._token("number", end)

    def _quoted(self, mark: str) -> Token:
        end = self._at + 1
        while True:
            character = self._source[end : end + 1]
            if character == "\\":
                end += 1
                character = self._source[end : end + 1]
                if character not in ("", "\n"):
                    end += 1
                    continue
            if character in ("", "\n"):
                raise _Wrong("unterminated quoted string" if mark == '"' else "unterminated character constant")
            end += 1
            if character == mark:
                return self._token("string" if mark == '"' else "character", end)

    def _comment(self, start: int) -> None:
        self._skip_to(start)
        end = self._source.find("*/", start + 2)
        if end < 0:
            raise _Wrong("unclosed comment")
        self._at = end + 2
        closing, trims = self._closes()
        if not closing:
            raise _Wrong("comment ends before closing delimiter")
        self._close(trims)

    def _closes(self) -> tuple[bool, bool]:
        """Whether the action ends here, and whether the blanks behind it go."""
        character = self._peek()
        if character and character in SPACE and self._source.startswith("-}}", self._at + 1):
            return True, True
        return self._source.startswith("}}", self._at), False

    def _close(self, trims: bool) -> Token:
        self._skip_to(self._at + (2 if trims else 0))
        token = self._token("close", self._at + 2)
        if trims:
            end = self._at
            while end < len(self._source) and self._source[end] in SPACE:
                end += 1
            self._skip_to(end)
        return token

    def _trims_left(self, position: int) -> bool:
        return self._source.startswith("-", position) and self._source[position + 1 : position + 2] in tuple(SPACE)

    def _peek(self, offset: int = 0) -> str:
        return self._source[self._at + offset : self._at + offset + 1]

    def _token(self, kind: str, end: int) -> Token:
        self._at = end
        token = Token(kind, self._source[self._start : end], self._start, self._line)
        self._skip_to(end)
        return token

    def _skip_to(self, position: int) -> None:
        self._line += self._source.count("\n", self._start, position)
        self._at = self._start = position
