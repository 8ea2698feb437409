"""The script that gathers symptoms, run on this machine, and what is read from its output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from roles.doctor import VARIABLES, folders, questions
from roles.doctor.symptoms import SCRIPT, HostSymptoms, Question, parse_symptoms
from tests.unit.doctor.cases import SITE

STATE = """Id=vllm.service
LoadState=loaded
ActiveState=activating
SubState=auto-restart
Result=exit-code
NRestarts=3
ExecMainStatus=1
MainPID=0
InactiveExitTimestampMonotonic=5000000
"""
CONTAINER = {
    "Name": "/rag-1",
    "RestartCount": 2,
    "State": {"Health": {"Status": "healthy"}},
    "Config": {
        "Env": ["OLLAMA_URL=http://localhost:11434", "SECRET=x", "NVIDIA_VISIBLE_DEVICES=all"],
        "Labels": {"com.docker.compose.service": "rag-service"},
    },
    "HostConfig": {"NetworkMode": "bridge", "ExtraHosts": None, "Runtime": "nvidia", "DeviceRequests": None},
}
LOST = 'echo "Failed to initialize NVML: Unknown Error"; exit 255'


class Served(BaseHTTPRequestHandler):
    """Answers by path: `/slow` after a while, `/moved` elsewhere, the rest with what came in."""

    def do_GET(self) -> None:
        if self.path == "/slow":
            time.sleep(1.5)
        if self.path == "/dribble":
            self.send_response(200)
            self.end_headers()
            for _ in range(20):
                try:
                    self.wfile.write(b"x")
                    self.wfile.flush()
                except OSError:
                    return
                time.sleep(0.2)
            return
        body = json.dumps({"token": self.headers["Authorization"], "body": self._body()}).encode() * (
            1 if self.path != "/long" else 20_000
        )
        self.send_response({"/bad": 503, "/moved": 302}.get(self.path, 200))
        self.send_header("Location", "/")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def _body(self) -> str:
        return self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()

    def log_message(self, *_: object) -> None:
        pass


def comm() -> str:
    """This process as `ss` names it."""
    return Path("/proc/self/comm").read_text().strip()


@contextmanager
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Served) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder of programs in front of the machine's own."""
    entries = [
        {"MESSAGE": "first", "PRIORITY": "6", "__REALTIME_TIMESTAMP": "1795000000000000"},
        {"MESSAGE": [98, 195, 40], "PRIORITY": "3", "__REALTIME_TIMESTAMP": "1795000001000000"},
        {"MESSAGE": None, "__REALTIME_TIMESTAMP": "1795000002000000"},
        {"MESSAGE": "x" * 5000, "__REALTIME_TIMESTAMP": "1795000003000000"},
    ]
    (tmp_path / "journal").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    (tmp_path / "kernel").write_text("usb 1-1: hello\nOut of memory: Killed process 7 (vllm)\n")
    (tmp_path / "containers").write_text(json.dumps([CONTAINER]))
    (tmp_path / "state").write_text(STATE)
    scripts = {
        "journalctl": f'case "$*" in *-k*) cat {tmp_path}/kernel ;; *) cat {tmp_path}/journal ;; esac',
        "systemctl": f"cat {tmp_path}/state",
        "timedatectl": "echo no",
        "docker": f'case "$1" in ps) echo abc ;; inspect) cat {tmp_path}/containers ;; exec) {LOST} ;; esac',
    }
    for name, body in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    return tmp_path


def looked(programs: Path, **asked: Any) -> dict[str, Any]:
    wanted = {
        "units": ["vllm.service"],
        "folders": ["/", "/not/there"],
        "variables": ["OLLAMA_URL"],
        "questions": [],
        **asked,
    }
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.read_text(), json.dumps(wanted)],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_everything_that_a_host_says_is_read(programs: Path) -> None:
    seen = parse_symptoms(looked(programs))
    unit = seen.units["vllm.service"]
    assert (unit.active, unit.sub, unit.restarts, unit.exit_status) == ("activating", "auto-restart", 3, 1)
    assert not unit.is_starting
    assert unit.changed == 0.0
    assert 0 < unit.began < seen.now
    lines = seen.journal["vllm.service"]
    assert [line.text[:5] for line in lines] == ["first", "b\ufffd(", "xxxxx"]
    assert (lines[1].priority, len(lines[2].text), lines[0].time) == (3, 700, 1_795_000_000.0)
    assert seen.kernel == ("Out of memory: Killed process 7 (vllm)",)
    assert seen.synchronised is False
    assert seen.folders["/not/there"] == seen.folders["/"]
    assert seen.memory_total > seen.memory_available > 0
    (container,) = seen.containers
    assert (container.name, container.service, container.health, container.restarts) == (
        "rag-1",
        "rag-service",
        "healthy",
        2,
    )
    assert container.variables == {"OLLAMA_URL": "http://localhost:11434"}
    assert container.cards == "Failed to initialize NVML: Unknown Error"
    assert "SECRET" not in str(asdict(seen))


def test_the_host_is_asked_about_its_servers_and_every_answer_ends(programs: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("abc\n")
    with server() as url:
        asked = [
            Question("plain", f"{url}/", '{"a": 1}', str(token), listener=comm()),
            Question("another", f"{url}/", token_file=str(token), listener="ollama-adapter"),
            Question("dribble", f"{url}/dribble", seconds=0.5),
            Question("bad", f"{url}/bad"),
            Question("moved", f"{url}/moved"),
            Question("long", f"{url}/long"),
            Question("slow", f"{url}/slow", seconds=0.3),
            Question("nobody", "http://127.0.0.1:9/"),
        ]
        seen = parse_symptoms(looked(programs, questions=[asdict(question) for question in asked])).answers
    assert seen["plain"].object() == {"token": "Bearer abc", "body": '{"a": 1}'}
    assert seen["another"].object()["token"] is None, "who has the port is not who should get it"
    assert seen["dribble"].seconds < 3
    assert (seen["bad"].status, seen["moved"].status) == (503, 302)
    assert len(seen["long"].text) == 400_000
    assert seen["slow"].timed_out
    assert (seen["nobody"].status, "refused" in seen["nobody"].error, seen["nobody"].timed_out) == (0, True, False)


def test_a_host_without_any_of_the_programs_is_read_all_the_same(tmp_path: Path) -> None:
    environment = {"PATH": str(tmp_path)}
    wanted = json.dumps({"units": ["x.service"], "folders": ["/"], "variables": [], "questions": []})
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.read_text(), wanted], capture_output=True, text=True, timeout=60, env=environment
    )
    seen = parse_symptoms(json.loads(done.stdout))
    assert (seen.units, seen.journal, seen.containers, seen.synchronised, seen.compiler) == (
        {},
        {"x.service": ()},
        (),
        None,
        "",
    )


def test_what_is_no_answer_of_the_script_is_none() -> None:
    fact = HostSymptoms()
    assert fact.process(["bash: python3: command not found"]) is None
    assert fact.process([]) is None
    assert fact.process(['{"units": 3}']) is None


def test_vllm_alone_is_asked_for_a_token() -> None:
    bodies = {question.name: question.body for question in questions(SITE) if question.body}
    assert set(bodies) == {"vllm.service:a token"}
    assert json.loads(bodies["vllm.service:a token"]) == {"model": "llm", "prompt": "1", "max_tokens": 1}
    assert "/var/lib/llm/hub" in folders(SITE)
    assert "OLLAMA_BASE_URL" in VARIABLES
