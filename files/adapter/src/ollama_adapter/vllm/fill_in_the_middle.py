"""Prompts that have a text filled in between two others, in the notation each family of models was trained on.

vLLM refuses `suffix` for most models, so the prompt is made here. A template is a text with `{prefix}` and `{suffix}`.
"""

from __future__ import annotations

import re

_PLACE = re.compile(r"\{prefix\}|\{suffix\}")
_PLACES = ("{prefix}", "{suffix}")
_BLANK = "\u2581"  # how SentencePiece writes a blank


def template_of(tokens: tuple[str, str, str] | None) -> str:
    """The template for the tokens that a tokenizer has: before the first text, between the two, and after the second.

    Code Llama has its blanks around the tokens; Codestral takes the second text first and has no third token.
    """
    if tokens is None:
        return ""
    before, between, after = tokens
    if not after:
        return f"{before}{{suffix}}{between}{{prefix}}"
    if before.startswith(_BLANK):
        before, between, after = (token.replace(_BLANK, "") for token in tokens)
        return f"{before} {{prefix}} {between}{{suffix}} {after}"
    return f"{before}{{prefix}}{between}{{suffix}}{after}"


def fill_in(template: str, prefix: str, suffix: str) -> str:
    """The prompt. What looks like a place in one of the texts stays as it is."""
    return _PLACE.sub(lambda place: prefix if place.group() == "{prefix}" else suffix, template)


def template_problem(template: str) -> str | None:
    """What is wrong with a template in the settings; None where nothing is. Empty is: none given."""
    missing = [place for place in _PLACES if template.count(place) != 1]
    return f"{template!r} must have {missing[-1]} once" if template and missing else None


def in_ollamas_notation(template: str) -> str:
    """The part of a Go template that says the same, as `/api/show` has it."""
    return fill_in(template, "{{ .Prompt }}", "{{ .Suffix }}")
