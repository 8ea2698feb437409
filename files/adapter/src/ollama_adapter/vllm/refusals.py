"""What a client is told when vLLM refuses a small request: a pure function of vLLM's answer."""

from __future__ import annotations

from dataclasses import dataclass

from ..upstream.fetching import Fetched
from .frames import error_text
from .generation import BUSY, RETRY_AFTER
from .leaving import is_going_down, told


@dataclass(frozen=True)
class Refusal:
    """Status, message and further headers of an answer."""

    status: int
    message: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


def refusal(answer: Fetched, served_model: str) -> Refusal:
    """The answer to the client for an answer of vLLM that is not a 200, or for none: vLLM's message is kept, and its
    status where it says something about the request."""
    if not answer.status:
        more = "; vLLM is starting or stopped, try again" if answer.is_unreachable else ""
        return Refusal(503, f"{answer.reason}{more}", (RETRY_AFTER,))
    plain = answer.body[:1000].decode("utf-8", "replace").strip()
    message = error_text(answer.body) or plain or f"status {answer.status}"
    if answer.status == 503:
        return Refusal(503, BUSY, (RETRY_AFTER,))
    if is_going_down(answer.status, message):
        return Refusal(503, told(message), (RETRY_AFTER,))
    if answer.status == 404:
        text = f"vLLM does not serve {served_model!r} (vllm.served_model): {message}"
        return Refusal(503, text, (RETRY_AFTER,))
    if answer.status in (401, 403):
        return Refusal(502, f"vLLM refused the adapter's key (vllm.api_key_file): {message}")
    return Refusal(answer.status if 400 <= answer.status <= 599 else 502, message)
