"""The parts of vLLM's answers that the adapter reads. Chunks of a stream and whole answers share one type.

Recorded from vLLM 0.32.0; unknown fields are skipped by the decoder without building anything.
"""

from __future__ import annotations

from typing import Any

import msgspec


class FunctionPart(msgspec.Struct):
    """A piece of a call: the name comes first, then the arguments, JSON text in fragments."""

    name: str | None = None
    arguments: str | None = None


class ToolCallPart(msgspec.Struct):
    """What one chunk adds to the call of this index; in a whole answer, the call itself."""

    function: FunctionPart
    index: int | None = None


class Message(msgspec.Struct):
    """A message, or what a chunk adds to it. `reasoning` was `reasoning_content` in older releases."""

    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallPart] | None = None


class TokenLogprob(msgspec.Struct):
    """One token with its log probability, on the chat endpoint."""

    token: str
    logprob: float
    top_logprobs: list[TokenLogprob] = []


class Logprobs(msgspec.Struct):
    """Chat fills `content`, the completions endpoint the three parallel lists."""

    content: list[TokenLogprob] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


class Choice(msgspec.Struct):
    """The only choice: `delta` in a chunk, `message` in a whole answer, `text` on the completions endpoint."""

    delta: Message | None = None
    message: Message | None = None
    text: str | None = None
    finish_reason: str | None = None
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None
    logprobs: Logprobs | None = None
    stop_reason: str | int | None = None


class Usage(msgspec.Struct):
    """Token counts; the prompt's includes cached tokens."""

    prompt_tokens: int = 0
    completion_tokens: int | None = None


class EngineMetrics(msgspec.Struct):
    """The engine's own timings, sent when vLLM runs with --enable-per-request-metrics."""

    time_to_first_token_ms: float | None = None
    generation_time_ms: float | None = None
    queue_time_ms: float | None = None


class Frame(msgspec.Struct):
    """A chunk of a stream, or a whole answer."""

    choices: list[Choice] = []
    usage: Usage | None = None
    prompt_token_ids: list[int] | None = None
    metrics: EngineMetrics | None = None
    error: Any = None


decode_frame = msgspec.json.Decoder(Frame).decode


def error_text(body: bytes) -> str | None:
    """The message in an error body of vLLM, None where it is not one.

    Shapes (vllm-http 4): `{"error": {"message": ...}}`, `{"error": "Unauthorized"}`, `{"detail": "Not Found"}`.
    """
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if not isinstance(decoded, dict):
        return None
    return error_message(decoded.get("error")) or error_message(decoded.get("detail")) or None


def is_overflow(message: str) -> bool:
    """Whether vLLM refuses a request because its prompt leaves no room in the context (0.32.0)."""
    return "maximum context length" in message or "max_tokens must be at least 1, got 0" in message


def error_message(error: Any) -> str | None:
    """The message of an `error` member."""
    if isinstance(error, dict):
        error = error.get("message")
    return error if isinstance(error, str) and error else None
