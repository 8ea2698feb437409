"""vLLM's answer turned into Ollama's: chunk by chunk for a stream, at once for a whole answer. No network here."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence

import msgspec

from ..go.json import quote
from ..ollama.lines import AnswerWriter, Ending, Timings, ToolCall, logprobs_json
from ..ollama.requests import TextRequest
from ..ollama.times import Stamps
from .frames import Choice, EngineMetrics, Logprobs, Message, ToolCallPart, Usage, decode_frame, error_message
from .stops import StopFinder
from .thoughts import ThoughtSplitter

DONE = b"[DONE]"

_DONE_REASONS = {"stop": "stop", "tool_calls": "stop", "repetition": "stop", "length": "length"}
STOPPED_BY_VLLM = "vLLM stopped before the answer was complete; it is being restarted or has failed"

# What surrounds the text of a plain chunk (recorded, vLLM 0.32.0). A release that writes something else is read by
# the decoder instead: slower, not wrong.
_CHAT_BEFORE = b'"delta":{"content":"'
_CHAT_AFTER = b'"},"logprobs":null,"finish_reason":null,"token_ids":'
_COMPLETIONS_BEFORE = b'"text":"'
_COMPLETIONS_AFTER = b'","logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":null,"token_ids":'
_AFTER_TOKEN_IDS = b"}]}"
_UNKNOWN = b"\x00"

# Text with one of these is looked at before it is copied: what Go escapes and pydantic does not, control characters,
# which JSON has not, and backslashes. One class, so that plain text costs one scan.
_NOT_PLAIN = re.compile(rb"[\x00-\x1f<>&\xe2\\]")
# Text with one of these is decoded. After a backslash only the short escapes are known to be JSON.
_NEVER_COPIED = re.compile(rb'[\x00-\x1f<>&\xe2]|\\(?!["\\/bfnrt])')


class BadUpstreamAnswer(ValueError):
    """vLLM sent something that is no answer; the text says what."""


class ToolCalls:
    """Collects the fragments of calls until they are complete."""

    def __init__(self) -> None:
        self._parts: dict[int, tuple[list[str], list[str]]] = {}

    def add(self, parts: list[ToolCallPart]) -> None:
        """Take what a chunk adds."""
        for position, part in enumerate(parts):
            index = position if part.index is None else part.index
            names, arguments = self._parts.setdefault(index, ([], []))
            if part.function.name:
                names.append(part.function.name)
            if part.function.arguments:
                arguments.append(part.function.arguments)

    def take(self) -> tuple[list[ToolCall], str]:
        """The complete calls, and the text of those whose arguments were cut off by the token limit."""
        calls: list[ToolCall] = []
        left_over: list[str] = []
        for names, fragments in self._parts.values():
            text = "".join(fragments)
            try:
                arguments = msgspec.json.decode(text or "{}")
            except msgspec.DecodeError:
                arguments = None
            if isinstance(arguments, dict):
                calls.append(ToolCall(len(calls), "".join(names), arguments))
            else:
                left_over.append(text)
        self._parts.clear()
        return calls, "".join(left_over)


class Trimmer:
    """Blanks around the thinking are not part of it, nor of the text that follows it: Ollama drops them (recorded)."""

    def __init__(self) -> None:
        self._held = ""
        self.has_thought = False
        self.has_text = False

    def thinking(self, piece: str) -> str:
        """The part of this piece that can be shown now; blanks at its end wait for more thinking."""
        piece = self._held + piece if self.has_thought else piece.lstrip()
        shown = piece.rstrip()
        self._held = piece[len(shown) :]
        self.has_thought = self.has_thought or bool(shown)
        return shown

    def text(self, piece: str) -> str:
        """The part of this piece of text that is shown."""
        if self.has_thought and not self.has_text:
            piece = piece.lstrip()
        self.has_text = self.has_text or bool(piece)
        return piece


class AnswerStream:
    """One streamed answer. Payloads of the event stream in, lines out.

    After `feed` look at `error` (an upstream error: it ends the answer) and `is_done`. `last_line` closes the answer.
    """

    def __init__(
        self, request: TextRequest, writer: AnswerWriter, stamps: Stamps, timings: Timings, *, collect: bool = False
    ) -> None:
        """:param collect: keep text and token ids for `context`."""
        self._writer = writer
        self._now = stamps.now if writer.is_stamped else _no_stamp
        self._timings = timings
        self._collect = collect
        self._alternatives = request.top_logprobs
        self._trimmer = Trimmer()
        self._tool_calls = ToolCalls()
        self._prefix = _UNKNOWN
        self._suffix = _UNKNOWN
        self._finish_reason = ""
        self._stops: StopFinder | None = None
        self._splitter: ThoughtSplitter | None = None
        self._hides_thoughts = request.think is False
        self._usage = Usage()
        self._engine: EngineMetrics | None = None
        self.prompt_ids: list[int] = []
        self.escaped_text: list[bytes] = []
        self.answer_ids: list[bytes] = []
        self.chunks = 0
        self.is_done = False
        self.is_stopped = False  # at a stop string of `look_for`: vLLM goes on, and has to be told
        self.error = ""

    def look_for(self, stops: Sequence[str]) -> None:
        """End the answer at one of these, which vLLM does not look for; before anything is fed."""
        self._stops = StopFinder(stops)

    def split_thoughts(self, splitter: ThoughtSplitter) -> None:
        """Take thoughts between tags out of the text; before anything is fed."""
        self._splitter = splitter

    @property
    def usage(self) -> Usage:
        """Token counts, complete once `is_done`."""
        return self._usage

    def feed(self, payload: bytes) -> bytes:
        """The lines that a payload makes: one almost always, none for the first and the last chunks."""
        if payload.startswith(self._prefix):
            line = self._plain_line(payload)
            if line is not None:
                return line
        if payload == DONE:
            return self._finish()
        return self._decoded_lines(payload)

    def last_line(self, context: bytes = b"") -> bytes:
        """The line with `done: true`."""
        metrics = self._timings.metrics(self._usage, self._engine)
        reason = _DONE_REASONS.get(self._finish_reason, "stop")
        return self._writer.end(self._now(), Ending(reason, metrics, context, self._usage))

    def _plain_line(self, payload: bytes) -> bytes | None:
        """The line of a chunk that only adds text, made without decoding; None where the chunk is anything else.

        The text stays as it is encoded. It ends at the first quote; an escaped quote fails the comparison after it, and
        a character that Go escapes and pydantic does not goes the long way too.
        """
        start = len(self._prefix)
        end = payload.find(b'"', start)
        if end <= start or not payload.startswith(self._suffix, end):
            return None
        text = payload[start:end]
        ids = payload[end + len(self._suffix) : -3]
        if payload[-3:] != _AFTER_TOKEN_IDS or not (text.isascii() or _is_utf8(text)):
            return None
        if _NOT_PLAIN.search(text) is not None and _NEVER_COPIED.search(text) is not None:
            return None
        if self._collect:
            if not ids.startswith(b"["):
                return None
            self.escaped_text.append(text)
            self.answer_ids.append(ids[1:-1])
        elif ids != b"null":
            return None
        self.chunks += 1
        return self._writer.text(self._now(), text)

    def _decoded_lines(self, payload: bytes) -> bytes:
        try:
            frame = decode_frame(payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.error = "vLLM sent a chunk that cannot be read"
            return b""
        if frame.error is not None:
            self.error = error_message(frame.error) or "vLLM reported an error without a message"
            return b""
        if frame.usage is not None:
            self._usage = frame.usage
        if frame.metrics is not None:
            self._engine = frame.metrics
        if frame.prompt_token_ids:
            self.prompt_ids = frame.prompt_token_ids
        if not frame.choices:
            return b""
        choice = frame.choices[0]
        line = self._choice_lines(choice)
        if line and self._prefix is _UNKNOWN and self._stops is None and self._splitter is None:
            self._learn(payload, choice)
        return line

    def _choice_lines(self, choice: Choice) -> bytes:
        if choice.prompt_token_ids:
            self.prompt_ids = choice.prompt_token_ids
        if choice.finish_reason:
            self._finish_reason = choice.finish_reason
        if self._collect and choice.token_ids:
            self.answer_ids.append(_id_list(choice))
        message = choice.delta or Message(content=choice.text)
        thinking = self._trimmer.thinking(message.reasoning or message.reasoning_content or "")
        text = message.content or ""
        if self._splitter is not None:
            said, text = self._split(text, thinking, is_last=bool(choice.finish_reason or message.tool_calls))
            thinking += self._trimmer.thinking(said)
        text = self._trimmer.text(text)
        if message.tool_calls:
            self._tool_calls.add(message.tool_calls)
        if self._stops is not None:
            text = self._stops.feed(text)
            if choice.finish_reason or message.tool_calls:
                text += self._stops.rest()
        if self._collect and message.content:
            self.escaped_text.append(quote(message.content if self._stops is None else text)[1:-1])
        if not (thinking or text or choice.logprobs):
            self._mark_first(bool(message.tool_calls) or bool(message.content))
            self._end_at_stop()
            return b""
        self._mark_first(True)
        self.chunks += 1
        self._end_at_stop()
        logprobs = logprobs_json(choice.logprobs, self._alternatives)
        return self._writer.line(self._now(), text, thinking=thinking, logprobs=logprobs)

    def _split(self, text: str, thinking: str, *, is_last: bool) -> tuple[str, str]:
        """Thoughts and text; where vLLM separates them, or the text has begun, nothing is looked for any more."""
        assert self._splitter is not None
        said, shown = self._splitter.feed(text) if not thinking else ("", text)
        if is_last:
            more = self._splitter.rest()
            said, shown = said + more[0], shown + more[1]
        if thinking or self._splitter.is_settled:
            self._splitter = None
        return ("" if self._hides_thoughts else said), shown

    def _end_at_stop(self) -> None:
        if self._stops is not None and self._stops.is_found:
            self._finish_reason = "stop"
            self.is_done = self.is_stopped = True
            if not self._usage.completion_tokens:  # this vLLM does not count all along
                self._usage.completion_tokens = max(self.chunks, 1)
            self._timings.ended = time.monotonic_ns()

    def _mark_first(self, has_output: bool) -> None:
        if has_output and not self._timings.first_token:
            self._timings.first_token = time.monotonic_ns()

    def _learn(self, payload: bytes, choice: Choice) -> None:
        """Remember what surrounds the text, where cutting it off gives the very text that decoding gave."""
        if choice.delta is not None:
            before, after, text = _CHAT_BEFORE, _CHAT_AFTER, choice.delta.content
        else:
            before, after, text = _COMPLETIONS_BEFORE, _COMPLETIONS_AFTER, choice.text
        position = payload.find(before)
        if position < 0 or not text or (self._trimmer.has_thought and not self._trimmer.has_text):
            return
        start = position + len(before)
        end = payload.find(b'"', start)
        # A text with an escape is not learned from: the next one will do.
        if payload[start:end] == text.encode() and payload.startswith(after, end):
            self._prefix, self._suffix = payload[:start], after

    def _finish(self) -> bytes:
        calls, left_over = self._tool_calls.take()
        self.is_done = True
        self._timings.ended = time.monotonic_ns()
        if self._finish_reason not in _DONE_REASONS:
            self.error = STOPPED_BY_VLLM
            return b""
        if calls or left_over:
            self.chunks += 1
            return self._writer.line(self._now(), left_over, calls=calls)
        return b""


class WholeAnswer:
    """An answer that came in one piece.

    :raises BadUpstreamAnswer: the body is not an answer.
    """

    def __init__(self, body: bytes, request: TextRequest, writer: AnswerWriter, timings: Timings) -> None:
        try:
            frame = decode_frame(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise BadUpstreamAnswer("vLLM sent an answer that cannot be read") from None
        if not frame.choices:
            raise BadUpstreamAnswer(error_message(frame.error) or "vLLM sent an answer without a choice")
        choice = frame.choices[0]
        if choice.finish_reason not in _DONE_REASONS:
            raise BadUpstreamAnswer(STOPPED_BY_VLLM)
        self._writer = writer
        self._alternatives = request.top_logprobs
        self._logprobs: Logprobs | None = choice.logprobs
        self._hides_thoughts = request.think is False
        self.splitter: ThoughtSplitter | None = None  # takes thoughts between tags out of the text
        self._done_reason = _DONE_REASONS[choice.finish_reason]
        self._message = choice.message or Message(content=choice.text)
        self.usage = frame.usage or Usage()
        self._metrics = timings.metrics(self.usage, frame.metrics)
        self.prompt_ids = frame.prompt_token_ids or choice.prompt_token_ids or []
        self.answer_ids = _id_list(choice)
        self.escaped_text = quote(self._message.content or "")[1:-1]

    def body(self, now: Callable[[], bytes], context: bytes = b"") -> bytes:
        """The answer's only object."""
        message = self._message
        said, text = message.reasoning or message.reasoning_content or "", message.content or ""
        if self.splitter is not None and not said:
            found, rest = self.splitter.feed(text), self.splitter.rest()
            said, text = ("" if self._hides_thoughts else found[0] + rest[0]), found[1] + rest[1]
        thinking = ""
        if said:
            trimmer = Trimmer()
            thinking = trimmer.thinking(said)
            text = trimmer.text(text)
        calls: list[ToolCall] = []
        if message.tool_calls:
            collected = ToolCalls()
            collected.add(message.tool_calls)
            calls, left_over = collected.take()
            text += left_over
        return self._writer.whole(
            now(),
            Ending(self._done_reason, self._metrics, context, self.usage),
            text=text,
            thinking=thinking,
            calls=calls,
            logprobs=logprobs_json(self._logprobs, self._alternatives),
        )


def _id_list(choice: Choice) -> bytes:
    """The token ids of a choice, comma-separated, without the end-of-text token that finished it."""
    ids = choice.token_ids or []
    if choice.finish_reason in ("stop", "tool_calls") and choice.stop_reason is None:
        ids = ids[:-1]
    return ",".join(map(str, ids)).encode()


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _no_stamp() -> bytes:
    return b""
