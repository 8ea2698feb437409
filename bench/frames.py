"""vLLM's answers as bytes, in the shape that vLLM 0.32.0 gives them (recorded; a unit test compares the shapes).

The adapter asks for usage in its streams and vLLM runs with --enable-per-request-metrics, so the last chunk of a stream
has both. The text is ordinary prose: among 32 tokens one is a line break, one has a quote, one is not ASCII.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SERVED_MODEL = "llm"
PROMPT_TOKENS = 8
TOKENS = (
    "Certainly", ",", " the", " light", " of", " a", " late", " café", " fell", " on", " the", " old", " harbour", ".",
    "\n", "Nobody", " said", ' "', "come", " home", ",", " and", " yet", " all", " of", " them", " turned", " towards",
    " the", " open", " door", ".",
)  # fmt: skip
# The beginning of every answer; no other token has it, so it tells when the first token has come.
FIRST = TOKENS[0]

DONE = b"data: [DONE]\n\n"
METRICS = {
    "time_to_first_token_ms": 49.0840859997661,
    "generation_time_ms": 17.020509999838396,
    "queue_time_ms": 0.08836100005282788,
    "mean_itl_ms": 8.510254999919198,
    "tokens_per_second": 45.3826236229921,
}
_FINGERPRINT = {"system_fingerprint": "vllm-0.32.0-c5b3d365"}


def tokens(count: int) -> list[str]:
    """The tokens of an answer of this length."""
    return [FIRST if not n else TOKENS[1 + (n - 1) % (len(TOKENS) - 1)] for n in range(count)]


def text(count: int) -> str:
    """The text of an answer of so many tokens."""
    return "".join(tokens(count))


@dataclass(frozen=True)
class StreamFrames:
    """The events of one stream: `first` announces the role, `tokens` has one each, `last` is everything after them."""

    first: bytes
    tokens: Sequence[bytes]
    last: bytes


def stream(count: int, *, usage: bool) -> StreamFrames:
    """The events of a streamed chat answer.

    :param usage: the request has `stream_options.include_usage`.
    """
    role = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
    first = _event(choices=[role], prompt_token_ids=None, prompt_text=None)
    *before, last_token = tokens(count)
    plain = [_event(choices=[_choice(token, {"finish_reason": None})]) for token in before]
    finish = _choice(last_token, {"finish_reason": "length", "stop_reason": None})
    if not usage:
        return StreamFrames(first, [*plain, _event(choices=[finish], **_FINGERPRINT)], DONE)
    usage_event = _event(choices=[], usage=_usage(count), **_FINGERPRINT, metrics=METRICS)
    return StreamFrames(first, [*plain, _event(choices=[finish])], usage_event + DONE)


def whole(count: int) -> bytes:
    """The body of a chat answer that is not streamed."""
    message = {
        "role": "assistant", "content": text(count), "refusal": None, "annotations": None, "audio": None,
        "function_call": None, "reasoning": None,
    }  # fmt: skip
    choice = {
        "index": 0, "message": message, "logprobs": None, "finish_reason": "length", "stop_reason": None,
        "token_ids": None, "routed_experts": None,
    }  # fmt: skip
    return _dumps(
        {
            "id": "chatcmpl-afc74dba79324d2d", "object": "chat.completion", "created": 1795433261,
            "model": SERVED_MODEL, "choices": [choice], "service_tier": None, **_FINGERPRINT,
            "usage": {**_usage(count), "prompt_tokens_details": None, "completion_tokens_details": None},
            "prompt_logprobs": None, "prompt_token_ids": None, "prompt_text": None, "kv_transfer_params": None,
            "ec_transfer_params": None, "metrics": METRICS,
        }
    )  # fmt: skip


def _choice(token: str, ending: dict[str, Any]) -> dict[str, Any]:
    return {"index": 0, "delta": {"content": token}, "logprobs": None, **ending, "token_ids": None}


def _usage(count: int) -> dict[str, Any]:
    return {"prompt_tokens": PROMPT_TOKENS, "total_tokens": PROMPT_TOKENS + count, "completion_tokens": count}


def _event(**fields: Any) -> bytes:
    head = {
        "id": "chatcmpl-84858131dcbab8d5", "object": "chat.completion.chunk", "created": 1795433261,
        "model": SERVED_MODEL,
    }  # fmt: skip
    return b"data: %b\n\n" % _dumps({**head, **fields})


def _dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
