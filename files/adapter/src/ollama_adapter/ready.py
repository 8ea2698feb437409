"""Whether vLLM serves: alive, and with the model it should have."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from .fetching import Fetched, fetch
from .frames import error_text
from .upstream import Sender

_TIMEOUT_S = 5.0


def check_ready(upstream: Sender, served_model: str, done: Callable[[str], None]) -> None:
    """Ask vLLM's `/health`, then its list of models, and call `done` with what is wrong: "" where nothing is.

    `/health` alone would not do: it stays 200 while the model is another one (vllm-http 5).
    """

    def healthy(answer: Fetched) -> None:
        if answer.is_ok:
            fetch(upstream, b"GET", b"/v1/models", listed, _TIMEOUT_S)
        else:
            done(answer.reason or f"vLLM's /health says {answer.status}")

    def listed(answer: Fetched) -> None:
        if not answer.is_ok:
            done(answer.reason or f"vLLM's /v1/models says {answer.status}: {error_text(answer.body) or ''}")
            return
        names = served_names(answer.body)
        done("" if served_model in names else f"vLLM serves {', '.join(names) or 'nothing'}, not {served_model}")

    # GET, not HEAD: vLLM answers HEAD /health with 405 (measured, 0.32.0).
    fetch(upstream, b"GET", b"/health", healthy, _TIMEOUT_S)


def served_names(body: bytes) -> list[str]:
    """The ids in an answer of `/v1/models`."""
    try:
        data = msgspec.json.decode(body)["data"]
        return [entry["id"] for entry in data]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return []
