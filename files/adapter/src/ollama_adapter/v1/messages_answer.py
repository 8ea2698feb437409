"""Answers of `/v1/messages`: Anthropic's message, or its events, with the fields in the order of Ollama's structs."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from ..go.json import quote
from ..http.answer import EVENTS
from ..http.error_shapes import PLAIN_JSON
from ..ollama.lines import Ending, ToolCall


def _event(name: bytes, members: bytes) -> bytes:
    return b'event: %b\ndata: {"type":"%b"%b}\n\n' % (name, name, members)


def _stop_reason(done_reason: str, has_called: bool) -> bytes:
    if has_called:
        return b"tool_use"
    return {"stop": b"end_turn", "length": b"max_tokens"}.get(done_reason, b"stop_sequence")


class MessagesWriter:
    """Writes the answer (see `AnswerWriter`)."""

    stream_type = EVENTS
    whole_type = PLAIN_JSON
    keeps_context = False
    is_stamped = False
    splits_events = True

    def __init__(self, model: str, *, estimated_tokens: int) -> None:
        """
        :param model: the name as the client wrote it.
        :param estimated_tokens: what a stream says of the prompt at its beginning.
        """
        self._head = b'"id":"msg_%b","type":"message","role":"assistant","model":%b' % (
            secrets.token_hex(12).encode(),
            quote(model),
        )
        self._estimated_tokens = estimated_tokens
        self._has_begun = False
        self._has_called = False
        self._open = b""  # the kind of the block that is being written
        self._index = 0
        self._hot_before = b""
        self._hot_after = b'"}}\n\n'

    def text(self, stamp: bytes, escaped: bytes) -> bytes:
        """See `AnswerWriter`."""
        opening = b"" if self._open == b"text" else self._opened(b"text")
        return b"".join((opening, self._hot_before, escaped, self._hot_after))

    def line(
        self,
        stamp: bytes,
        text: str,
        *,
        thinking: str = "",
        calls: Sequence[ToolCall] = (),
        logprobs: bytes = b"",
    ) -> bytes:
        """See `AnswerWriter`."""
        parts = [self._begun()]
        if thinking:
            if self._open != b"thinking":
                parts.append(self._opened(b"thinking"))
            delta = b',"index":%d,"delta":{"type":"thinking_delta","thinking":%b}' % (self._index, quote(thinking))
            parts.append(_event(b"content_block_delta", delta))
        if text:
            parts.append(self.text(stamp, quote(text)[1:-1]))
        parts += map(self._call, calls)
        return b"".join(parts)

    def end(self, stamp: bytes, ending: Ending) -> bytes:
        """See `AnswerWriter`."""
        parts = [self._begun(), self._closed()]
        reason = _stop_reason(ending.done_reason, self._has_called)
        members = b',"delta":{"stop_reason":"%b"},"usage":%b' % (reason, _usage(ending))
        parts += (_event(b"message_delta", members), _event(b"message_stop", b""))
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
        blocks = []
        if thinking:
            blocks.append(b'{"type":"thinking","thinking":%b}' % quote(thinking))
        if text:
            blocks.append(b'{"type":"text","text":%b}' % quote(text))
        for call in calls:
            head = b'{"type":"tool_use","id":%b,"name":%b' % (quote(call.id), quote(call.name))
            blocks.append(b'%b,"input":%b}' % (head, call.arguments_json))
        content = b"[%b]" % b",".join(blocks) if blocks else b"null"
        reason = _stop_reason(ending.done_reason, bool(calls))
        return b'{%b,"content":%b,"stop_reason":"%b","usage":%b}\n' % (self._head, content, reason, _usage(ending))

    def _begun(self) -> bytes:
        if self._has_begun:
            return b""
        self._has_begun = True
        usage = b'"usage":{"input_tokens":%d,"output_tokens":0}' % self._estimated_tokens
        return _event(b"message_start", b',"message":{%b,"content":[],%b}' % (self._head, usage))

    def _opened(self, kind: bytes, block: bytes = b"") -> bytes:
        """End the block that is open, and begin one of this kind."""
        closing = self._closed()
        self._open = kind
        block = block or b'{"type":"%b","%b":""}' % (kind, kind)
        if kind == b"text":
            delta = b',"index":%d,"delta":{"type":"text_delta","text":"' % self._index
            self._hot_before = b'event: content_block_delta\ndata: {"type":"content_block_delta"' + delta
        return closing + _event(b"content_block_start", b',"index":%d,"content_block":%b' % (self._index, block))

    def _closed(self) -> bytes:
        if not self._open:
            return b""
        self._open = b""
        index, self._index = self._index, self._index + 1
        return _event(b"content_block_stop", b',"index":%d' % index)

    def _call(self, call: ToolCall) -> bytes:
        self._has_called = True
        block = b'{"type":"tool_use","id":%b,"name":%b,"input":{}}' % (quote(call.id), quote(call.name))
        opening = self._opened(b"tool_use", block)
        arguments = quote(call.arguments_json.decode())
        delta = b',"index":%d,"delta":{"type":"input_json_delta","partial_json":%b}' % (self._index, arguments)
        return opening + _event(b"content_block_delta", delta) + self._closed()


def _usage(ending: Ending) -> bytes:
    usage = ending.usage
    return b'{"input_tokens":%d,"output_tokens":%d}' % (usage.prompt_tokens, usage.completion_tokens or 0)
