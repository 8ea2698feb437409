"""How an error is written: Ollama's own routes, OpenAI's and Anthropic's each have a shape (ollama-api 5).

On `/v1/*` it also tells who refused, as recorded from Ollama 0.32.15: what cannot be read as a request is answered with
a charset and without a line end, everything after that without a charset and with a line end.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from ..go.json import quote
from .answer import JSON

PLAIN_JSON = b"application/json"


@dataclass(frozen=True)
class ErrorShape:
    """Writes errors.

    :param content_type: of an answer that is an error.
    :param body: makes such an answer from status and message.
    :param event: makes what ends a stream that has begun, from the message.
    """

    content_type: bytes
    body: Callable[[int, str], bytes]
    event: Callable[[str], bytes]


def error_body(message: str) -> bytes:
    """`{"error": ...}`, the shape of every error on `/api/*`."""
    return b'{"error":%b}' % quote(message)


def openai(status: int, message: str) -> bytes:
    """The error object of OpenAI's routes; the type follows from the status (ollama-api 5.1)."""
    kind = {400: b"invalid_request_error", 404: b"not_found_error"}.get(status, b"api_error")
    return b'{"error":{"message":%b,"type":"%b","param":null,"code":null}}' % (quote(message), kind)


_ANTHROPIC_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}


def anthropic(status: int, message: str) -> bytes:
    """The error object of Anthropic's route."""
    kind = _ANTHROPIC_KINDS.get(status, "api_error").encode()
    inner = b'{"type":"error","error":{"type":"%b","message":%b},"request_id":"req_%b"}'
    return inner % (kind, quote(message), secrets.token_hex(12).encode())


def _unread(message: str) -> str:
    """Ollama's native routes have words of their own for an empty body; these routes show what Go's decoder says."""
    return "EOF" if message == "missing request body" else message


def _openai_event(message: str) -> bytes:
    # Ollama itself ends such a stream without a word. A client must not take half an answer for a whole one: SDKs raise
    # what they find under `error`, and no [DONE] follows.
    return b"data: %b\n\n" % openai(500, message)


def _anthropic_event(message: str) -> bytes:
    return b"event: error\ndata: %b\n\n" % anthropic(500, message)


NATIVE = ErrorShape(JSON, lambda _, message: error_body(message), lambda message: error_body(message) + b"\n")
OPENAI_UNREAD = ErrorShape(JSON, lambda status, message: openai(status, _unread(message)), _openai_event)
OPENAI = ErrorShape(PLAIN_JSON, lambda status, message: openai(status, message) + b"\n", _openai_event)
ANTHROPIC_UNREAD = ErrorShape(JSON, lambda status, message: anthropic(status, _unread(message)), _anthropic_event)
ANTHROPIC = ErrorShape(PLAIN_JSON, lambda status, message: anthropic(status, message) + b"\n", _anthropic_event)


def of_action(action: str) -> ErrorShape:
    """The shape of errors of a route, until its request has been read."""
    if action == "v1_messages":
        return ANTHROPIC_UNREAD
    if action in ("v1_models", "v1_model"):
        return OPENAI
    return OPENAI_UNREAD if action.startswith("v1_") else NATIVE
