"""How the suite asks a server on a host: through the host's own curl."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from tests.verify.web import Endpoint, seen_of

# Answers with what it was given: its arguments, a line of three dashes, and its standard input.
CURL = r"""#!/bin/sh
printf 'HTTP/1.1 200 OK\r\n\r\n'
printf '%s\n' "$@" ---
case " $* " in *" --config - "*) cat ;; esac
"""


@pytest.mark.parametrize("has_token", [False, True])
def test_a_token_reaches_the_server_and_is_no_argument(has_token: bool, tmp_path: Path) -> None:
    curl, token = tmp_path / "curl", tmp_path / "token"
    curl.write_text(CURL)
    curl.chmod(0o755)
    token.write_text("open-100%-sesame\n")

    def run(line: str) -> tuple[int, str, str]:
        path = f"{tmp_path}:{os.environ['PATH']}"
        done = subprocess.run(["sh", "-c", line], capture_output=True, env={"PATH": path}, timeout=30)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    endpoint = Endpoint("gpu-01", "http://127.0.0.1:11434", run, token_file=str(token) if has_token else "")
    arguments, given = endpoint.post("/api/show", {"model": "it's"}).body.split("---\n")
    assert '{"model": "it\'s"}' in arguments
    assert "sesame" not in arguments
    assert given == ('header = "Authorization: Bearer open-100%-sesame"\n' if has_token else "")


def here(line: str) -> tuple[int, str, str]:
    """Run on this machine what would run on the host."""
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout, done.stderr


class Service(http.server.BaseHTTPRequestHandler):
    """Well at /health, and nowhere else."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health?deep=1&x=2" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_what_a_host_sees_of_a_service_by_its_url() -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"127.0.0.1:{server.server_port}"
    try:
        assert seen_of("gpu-01", f"http://{address}/health?deep=1&x=2", here, 5) == "200"
        assert seen_of("gpu-01", f"http://{address}/", here, 5) == "503"
        assert seen_of("gpu-01", f"tcp://{address}", here, 5) == "open"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert seen_of("gpu-01", f"http://{address}/health", here, 5).startswith("no answer: curl: (7)")
    assert seen_of("gpu-01", f"tcp://{address}", here, 5) == "no answer: Connection refused"


def test_a_service_that_takes_the_connection_and_says_nothing_is_not_waited_for_long() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/health"
        assert "timed out" in seen_of("gpu-01", url, here, 1)
    assert seen_of("gpu-01", "tcp://192.0.2.1:5432", lambda line: (124, "", ""), 7) == "no answer within 7 s"
