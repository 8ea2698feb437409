"""`/v1/chat/completions`: OpenAI's request as one for `/api/chat`, and the answer in OpenAI's shape (ollama-api 5.2).

Ollama itself answers this route by translating both ways, so what its own routes check, limit and report holds here.

Ollama ignores every field that it does not name. Those in `_FOR_VLLM` are passed on to vLLM instead: a client sends
them only because it wants what they do, and one that does not send them sees no difference. `n` stays ignored: an
answer has one choice, as Ollama's has.
"""

from __future__ import annotations

import base64
import binascii
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..go.decode import Shape, anything, boolean, from_base64, integer, string
from ..go.decode import tools as read_tools
from ..go.json import BadBody, quote
from ..http.answer import EVENTS
from ..http.error_shapes import PLAIN_JSON
from ..ollama.lines import Ending, ToolCall
from ..ollama.requests import TextRequest
from ..vllm.frames import Usage
from .reading import (
    go_type_of,
    image,
    list_of,
    mismatch,
    number,
    present,
    read_request,
    stop_strings,
    struct,
    think_for,
    tool_arguments,
)

DONE = b"data: [DONE]\n\n"

# Sampling and constraints of vLLM without a counterpart in Ollama's OpenAI routes.
_FOR_VLLM = (
    "logit_bias", "top_k", "min_p", "repetition_penalty", "min_tokens", "ignore_eos", "stop_token_ids",
    "structured_outputs", "priority",
)  # fmt: skip
# The same, refused by vLLM where there are no tools.
_FOR_VLLM_WITH_TOOLS = ("tool_choice", "parallel_tool_calls")

_FUNCTION: Shape = {"name": string, "arguments": string}
_TOOL_CALL: Shape = {"id": string, "index": integer, "type": string, "function": struct("struct", _FUNCTION)}
_MESSAGE: Shape = {
    "role": string,
    "content": anything,
    "reasoning": string,
    "tool_calls": list_of("openai.ToolCall", struct("openai.ToolCall", _TOOL_CALL), dict),
    "name": string,
    "tool_call_id": string,
}


def _tools(value: Any, path: str) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise mismatch(value, path, "[]api.Tool")
    return read_tools(value, path)


_CHAT: Shape = {
    "model": string,
    "messages": list_of("openai.Message", struct("openai.Message", _MESSAGE), dict),
    "stream": boolean,
    "stream_options": struct("openai.StreamOptions", {"include_usage": boolean}),
    "max_tokens": integer,
    "max_completion_tokens": integer,
    "seed": integer,
    "stop": anything,
    "temperature": number("float64"),
    "frequency_penalty": number("float64"),
    "presence_penalty": number("float64"),
    "top_p": number("float64"),
    "response_format": struct(
        "openai.ResponseFormat", {"type": string, "json_schema": struct("openai.JsonSchema", {"schema": anything})}
    ),
    "tools": _tools,
    "reasoning": struct("openai.Reasoning", {"effort": string}),
    "reasoning_effort": string,
    "logprobs": boolean,
    "top_logprobs": integer,
    **dict.fromkeys((*_FOR_VLLM, *_FOR_VLLM_WITH_TOOLS), anything),
}

_OPTIONS = {
    "max_tokens": "num_predict",
    "max_completion_tokens": "num_predict",
    "seed": "seed",
    "temperature": "temperature",
    "top_p": "top_p",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}


@dataclass
class ChatRequest:
    """What a body asks for."""

    text: TextRequest
    includes_usage: bool


def read_chat(decoded: Any) -> ChatRequest:
    """Read the body of a request.

    :raises BadBody: the answer is 400 with this text.
    """
    fields = read_request(decoded, "openai", "ChatCompletionRequest", _CHAT)
    if not fields.get("messages"):
        raise BadBody("[] is too short - 'messages'")
    messages = _messages(fields["messages"])
    options = {"temperature": 1.0, "top_p": 1.0, **present(fields, _OPTIONS)}
    stop = stop_strings(fields.get("stop"), is_strict=False)
    if stop is not None:
        options["stop"] = stop
    effort = fields["reasoning"].get("effort", "") if "reasoning" in fields else fields.get("reasoning_effort", "")
    tools = fields.get("tools", [])
    passed_on = (*_FOR_VLLM, *_FOR_VLLM_WITH_TOOLS) if tools else _FOR_VLLM
    text = TextRequest(
        "chat",
        model=fields.get("model", ""),
        stream=fields.get("stream", False),
        raw_options=options,
        format=_format(fields.get("response_format", {})),
        think=think_for(effort),
        logprobs=fields.get("logprobs", False),
        top_logprobs=fields.get("top_logprobs", 0),
        messages=messages,
        tools=tools,
        more={name: fields[name] for name in passed_on if name in fields},
    )
    return ChatRequest(text, fields.get("stream_options", {}).get("include_usage", False))


def _format(response_format: dict[str, Any]) -> Any:
    kind = response_format.get("type", "").strip().lower()
    if kind == "json_object":
        return "json"
    return response_format.get("json_schema", {}).get("schema") if kind == "json_schema" else None


def _messages(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    names: dict[str, str] = {}  # of the functions, by the ids of the calls
    for message in messages:
        for call in message.get("tool_calls", ()):
            names[call.get("id", "")] = call.get("function", {}).get("name", "")
    return [_message(message, names) for message in messages]


def _message(message: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """A message in the shape of `/api/chat`."""
    content = message.get("content")
    out: dict[str, Any] = {"role": message.get("role", "").lower(), "content": ""}
    if isinstance(content, str):
        out["content"] = content
    elif isinstance(content, list):
        out["content"], out["images"] = _parts(content)
    elif "tool_calls" not in message:
        raise BadBody(f"invalid message content type: {go_type_of(content)}")
    if message.get("reasoning"):
        out["thinking"] = message["reasoning"]
    if message.get("tool_calls"):
        out["tool_calls"] = [_call(call) for call in message["tool_calls"]]
    if message.get("tool_call_id"):
        out["tool_call_id"] = message["tool_call_id"]
    if out["role"] == "tool":
        out["tool_name"] = message.get("name") or names.get(message.get("tool_call_id", ""), "")
    return out


def _call(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function", {})
    arguments = tool_arguments(function.get("arguments", ""))
    return {"id": call.get("id", ""), "function": {"name": function.get("name", ""), "arguments": arguments}}


def _parts(parts: list[Any]) -> tuple[str, list[bytes]]:
    """Text and pictures of a content list.

    Ollama makes a message of each part, and its templates join those of one role again, an empty line between them.
    Here they stay one message: many chat templates refuse two of one role in a row.
    """
    texts: list[str] = []
    images: list[bytes] = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "image_url":
            link = part.get("image_url")
            url = link.get("url") if isinstance(link, dict) else link
            if not isinstance(url, str):
                raise BadBody("invalid message format")
            images.append(image(url))
        elif kind == "input_audio":
            images.append(_audio(part.get("input_audio")))
        else:
            raise BadBody("invalid message format")
    return "\n\n".join(texts), images


def _audio(value: Any) -> bytes:
    if not isinstance(value, dict):
        raise BadBody("invalid input_audio format")
    data = value.get("data")
    if not isinstance(data, str):
        raise BadBody("invalid input_audio format: missing data")
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        pass
    try:
        return from_base64(data)
    except BadBody as error:
        raise BadBody(f"invalid input_audio base64 data: {error}") from None


def usage_json(usage: Usage) -> bytes:
    """The `usage` object."""
    prompt, completion = usage.prompt_tokens, usage.completion_tokens or 0
    counts = (prompt, completion, prompt + completion)
    return b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}' % counts


def tool_calls_json(calls: Sequence[ToolCall]) -> bytes:
    """The calls, as a member that follows others; nothing where there are none."""
    if not calls:
        return b""
    entries = (
        b'{"id":%b,"index":%d,"type":"function","function":{"name":%b,"arguments":%b}}'
        % (quote(call.id), call.index, quote(call.name), quote(call.arguments_json.decode()))
        for call in calls
    )
    return b',"tool_calls":[%b]' % b",".join(entries)


class ChatWriter:
    """Writes the answer (see `AnswerWriter`): chunks for a stream, else one object."""

    stream_type = EVENTS
    whole_type = PLAIN_JSON
    keeps_context = False
    is_stamped = False  # `created` is the same in all chunks, and in seconds
    splits_events = False

    def __init__(self, model: str, *, includes_usage: bool) -> None:
        """
        :param model: the name as the client wrote it.
        :param includes_usage: a stream ends with a chunk that has the token counts.
        """
        self._includes_usage = includes_usage
        self._identity = (random.randrange(999), quote(model))
        self._before_choices = b'data: {%b,"choices":[' % self._head(b"chat.completion.chunk")
        self._hot_before = self._before_choices + b'{"index":0,"delta":{"content":"'
        self._hot_after = b'"},"finish_reason":null}]}\n\n'
        self._has_begun = False
        self._has_called = False

    def _head(self, kind: bytes) -> bytes:
        number, model = self._identity
        head = b'"id":"chatcmpl-%d","object":"%b","created":%d,"model":%b,"system_fingerprint":"fp_ollama"'
        return head % (number, kind, int(time.time()), model)

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
        """See `AnswerWriter`. Thinking and what follows it never share a chunk."""
        self._has_called = self._has_called or bool(calls)
        if thinking and (text or calls):
            reasoning = self._chunk(b'"reasoning":%b' % quote(thinking), logprobs)
            return reasoning + self._chunk(b'"content":%b%b' % (quote(text), tool_calls_json(calls)), b"")
        inner = b'"content":%b' % quote(text)
        if thinking:
            inner += b',"reasoning":%b' % quote(thinking)
        return self._chunk(inner + tool_calls_json(calls), logprobs)

    def _chunk(self, delta: bytes, logprobs: bytes, finish: bytes = b"null") -> bytes:
        if not self._has_begun:
            delta = b'"role":"assistant",' + delta
            self._has_begun = True
        choice = b'{"index":0,"delta":{%b},"finish_reason":%b%b}]}\n\n' % (delta, finish, _logprobs(logprobs))
        return self._before_choices + choice

    def end(self, stamp: bytes, ending: Ending) -> bytes:
        """See `AnswerWriter`. A chunk without text says why the answer ended."""
        parts = [] if self._has_begun else [self._chunk(b'"content":""', b"")]
        parts.append(self._chunk(b"", b"", _finish(ending, self._has_called)))
        if self._includes_usage:
            parts.append(b'%b],"usage":%b}\n\n' % (self._before_choices, usage_json(ending.usage)))
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
        reasoning = b',"reasoning":%b' % quote(thinking) if thinking else b""
        message = b'{"role":"assistant","content":%b%b%b}' % (quote(text), reasoning, tool_calls_json(calls))
        return b'{%b,"choices":[{"index":0,"message":%b,"finish_reason":%b%b}],"usage":%b}\n' % (
            self._head(b"chat.completion"),
            message,
            _finish(ending, bool(calls)),
            _logprobs(logprobs),
            usage_json(ending.usage),
        )


def _finish(ending: Ending, has_called: bool) -> bytes:
    return quote("tool_calls" if has_called and ending.done_reason == "stop" else ending.done_reason)


def _logprobs(entries: bytes) -> bytes:
    return b',"logprobs":{"content":[%b]}' % entries if entries else b""
