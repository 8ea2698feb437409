"""Clients of the adapter who keep asking, each on a new connection, while something happens to it."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType

PORT = 11434
TIMEOUT_S = 300  # a machine that is busy with other things answers late; it must not look like a failure
PAUSE_S = 0.05  # the host has a deploy to do as well
TOKENS = 200  # of a stream


def answer_of(
    address: str, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Status and body of one answer, on a connection of its own. Raises OSError or HTTPException where it is not whole."""
    connection = http.client.HTTPConnection(address, PORT, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def generated(address: str, model: str) -> str:
    """Ask for a short answer in one piece. What is wrong with it; "" where nothing is."""
    body = {"model": model, "prompt": "Hello", "stream": False, "options": {"num_predict": 16}}
    try:
        status, text = answer_of(address, "POST", "/api/generate", body)
        is_whole = status == 200 and json.loads(text)["done"] is True and json.loads(text)["eval_count"] > 0
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return "" if is_whole else f"{status}: {text[-300:]!r}"


def streamed(address: str, model: str) -> str:
    """Ask for a long stream: longer than the model would make it, which only /v1 can say. What is wrong with it."""
    body = {"model": model, "prompt": "Hello", "stream": True, "max_tokens": TOKENS, "ignore_eos": True}
    try:
        status, text = answer_of(address, "POST", "/v1/completions", body)
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    is_whole = status == 200 and b'"finish_reason":"length"' in text and text.endswith(b"data: [DONE]\n\n")
    return "" if is_whole else f"{status}: {text[-300:]!r}"


@dataclass
class Asking:
    """Several clients at once, some of whom read long streams."""

    address: str
    models: tuple[str, ...]
    clients: int = 6
    answered: int = 0
    failures: list[str] = field(default_factory=list)

    def __enter__(self) -> Asking:
        self._enough = threading.Event()
        self._counting = threading.Lock()
        self._threads = [threading.Thread(target=self._keep, args=(number,)) for number in range(self.clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def _keep(self, number: int) -> None:
        model = self.models[number % len(self.models)]
        while not self._enough.wait(PAUSE_S):
            problem = (streamed if number // 2 % 2 else generated)(self.address, model)
            with self._counting:
                self.answered += 1
                if problem:
                    self.failures.append(problem)
