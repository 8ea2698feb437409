"""How the suite asks a server on a host: through the host's own curl."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.verify.web import Endpoint

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
