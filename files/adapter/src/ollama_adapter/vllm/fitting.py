"""Makes a prompt fit into the context, as Ollama does: tokens are counted by vLLM, and only where it may matter.

What is cut, and how: `ollama.truncation`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..go.template_nodes import TemplateError
from ..ollama.requests import TextRequest
from ..ollama.truncation import (
    MessageSearch,
    block_start,
    from_message,
    picture_tokens,
    shortened,
    text_size,
    too_long,
    window,
)
from .to_vllm import TextModel, tokenize_prompt
from .token_calls import TokenCalls

# What a chat template adds to a conversation, and to each of its messages, in tokens; a guess on the high side.
_TEMPLATE_TOKENS = 32
_TEMPLATE_TOKENS_PER_MESSAGE = 8


@dataclass(frozen=True)
class Fitted:
    """A request that fits."""

    request: TextRequest
    prompt_ids: list[int] | None = None  # the prompt, where it is given as tokens
    uncut_ids: list[int] | None = None  # all of a prompt that was cut: `context` has them (recorded: gen_long_prompt)
    room: int | None = None  # tokens left for the answer, where nothing may be cut while it is generated


def needs_counting(request: TextRequest, model: TextModel, prompt: str | None) -> bool:
    """Whether a request may be too long for the context that it asks for. A token has at least one byte.

    What is too long for the model itself needs no counting: vLLM refuses it, and then there is time to count.

    :param prompt: the prompt where it is known as a text.
    """
    limit = _limit(request, model)
    if limit >= model.max_model_len:
        return False
    if not request.shift:
        return True
    if prompt is not None:
        return len(prompt.encode()) >= limit
    size = len(request.prompt.encode()) + len(request.system.encode()) + text_size(request.messages)
    size += picture_tokens([{"images": request.images}])
    size += _TEMPLATE_TOKENS + _TEMPLATE_TOKENS_PER_MESSAGE * max(len(request.messages), 1)
    return size >= limit


class Fitting:
    """Counts the tokens of one request, cuts it if need be, and says what to send."""

    def __init__(
        self,
        request: TextRequest,
        model: TextModel,
        calls: TokenCalls,
        done: Callable[[Fitted], None],
        refuse: Callable[[str], None],
    ) -> None:
        """
        :param done: gets what fits. Where vLLM cannot count, that is the request as it is.
        :param refuse: gets the message of the 400 where the request does not fit and must not be cut.
        """
        self._request = request
        self._model = model
        self._calls = calls
        self._done = done
        self._refuse = refuse
        self._limit = _limit(request, model)

    def begin(self) -> None:
        """Ask vLLM."""
        request = self._request
        if request.kind == "chat":
            self._count(request.messages, lambda count: self._judge(request.messages, count))
        else:
            self._calls.ids(tokenize_prompt(request, self._model), self._join)

    # Prompts

    def _join(self, ids: list[int] | None) -> None:
        """Put what came before between what the tokenizer puts in front and the new prompt."""
        if ids is None:
            self._done(Fitted(self._request))
            return
        context = [] if self._request.raw else self._request.context
        self._calls.without_front(ids, lambda front, rest: self._cut([*front, *context, *rest], bool(front)))

    def _cut(self, ids: list[int], has_front: bool) -> None:
        request = self._request
        count = len(ids) + picture_tokens([{"images": request.images}])
        if count < self._limit:
            given = ids if request.context and not request.raw else None
            self._done(Fitted(request, given, room=self._room(count)))
        elif not request.truncate or request.images:
            self._refuse(too_long(count, self._limit))
        else:
            keep = self._options().get("num_keep")
            cut = shortened(ids, self._limit, keep, has_front=has_front)
            self._done(Fitted(request, cut, ids, self._room(len(cut))))

    # Conversations

    def _judge(self, messages: list[dict[str, Any]], count: int | None) -> None:
        if count is None or count < self._limit:
            self._done(Fitted(replace(self._request, messages=messages), room=self._room(count)))
        elif not self._request.truncate or len(self._request.messages) < 2:
            self._refuse(too_long(count, self._limit))
        else:
            self._search(MessageSearch(len(self._request.messages)))

    def _search(self, search: MessageSearch) -> None:
        messages = self._from(search.start)

        def counted(count: int | None) -> None:
            if count is None or search.is_over:
                if count is not None and count >= self._limit:
                    self._refuse(too_long(count, self._limit))
                else:
                    self._done(Fitted(replace(self._request, messages=messages), room=self._room(count)))
                return
            search.narrow(count < self._limit)
            self._search(search)

        self._count(messages, counted)

    def _from(self, start: int) -> list[dict[str, Any]]:
        begin = block_start(self._request.messages, start)
        return from_message(self._request.messages, begin, lambda message: str(message["role"]))

    def _count(self, messages: list[dict[str, Any]], done: Callable[[int | None], None]) -> None:
        def counted(ids: list[int] | None) -> None:
            done(None if ids is None else len(ids) + picture_tokens(messages))

        try:
            body = tokenize_prompt(replace(self._request, messages=messages), self._model)
        except TemplateError as error:  # it needs a message that was left out
            self._refuse(str(error))
            return
        self._calls.ids(body, counted)

    def _room(self, count: int | None) -> int | None:
        return None if self._request.shift or count is None else self._limit - count

    def _options(self) -> dict[str, Any]:
        return {**self._model.default_options, **self._request.options}


def _limit(request: TextRequest, model: TextModel) -> int:
    options = {**model.default_options, **request.options}
    return window(options.get("num_ctx"), model.max_model_len)
