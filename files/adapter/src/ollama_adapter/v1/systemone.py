"""`/v1/systemone`: structured decisions, passed to a vLLM that can take them (ollama-api 5.7).

Ollama 0.32.15 has no such route yet; clients released after it call it. vLLM forbids fields that it does not know, so
`keep_alive` stays here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ..go.decode import keep_alive
from ..go.json import BadBody, quote
from ..http.error_shapes import PLAIN_JSON
from ..http.exchange import Exchange
from ..models.catalogue import OwnModel
from ..ollama.listing import to_json
from ..upstream.fetching import Fetched, fetch
from ..vllm.generation import BUSY, RETRY_AFTER
from ..vllm.refusals import refusal

PATH = b"/v1/systemone"


class Decision(dict[str, Any]):
    """A request: the fields for vLLM, the model's name aside."""

    keep_alive_s: float | None = None


def read_decision(decoded: Any) -> Decision:
    """Read the body of a request.

    :raises BadBody: the answer is 400 with this text.
    """
    if not isinstance(decoded, dict):
        raise BadBody("the body must be a JSON object")
    request = Decision({name: value for name, value in decoded.items() if name.lower() not in ("model", "keep_alive")})
    given = next((value for name, value in decoded.items() if name.lower() == "keep_alive"), None)
    request.keep_alive_s = None if given is None else keep_alive(given, "SystemOneRequest.keep_alive")
    return request


def decide(exchange: Exchange, request: Decision, own: OwnModel, used: Callable[[], None]) -> None:
    """Answer a request that has been read.

    :param used: called when the model has been used.
    """
    settings = own.backend.settings
    if own.backend.is_full:
        exchange.respond_error(503, BUSY, [RETRY_AFTER])
        return

    def answered(answer: Fetched) -> None:
        if answer.status == 404 and b'"detail"' in answer.body:  # FastAPI's own shape: there is no such route
            exchange.respond_error(501, "this vLLM has no /v1/systemone; a newer release is needed")
        elif not answer.is_ok:
            found = refusal(answer, settings.served_model)
            exchange.respond_error(found.status, found.message, found.headers)
        else:
            body = _renamed(answer.body, exchange)
            if body is None:
                exchange.respond_error(502, "vLLM sent an answer that cannot be read")
            else:
                used()
                exchange.respond(200, body, PLAIN_JSON)

    body = to_json({"model": settings.served_model, **request})
    headers = b"X-Request-Id: %b\r\n" % exchange.request_id.encode()
    timeout_s = settings.answer_timeout_s
    upstream = own.backend.upstream
    exchange.call = fetch(upstream, b"POST", PATH, answered, timeout_s, body=body, headers=headers)


def _renamed(body: bytes, exchange: Exchange) -> bytes | None:
    """vLLM's answer with the model's name as the client wrote it, the rest as it came."""
    try:
        members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    members["model"] = msgspec.Raw(quote(exchange.model))
    usage = members.get("usage")
    if usage is not None:
        _count(bytes(usage), exchange)
    return msgspec.json.encode(members) + b"\n"


def _count(usage: bytes, exchange: Exchange) -> None:
    decoded = msgspec.json.decode(usage)
    if isinstance(decoded, dict):
        exchange.prompt_tokens = int(decoded.get("input_tokens") or 0)
        exchange.output_tokens = int(decoded.get("output_tokens") or 0)
