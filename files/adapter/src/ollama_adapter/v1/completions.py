"""`/v1/completions`: OpenAI's older request as one for `/api/generate`, and the answer in its shape (ollama-api 5.3).

As in Ollama the prompt goes through the chat template. `echo`, `best_of`, `n` and `logprobs` have no effect there: the
first three are ignored, and the last is left out of the answer; so here.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

from ..go.decode import Shape, anything, boolean, integer, string
from ..go.json import quote
from ..http.answer import EVENTS
from ..http.error_shapes import PLAIN_JSON
from ..ollama.lines import Ending, ToolCall
from ..ollama.requests import TextRequest
from ..vllm.frames import Usage
from .chat import DONE, ChatRequest, usage_json
from .reading import number, present, read_request, stop_strings, struct

# Passed on to vLLM: see `v1_chat`.
_FOR_VLLM = ("logit_bias", "top_k", "min_p", "repetition_penalty", "min_tokens", "ignore_eos", "stop_token_ids")

_COMPLETION: Shape = {
    "model": string,
    "prompt": string,
    "frequency_penalty": number("float32"),
    "max_tokens": integer,
    "presence_penalty": number("float32"),
    "seed": integer,
    "stop": anything,
    "stream": boolean,
    "stream_options": struct("openai.StreamOptions", {"include_usage": boolean}),
    "temperature": number("float32"),
    "top_p": number("float32"),
    "suffix": string,
    "logprobs": integer,
    **dict.fromkeys(_FOR_VLLM, anything),
}


def read_completion(decoded: Any) -> ChatRequest:
    """Read the body of a request.

    :raises BadBody: the answer is 400 with this text.
    """
    fields = read_request(decoded, "openai", "CompletionRequest", _COMPLETION)
    options: dict[str, Any] = {
        "temperature": fields.get("temperature", 1.0),
        "top_p": fields.get("top_p") or 1.0,
        "frequency_penalty": fields.get("frequency_penalty", 0.0),
        "presence_penalty": fields.get("presence_penalty", 0.0),
        **present(fields, {"max_tokens": "num_predict", "seed": "seed"}),
    }
    stop = stop_strings(fields.get("stop"), is_strict=True)
    if stop is not None:
        options["stop"] = stop
    text = TextRequest(
        "generate",
        model=fields.get("model", ""),
        stream=fields.get("stream", False),
        raw_options=options,
        prompt=fields.get("prompt", ""),
        suffix=fields.get("suffix", ""),
        top_logprobs=max(fields.get("logprobs", 0), 0),  # only its range is checked
        more={name: fields[name] for name in _FOR_VLLM if name in fields},
    )
    return ChatRequest(text, fields.get("stream_options", {}).get("include_usage", False))


class CompletionWriter:
    """Writes the answer (see `AnswerWriter`): chunks for a stream, else one object."""

    stream_type = EVENTS
    whole_type = PLAIN_JSON
    keeps_context = False
    is_stamped = False
    splits_events = False

    def __init__(self, model: str, *, includes_usage: bool) -> None:
        """
        :param model: the name as the client wrote it.
        :param includes_usage: a stream ends with a chunk that has the token counts; until then they are zeros.
        """
        self._includes_usage = includes_usage
        self._model = quote(model)
        self._head = b'"id":"cmpl-%d","object":"text_completion","created":%d' % (
            random.randrange(999),
            int(time.time()),
        )
        zeros = b',"usage":%b' % usage_json(Usage()) if includes_usage else b""
        self._identity = b'"model":%b,"system_fingerprint":"fp_ollama"' % self._model
        self._before_text = b'data: {%b,"choices":[{"text":' % self._head
        self._after_choice = b"],%b%b}\n\n" % (self._identity, zeros)
        self._hot_before = self._before_text + b'"'
        self._hot_after = b'","index":0,"finish_reason":null}' + self._after_choice

    def text(self, stamp: bytes, escaped: bytes) -> bytes:
        """See `AnswerWriter`."""
        return b"".join((self._hot_before, escaped, self._hot_after))

    def line(
        self,
        stamp: bytes,
        text: str,
        *,
        thinking: str = "",
        calls: Sequence[ToolCall] = (),
        logprobs: bytes = b"",
    ) -> bytes:
        """See `AnswerWriter`. There is no place for thinking: its chunks have an empty text, as Ollama's have."""
        return self.text(stamp, quote(text)[1:-1])

    def end(self, stamp: bytes, ending: Ending) -> bytes:
        """See `AnswerWriter`."""
        finish = b'"","index":0,"finish_reason":%b}' % quote(ending.done_reason)
        parts = [self._before_text, finish, self._after_choice]
        if self._includes_usage:
            usage = usage_json(ending.usage)
            parts.append(b'data: {%b,"choices":[],%b,"usage":%b}\n\n' % (self._head, self._identity, usage))
        parts.append(DONE)
        return b"".join(parts)

    def whole(
        self,
        stamp: bytes,
        ending: Ending,
        *,
        text: str = "",
        thinking: str = "",
        calls: Sequence[ToolCall] = (),
        logprobs: bytes = b"",
    ) -> bytes:
        """See `AnswerWriter`."""
        choice = b'{"text":%b,"index":0,"finish_reason":%b}' % (quote(text), quote(ending.done_reason))
        return b'{%b,%b,"choices":[%b],"usage":%b}\n' % (self._head, self._identity, choice, usage_json(ending.usage))
