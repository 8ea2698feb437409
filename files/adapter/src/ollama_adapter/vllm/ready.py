"""Whether vLLM serves: alive, and with the model it should have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from ..models.backend import Backend
from ..ollama.names import parse
from ..upstream.client import Sender
from ..upstream.fetching import Fetched, fetch
from .frames import error_text

_TIMEOUT_S = 5.0
_encoder = msgspec.json.Encoder()


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


def check_all(backends: Sequence[Backend], done: Callable[[dict[str, str]], None]) -> None:
    """Ask every model's vLLM, and call `done` with what is wrong with each, by the name it is listed under; "" where
    nothing is."""
    found: dict[str, str] = {parse(backend.settings.aliases[0]).display: "" for backend in backends}
    waiting = len(found)

    def check(name: str, backend: Backend) -> None:
        def checked(trouble: str) -> None:
            nonlocal waiting
            found[name] = trouble
            waiting -= 1
            if not waiting:
                done(found)

        check_ready(backend.upstream, backend.settings.served_model, checked)

    for name, backend in zip(list(found), backends, strict=True):
        check(name, backend)


def ready_answer(troubles: Mapping[str, str]) -> tuple[int, bytes]:
    """Status and body of `/ready`: 200 only if every model of vLLM is served.

    `{"status":"ready","models":{"llama2:7b":"ready"}}`, or with `error` and what is wrong with each model.
    """
    wrong = {name: trouble for name, trouble in troubles.items() if trouble}
    models = {name: trouble or "ready" for name, trouble in troubles.items()}
    if not wrong:
        return 200, _encoder.encode({"status": "ready", "models": models})
    if len(troubles) == 1:
        error = next(iter(wrong.values()))
    else:
        error = "; ".join(f"{name}: {trouble}" for name, trouble in wrong.items())
    return 503, _encoder.encode({"status": "not ready", "error": error, "models": models})


def served_names(body: bytes) -> list[str]:
    """The ids in an answer of `/v1/models`."""
    try:
        data = msgspec.json.decode(body)["data"]
        return [entry["id"] for entry in data]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return []
