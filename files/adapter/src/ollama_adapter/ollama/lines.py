"""The JSON objects of an answer, as bytes, with the fields in the order of Ollama's structs (ollama-api 4.1, 4.2)."""

from __future__ import annotations

import secrets
import string
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from ..go.json import escape, quote
from ..http.answer import JSON, NDJSON
from ..vllm.frames import EngineMetrics, Logprobs, Usage
from .requests import Kind

_ID_LETTERS = string.ascii_lowercase + string.digits
_encoder = msgspec.json.Encoder()
_METRICS = (
    b',"total_duration":%d,"load_duration":%d,"prompt_eval_count":%d,"prompt_eval_duration":%d,"eval_count":%d'
    b',"eval_duration":%d'
)


@dataclass
class Timings:
    """When things happened to one request, on the monotonic clock, in nanoseconds. 0 is "not yet"."""

    received: int = field(default_factory=time.monotonic_ns)
    dispatched: int = 0
    first_token: int = 0
    ended: int = 0

    def metrics(self, usage: Usage, engine: EngineMetrics | None) -> bytes:
        """The metrics of a final object, each at least 1: a zero is left out by Ollama, and clients divide by them.

        The engine's own timings are used where vLLM sends them. Without them and without a stream nothing tells prompt
        and answer apart; then the time is shared out as if the prompt had cost as much as one token.
        """
        now = self.ended or time.monotonic_ns()
        dispatched = self.dispatched or now
        output = usage.completion_tokens or 0
        load = dispatched - self.received
        if engine is not None and engine.time_to_first_token_ms is not None and engine.generation_time_ms is not None:
            prompt = max(int(engine.time_to_first_token_ms * 1e6), 0)
            answer = max(int(engine.generation_time_ms * 1e6), 0)
            load += int((engine.queue_time_ms or 0) * 1e6)
        elif self.first_token:
            prompt, answer = self.first_token - dispatched, now - self.first_token
        else:
            prompt = (now - dispatched) // (output + 1)
            answer = now - dispatched - prompt
        return _METRICS % (
            (now - self.received) or 1, load or 1, usage.prompt_tokens or 1, prompt or 1, output or 1, answer or 1
        )  # fmt: skip


@dataclass(frozen=True)
class ToolCall:
    """A complete call."""

    index: int
    name: str
    arguments: dict[str, Any]
    id: str = field(default_factory=lambda: f"call_{_random_letters(8)}")

    @property
    def arguments_json(self) -> bytes:
        """The arguments as Go writes them."""
        return escape(_encoder.encode(self.arguments))


@dataclass
class Ending:
    """What only the last object of an answer says."""

    done_reason: str
    metrics: bytes = b""
    context: bytes = b""
    usage: Usage = field(default_factory=Usage)


class AnswerWriter(Protocol):
    """Writes one answer as a route has it: `LineWriter` on `/api/*`, others on `/v1/*`.

    A stream is any number of `text` and `line`, then `end`; an answer without a stream is one `whole`.
    """

    stream_type: bytes  # Content-Type of a stream
    whole_type: bytes
    keeps_context: bool  # whether `Ending.context` is written
    is_stamped: bool  # whether the stamps are written
    splits_events: bool  # every event of a line leaves in a chunk of its own

    def text(self, stamp: bytes, escaped: bytes) -> bytes:
        """What only adds text, which is the inside of a JSON string. Called once per token: the hot path."""

    def line(
        self,
        stamp: bytes,
        text: str,
        *,
        thinking: str = "",
        calls: Sequence[ToolCall] = (),
        logprobs: bytes = b"",
    ) -> bytes:
        """What adds anything."""

    def end(self, stamp: bytes, ending: Ending) -> bytes:
        """The end of a stream."""

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
        """A whole answer."""


def tool_calls_json(calls: Sequence[ToolCall]) -> bytes:
    """Calls as Ollama 0.32.15 writes them: own ids, the index inside the function, arguments as an object."""
    return b",".join(
        b'{"id":%b,"function":{"index":%d,"name":%b,"arguments":%b}}'
        % (quote(call.id), call.index, quote(call.name), call.arguments_json)
        for call in calls
    )


def _random_letters(count: int) -> str:
    return "".join(secrets.choice(_ID_LETTERS) for _ in range(count))


def logprobs_json(logprobs: Logprobs | None, wanted_alternatives: int) -> bytes:
    """The entries of `logprobs`, comma-separated, without brackets; empty where there are none (ollama-api 3.9)."""
    if logprobs is None:
        return b""
    entries = []
    if logprobs.content is not None:
        for token in logprobs.content:
            alternatives = [(other.token, other.logprob) for other in token.top_logprobs]
            entries.append(_logprob(token.token, token.logprob, alternatives[:wanted_alternatives]))
    elif logprobs.tokens is not None:
        values = logprobs.token_logprobs or [None] * len(logprobs.tokens)
        tops = logprobs.top_logprobs or [None] * len(logprobs.tokens)
        for text, value, top in zip(logprobs.tokens, values, tops, strict=False):
            best = sorted((top or {}).items(), key=lambda item: -item[1])[:wanted_alternatives]
            entries.append(_logprob(text, value or 0.0, best))
    return b",".join(entries)


def _logprob(token: str, value: float, alternatives: Sequence[tuple[str, float]]) -> bytes:
    inner = b'"token":%b,"logprob":%b,"bytes":%b' % (
        quote(token),
        _number(value),
        _encoder.encode(list(token.encode("utf-8", "replace"))),
    )
    if not alternatives:
        return b"{%b}" % inner
    top = b",".join(_logprob(text, other, ()) for text, other in alternatives)
    return b'{%b,"top_logprobs":[%b]}' % (inner, top)


def _number(value: float) -> bytes:
    return _encoder.encode(int(value) if value.is_integer() else value)


class LineWriter:
    """Writes the objects of one answer. `model` is echoed as the client wrote it."""

    stream_type = NDJSON
    whole_type = JSON
    is_stamped = True
    splits_events = False

    def __init__(self, kind: Kind, model: str) -> None:
        self._kind = kind
        self.keeps_context = kind == "generate"
        self._head = b'{"model":%b,"created_at":"' % quote(model)
        if kind == "generate":
            self._before_text, self._after_text = b'","response":', b',"done":false}\n'
        else:
            self._before_text = b'","message":{"role":"assistant","content":'
            self._after_text = b'},"done":false}\n'
        self._hot_before = self._before_text + b'"'
        self._hot_after = b'"' + self._after_text

    def text(self, stamp: bytes, escaped: bytes) -> bytes:
        """A line that only adds text; the text is the inside of a JSON string. This is the line of the hot path."""
        return b"".join((self._head, stamp, self._hot_before, escaped, self._hot_after))

    def line(
        self,
        stamp: bytes,
        text: str,
        *,
        thinking: str = "",
        calls: Sequence[ToolCall] = (),
        logprobs: bytes = b"",
    ) -> bytes:
        """A line of a stream that is not the last."""
        return self._object(stamp, text, thinking, calls, logprobs, None) + b"\n"

    def end(self, stamp: bytes, ending: Ending) -> bytes:
        """The last line of a stream."""
        return self._object(stamp, "", "", (), b"", ending) + b"\n"

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
        """The only object of a whole answer. No line end."""
        return self._object(stamp, text, thinking, calls, logprobs, ending)

    def _object(
        self,
        stamp: bytes,
        text: str,
        thinking: str,
        tool_calls: Sequence[ToolCall],
        logprobs: bytes,
        ending: Ending | None,
    ) -> bytes:
        calls = tool_calls_json(tool_calls)
        chat = self._kind == "chat"
        parts = [self._head, stamp, self._before_text, quote(text)]
        if thinking:
            parts += (b',"thinking":', quote(thinking))
        if chat:
            if calls:
                parts += (b',"tool_calls":[', calls, b"]")
            parts.append(b"}")
        parts.append(b',"done":true,"done_reason":"%b"' % ending.done_reason.encode() if ending else b',"done":false')
        if ending and ending.context:
            parts += (b',"context":[', ending.context, b"]")
        log = b',"logprobs":[%b]' % logprobs if logprobs else b""
        if chat:  # ChatResponse embeds the metrics last, GenerateResponse has them before its last fields
            parts.append(log)
        if ending:
            parts.append(ending.metrics)
        if not chat:
            if calls:
                parts += (b',"tool_calls":[', calls, b"]")
            parts.append(log)
        parts.append(b"}")
        return b"".join(parts)
