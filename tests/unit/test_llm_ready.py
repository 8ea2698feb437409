"""The probe behind every gate: what it takes for serving, and that it always ends."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).resolve().parents[2] / "roles" / "base" / "host" / "llm-ready"
VLLM: dict[str, Any] = {
    "/health": "",
    "/v1/models": {"data": [{"id": "llm"}]},
    "/v1/completions": {"usage": {"completion_tokens": 1}},
}
OLLAMA: dict[str, Any] = {
    "/api/version": {"version": "0.32.15"},
    "/api/tags": {"models": [{"name": "llava:7b"}, {"name": "nomic-embed-text:latest"}]},
    "/api/show": {"capabilities": ["completion", "vision"]},
    "/api/generate": {"eval_count": 1},
    "/api/embed": {"embeddings": [[0.1]]},
}


@contextmanager
def service(answers: dict[str, Any], token: str = "") -> Iterator[int]:
    """A server on loopback that answers paths from a table; what is not in it is 404. Yields the port.

    :param token: what clients must send; empty: nothing.
    """

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            found = answers.get(self.path)
            if token and self.headers.get("Authorization") != f"Bearer {token}":
                found = 401
            status = found if isinstance(found, int) else 404 if found is None else 200
            body = b"" if found in ("", None) or isinstance(found, int) else json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the test prints what matters."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def ready(kind: str, port: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(PROGRAM), kind, "--port", str(port), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_vllm_serves_when_it_is_healthy_lists_the_model_and_makes_a_token() -> None:
    with service(VLLM) as port:
        done = ready("vllm", port, "--model", "llm")
    assert (done.returncode, done.stdout.startswith(f"vllm serves on {port}")) == (0, True)


def test_vllm_that_makes_no_token_does_not_serve() -> None:
    with service(VLLM | {"/v1/completions": {"usage": {"completion_tokens": 0}}}) as port:
        assert ready("vllm", port, "--model", "llm").returncode == 1
        assert ready("vllm", port, "--model", "llm", "--no-generate").returncode == 0


def test_a_model_that_is_not_listed_is_named_with_those_that_are() -> None:
    with service(VLLM) as port:
        done = ready("vllm", port, "--model", "other")
    assert done.returncode == 1
    assert "model other is not in the list: llm" in done.stderr


def test_an_unhealthy_answer_is_shown() -> None:
    with service(VLLM | {"/health": 503}) as port:
        done = ready("vllm", port, "--model", "llm")
    assert done.returncode == 1
    assert "/health answered 503" in done.stderr


def test_ollama_serves_with_all_models_and_a_tag_may_be_left_out() -> None:
    with service(OLLAMA) as port:
        assert ready("ollama", port, "--model", "llava:7b", "--model", "nomic-embed-text").returncode == 0
        assert ready("ollama", port, "--model", "llava:7b", "--model", "gone").returncode == 1


def test_an_embedding_model_is_proved_by_a_vector() -> None:
    embedding = OLLAMA | {"/api/show": {"capabilities": ["embedding"]}}
    with service(embedding) as port:
        assert ready("ollama", port, "--model", "nomic-embed-text").returncode == 0
    with service(embedding | {"/api/embed": {"embeddings": []}}) as port:
        assert "no embedding made" in ready("ollama", port, "--model", "nomic-embed-text").stderr


def test_a_model_that_should_see_is_asked_about_a_picture() -> None:
    """What a real vLLM makes of that picture is in tests/lab/test_vision_on_vllm.py."""
    with service(OLLAMA) as port:
        assert ready("adapter", port, "--model", "llava:7b", "--image").returncode == 0
    with service(OLLAMA | {"/api/show": {"capabilities": ["completion"]}}) as port:
        done = ready("adapter", port, "--model", "llava:7b", "--image")
    assert (done.returncode, "llava:7b does not see pictures, it can: completion" in done.stderr) == (1, True)
    with service(VLLM | {"/v1/completions": 500, "/v1/chat/completions": {"usage": {"completion_tokens": 1}}}) as port:
        assert ready("vllm", port, "--model", "llm", "--image").returncode == 0
        assert ready("vllm", port, "--model", "llm").returncode == 1


def test_a_service_that_asks_for_a_token_gets_the_one_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("open-sesame\n")
    with service(OLLAMA, token="open-sesame") as port:
        done = ready("adapter", port, "--model", "llava:7b")
        assert (done.returncode, "answered 401" in done.stderr) == (1, True)
        assert ready("adapter", port, "--model", "llava:7b", "--token-file", str(file)).returncode == 0
        done = ready("adapter", port, "--model", "llava:7b", "--token-file", str(tmp_path / "none"))
        assert (done.returncode, "No such file" in done.stderr) == (2, True)


def test_rubbish_is_no_reason_to_crash() -> None:
    with service(OLLAMA | {"/api/tags": ["what"]}) as port:
        done = ready("ollama", port, "--model", "llava:7b")
    assert done.returncode == 1
    assert "unexpected answer" in done.stderr


def test_waiting_ends_at_once_when_the_process_has_ended() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    done = ready("vllm", 1, "--model", "llm", "--timeout", "600", "--pid", str(ended.pid))
    assert done.returncode == 3
    assert "has ended" in done.stderr


def test_waiting_is_bounded_and_says_what_was_seen() -> None:
    done = ready("vllm", 1, "--model", "llm", "--timeout", "1")
    assert done.returncode == 1
    assert "does not serve after 1 s: /health: " in done.stderr


def test_one_model_that_is_there_may_be_enough() -> None:
    with service(OLLAMA) as port:
        both = ("--model", "gone", "--model", "llava:7b")
        assert ready("ollama", port, *both).returncode == 1
        assert ready("ollama", port, *both, "--some").returncode == 0
        assert ready("ollama", port, "--model", "gone", "--some").returncode == 1
    with service({**OLLAMA, "/api/show": {"capabilities": ["embedding"]}}) as port:
        done = ready("ollama", port, *both, "--some")
        assert (done.returncode, "model gone is not in the list" in done.stderr) == (1, True)
        assert ready("ollama", port, "--model", "llava:7b", "--some").returncode == 0  # all that is wanted is there
