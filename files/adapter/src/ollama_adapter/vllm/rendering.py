"""The prompt of a request as text, without an answer to it: Ollama's `_debug_render_only`."""

from __future__ import annotations

from collections.abc import Callable

from ..models.backend import Backend
from ..ollama.requests import TextRequest
from .to_vllm import text_prompt, tokenize_prompt
from .token_calls import TokenCalls


def render(request: TextRequest, backend: Backend, calls: TokenCalls, done: Callable[[str | None], None]) -> None:
    """Find out what the model would read. vLLM renders to tokens; these are turned into text again.

    :param done: gets the text, without what the tokenizer puts in front; None where vLLM did not say.
    """
    prompt = text_prompt(request, backend.model)
    if prompt is not None:
        done(prompt)
        return

    def tokenized(ids: list[int] | None) -> None:
        if ids is None:
            done(None)
        else:
            calls.without_front(ids, lambda _, rest: calls.text(rest, done))

    calls.ids(tokenize_prompt(request, backend.model), tokenized)
