"""How applications read answers: the content types that their HTTP libraries insist on, lines and events as they split them."""

from __future__ import annotations

import json
from typing import Any

import httpx


def json_of(response: httpx.Response) -> Any:
    """The body of an answer to someone who takes JSON only where it is declared (aiohttp's `response.json()`)."""
    assert response.headers["content-type"].partition(";")[0] == "application/json", response.headers
    return response.json()


def lines_of(response: httpx.Response) -> list[dict[str, Any]]:
    """A stream of one JSON object a line, without blank lines."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    assert response.text.endswith("\n")
    return [json.loads(line) for line in response.text.removesuffix("\n").split("\n")]


def events_of(response: httpx.Response) -> list[dict[str, Any]]:
    """The payloads of server-sent events; `[DONE]` is the last and is left out."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    *payloads, last = [line.removeprefix("data:").strip() for line in response.text.split("\n") if line]
    assert last == "[DONE]"
    return [json.loads(payload) for payload in payloads]
