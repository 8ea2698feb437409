"""Start, stop and hand-over: what systemd and the clients see of them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.adapter_process import AdapterProcess, Start, environment
from tests.contract.vllm_stand_in import Behaviour, VllmStandIn
from tests.contract.wire import Wire, ask, get, request

Eventually = Callable[[Callable[[], bool]], None]
STREAM = {"model": "llama2", "messages": [{"role": "user", "content": "x"}]}

# Puts a listening socket at descriptor 3 and says so in the environment, as systemd does for a unit with a socket.
HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="ollama-adapter.socket")
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_a_stream_on_its_way_is_finished_before_the_process_ends(start_adapter: Start, vllm: VllmStandIn) -> None:
    adapter = start_adapter()
    vllm.behaviour = Behaviour(delay_s=0.1)
    with Wire(adapter.port) as idle, Wire(adapter.port) as busy:
        idle.send(b"GET / HTTP/1.1\r\nHost: x.local\r\n\r\n")
        idle.answer()
        busy.send(request("/api/chat", STREAM))
        busy.head()
        busy.chunk()
        adapter.terminate()
        assert adapter.event("draining")["busy"] == 1
        assert idle.is_closed()
        with pytest.raises(ConnectionRefusedError):
            Wire(adapter.port)
        lines = []
        while chunk := busy.chunk():
            lines.append(json.loads(chunk))
        assert lines[-1]["done"] is True
        assert busy.is_closed()
    assert adapter.event("stopped")["cut"] == 0
    assert adapter.exit_code() == 0


def test_a_connection_made_before_the_end_gets_its_first_request_answered(start_adapter: Start) -> None:
    adapter = start_adapter()
    with Wire(adapter.port) as late, Wire(adapter.port) as idle:
        idle.send(b"GET / HTTP/1.1\r\nHost: x.local\r\n\r\n")  # taken after the other: so that one is taken too
        idle.answer()
        adapter.terminate()
        adapter.event("draining")
        late.send(b"GET / HTTP/1.1\r\nHost: x.local\r\n\r\n")
        answer = late.answer()
        assert (answer.status_line[9:12], answer.header("connection")) == ("200", ["close"])
    assert adapter.exit_code() == 0


def test_a_kept_connection_is_told_with_its_next_answer_that_it_was_the_last(start_adapter: Start) -> None:
    adapter = start_adapter()
    with Wire(adapter.port) as kept:
        kept.send(b"GET / HTTP/1.1\r\nHost: x.local\r\n\r\n")
        assert kept.answer().header("connection") == []
        adapter.terminate()
        adapter.event("draining")
        kept.send(b"GET / HTTP/1.1\r\nHost: x.local\r\n\r\n")
        answer = kept.answer()
        assert (answer.status_line[9:12], answer.header("connection")) == ("200", ["close"])
        assert kept.is_closed()
    assert adapter.exit_code() == 0


def test_a_connection_on_which_nothing_ever_comes_does_not_hold_up_the_end(start_adapter: Start) -> None:
    adapter = start_adapter(server={"drain_timeout_s": 3600})
    with Wire(adapter.port) as silent:
        adapter.terminate()
        assert silent.is_closed()
    assert adapter.exit_code() == 0


def test_an_answer_given_while_draining_closes_its_connection(start_adapter: Start, vllm: VllmStandIn) -> None:
    adapter = start_adapter()
    vllm.behaviour = Behaviour(delay_s=0.5)
    with Wire(adapter.port) as wire:
        wire.send(request("/api/chat", {**STREAM, "stream": False}))
        adapter.terminate()
        answer = wire.answer("POST")
        assert (answer.status_line[9:12], answer.header("connection")) == ("200", ["close"])
    assert adapter.exit_code() == 0


def test_a_stream_that_outlasts_the_drain_is_told(
    start_adapter: Start, vllm: VllmStandIn, eventually: Eventually
) -> None:
    adapter = start_adapter(server={"drain_timeout_s": 0.3})
    vllm.behaviour = Behaviour(delay_s=0.05, repeat=1000)
    gone = vllm.gone
    with Wire(adapter.port) as wire:
        wire.send(request("/api/chat", STREAM))
        wire.head()
        wire.chunk()
        adapter.terminate()
        lines = []
        while chunk := wire.chunk():
            lines.append(json.loads(chunk))
        assert lines[-1] == {"error": "the server is shutting down"}
    assert adapter.event("stopped")["cut"] == 1
    assert adapter.exit_code() == 0
    eventually(lambda: vllm.gone == gone + 1)


def test_a_process_without_work_ends_at_once_on_either_signal(start_adapter: Start) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        adapter = start_adapter(server={"drain_timeout_s": 600})
        adapter.process.send_signal(number)
        assert adapter.exit_code() == 0


@pytest.mark.parametrize("processes", [1, 2])
def test_a_socket_from_systemd_outlives_the_process(vllm: VllmStandIn, tmp_path: Path, processes: int) -> None:
    settings = {"url": vllm.url, "aliases": ["llama2"], "context_length": 2048}
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        command = (sys.executable, "-c", HAND_OVER, str(listening.fileno()))
        arguments = {
            "command": command, "pass_fds": (listening.fileno(),), "vllm": settings, "server": {"processes": processes},
        }  # fmt: skip
        with AdapterProcess(tmp_path, **arguments) as first:  # type: ignore[arg-type]
            assert first.port == port
            assert get(port, "/").body == "Ollama is running"
            vllm.behaviour = Behaviour(delay_s=0.1)
            with Wire(port) as busy:
                busy.send(request("/api/chat", STREAM))
                busy.head()
                first.terminate()
                first.event("draining")
                with Wire(port) as waiting:  # nobody accepts, yet the connection is not refused
                    waiting.send(b"GET /api/version HTTP/1.1\r\nHost: x.local\r\n\r\n")
                    assert busy.chunk()
                    assert first.exit_code() == 0
                    with AdapterProcess(tmp_path, **arguments):  # type: ignore[arg-type]
                        assert waiting.answer().status_line == "HTTP/1.1 200 OK"


@pytest.mark.parametrize(("address", "status"), [("0.0.0.0", "200"), ("127.0.0.1", "403")])
def test_a_socket_for_all_addresses_is_answered_under_every_name(tmp_path: Path, address: str, status: str) -> None:
    with socket.create_server((address, 0)) as listening:
        command = (sys.executable, "-c", HAND_OVER, str(listening.fileno()))
        with AdapterProcess(tmp_path, command=command, pass_fds=(listening.fileno(),)) as adapter:
            answer = ask(adapter.port, b"GET /api/version HTTP/1.1\r\nHost: gpu-01.example:11434\r\n\r\n")
            assert answer.status_line[9:12] == status


@pytest.mark.parametrize("processes", [1, 2])
def test_systemd_is_told_of_readiness_life_and_end(vllm: VllmStandIn, tmp_path: Path, processes: int) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(path)
        receiver.settimeout(30)
        extra = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "600000"}
        settings = {"url": vllm.url, "aliases": ["llama2"]}
        server = {"processes": processes}
        with AdapterProcess(tmp_path, extra_environment=extra, vllm=settings, server=server) as adapter:
            while not (message := receiver.recv(1000)).startswith(b"READY=1\n"):
                assert message == b"WATCHDOG=1"
            assert [receiver.recv(1000) for _ in range(3)] == [b"WATCHDOG=1"] * 3
            adapter.terminate()
            while not (message := receiver.recv(1000)).startswith(b"STOPPING=1"):
                assert message == b"WATCHDOG=1"
            assert adapter.exit_code() == 0


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "ollama_adapter", *arguments)
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60, check=False)


def test_a_port_that_is_taken_is_exit_code_1_and_says_how_to_find_the_owner() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("--port", str(port))
    assert ended.returncode == 1
    assert f"cannot serve on 127.0.0.1:{port}" in ended.stderr
    assert f"ss -ltnp 'sport = :{port}'" in ended.stderr


def test_help_teaches_and_wrong_settings_are_exit_code_2(tmp_path: Path) -> None:
    assert "OLLAMA_ADAPTER_VLLM_URL=" in run("--help").stdout
    (tmp_path / "a.toml").write_text("[vllm]\nurll = 1\n", encoding="utf-8")
    ended = run("--config", str(tmp_path / "a.toml"))
    assert ended.returncode == 2
    assert "vllm.urll: unknown setting; did you mean vllm.url?" in ended.stderr


def test_host_and_port_of_the_command_line_win(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = (sys.executable, "-m", "ollama_adapter", "--host", "127.0.0.1", "--port", str(port))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["addresses"] == [f"127.0.0.1:{port}"]
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(60) == 0
