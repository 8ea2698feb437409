"""Whether Ollama's models are on the cards, from what a server answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import ModuleType
from typing import Any

import pytest

from tests.unit.phase.played_host import modules


@pytest.fixture
def share() -> ModuleType:
    return modules()["gpu_share"]


@pytest.fixture
def said() -> dict[str, Any]:
    return {"models": []}


@pytest.fixture
def port(said: dict[str, Any]) -> Iterator[int]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/api/ps" else 404)
            self.end_headers()
            self.wfile.write(json.dumps(said).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"name": "a", "size": 100, "size_vram": 100}, []),
        ({"name": "a", "size": 100, "size_vram": 0}, ["a: 0 % of it is on the cards"]),
        ({"name": "a", "size": 100}, ["a: 0 % of it is on the cards"]),
        ({"name": "a", "size": 200, "size_vram": 90}, ["a: 45 % of it is on the cards"]),
        ({"name": "a"}, []),
    ],
)
def test_a_model_that_is_not_whole_on_the_cards_is_named(
    share: ModuleType, port: int, said: dict[str, Any], model: dict[str, Any], expected: list[str]
) -> None:
    said["models"] = [model]
    gate = ["ollama", "--address", "127.0.0.1", "--port", str(port), "--model", "a"]
    assert [text.partition(",")[0] for text in share.complaints(gate)] == expected


def test_a_server_that_says_nothing_is_no_complaint_and_neither_is_another_service(
    share: ModuleType, port: int, said: dict[str, Any]
) -> None:
    said["models"] = None
    assert share.complaints(["ollama", "--port", str(port)]) == []
    assert share.complaints(["ollama", "--port", "1"]) == []
    assert share.complaints(["vllm", "--port", str(port)]) == []
