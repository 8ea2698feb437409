"""The field `context` of an answer: the token ids of prompt and answer, as Ollama makes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from ..models.backend import Backend
from .to_vllm import tokenize_text
from .token_calls import TokenCalls


def context_of(
    backend: Backend,
    calls: TokenCalls,
    prompt_ids: list[int],
    text: bytes,
    answer_ids: bytes,
    done: Callable[[bytes], None],
) -> None:
    """Find out the ids of prompt and answer: without what the tokenizer puts in front, and with the answer's text
    tokenized anew (recorded). Where that call fails, the generated ids do.

    :param text: of the answer, as the inside of a JSON string.
    :param answer_ids: the generated ids, comma-separated.
    :param done: gets all ids, comma-separated.
    """

    def with_prompt(_: list[int], kept: list[int]) -> None:
        def joined(ids: list[int] | None) -> None:
            done(
                b",".join(filter(None, (_comma_separated(kept), answer_ids if ids is None else _comma_separated(ids))))
            )

        def anew(encoded: bytes) -> None:
            calls.ids(tokenize_text(backend.model, encoded, special=False), joined)

        if backend.settings.context == "generated":
            joined(None)
        elif backend.model.can("thinking") and answer_ids:
            # The thoughts and their marks belong to it (recorded), and vLLM has taken the marks out of the text.
            ids = [int(number) for number in answer_ids.split(b",")]
            calls.text(ids, lambda found: joined(None) if found is None else anew(msgspec.json.encode(found)[1:-1]))
        elif text:
            anew(text)
        else:
            joined(None)

    calls.without_front(prompt_ids, with_prompt)


def _comma_separated(ids: Iterable[int]) -> bytes:
    return ",".join(map(str, ids)).encode()
