"""Thoughts between tags in the text, of a thinking model whose vLLM runs without `--reasoning-parser`. No network here.

As Ollama's own parser: an answer that begins with the opening tag thinks until the closing one; blanks around both are
dropped; any other answer is text from its first character.
"""

from __future__ import annotations

OPENING, CLOSING = "<think>", "</think>"


class ThoughtSplitter:
    """Takes text in pieces, wherever they were cut."""

    def __init__(self, *, is_open: bool = False) -> None:
        """:param is_open: the prompt ends with the opening tag."""
        self._held = OPENING if is_open else ""
        self._state = "opening"
        self.is_settled = False  # the rest of the answer is text, whatever it is

    def feed(self, piece: str) -> tuple[str, str]:
        """The thoughts and the text that can be shown now."""
        if self.is_settled:
            return "", piece
        text, self._held = self._held + piece, ""
        if self._state == "opening":
            start = text.lstrip()
            if not start.startswith(OPENING):
                if OPENING.startswith(start):
                    self._held = text
                    return "", ""
                self.is_settled = True
                return "", text
            self._state, text = "thinking", start[len(OPENING) :]
        if self._state == "thinking":
            thoughts, closing, text = text.partition(CLOSING)
            if not closing:
                keep = next((n for n in range(len(CLOSING) - 1, 0, -1) if thoughts.endswith(CLOSING[:n])), 0)
                self._held = thoughts[len(thoughts) - keep :]
                return thoughts[: len(thoughts) - keep], ""
            self._state = "text"
        else:
            thoughts = ""
        text = text.lstrip()
        self.is_settled = bool(text)
        return thoughts, text

    def rest(self) -> tuple[str, str]:
        """What was held back, when no more text comes."""
        held, self._held = self._held, ""
        return (held, "") if self._state == "thinking" else ("", held)
