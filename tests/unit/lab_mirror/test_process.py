"""The mirror as a process: started once, found again, replaced, stopped, and never confused with another."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lab.mirror import MirrorError, Ports, ensure_running, process, status, stop
from lab.mirror.__main__ import main
from lab.mirror.sites import Content

FREE = Ports(0, 0, 0)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "state"
    yield folder
    stop(folder)


def is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.start_time(pid) is None:
            return True
        time.sleep(0.02)
    return False


def test_a_second_call_finds_the_running_mirror(state: Path, content: Content) -> None:
    first = ensure_running("127.0.0.1", state, ports=FREE, content=content)
    assert ensure_running("127.0.0.1", state, ports=FREE, content=content) == first
    assert ensure_running("127.0.0.1", state, content=content) == first
    assert status(state) == first


def test_every_address_answers(state: Path, content: Content) -> None:
    mirrors = ensure_running("127.0.0.1", state, ports=FREE, content=content)
    for url, text in {
        mirrors.python_index_url: b"lab-sample",
        f"{mirrors.hub_endpoint}/api/models/lab/tiny": b'"id":"lab/tiny"',
        f"{mirrors.ollama_registry}/v2/library/llava/manifests/7b": b"vnd.ollama.image.projector",
        f"{mirrors.ollama_releases}/v1/archive.tar.zst": bytes(range(256)),
    }.items():
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert text in answer.read()


def test_a_killed_mirror_is_started_again(state: Path, content: Content) -> None:
    first = ensure_running("127.0.0.1", state, ports=FREE, content=content)
    os.kill(first.pid, signal.SIGKILL)
    os.waitpid(first.pid, 0)
    assert status(state) is None
    second = ensure_running("127.0.0.1", state, ports=FREE, content=content)
    assert second.pid != first.pid


def test_other_content_replaces_the_running_mirror(state: Path, content: Content) -> None:
    first = ensure_running("127.0.0.1", state, ports=FREE, content=content)
    second = ensure_running("127.0.0.1", state, ports=FREE, content=replace(content, wheels=()))
    assert second.pid != first.pid
    assert is_gone(first.pid)


def test_stop_ends_it_and_a_second_stop_has_nothing_to_do(state: Path, content: Content) -> None:
    running = ensure_running("127.0.0.1", state, ports=FREE, content=content)
    assert stop(state)
    assert is_gone(running.pid)
    assert not stop(state)
    assert status(state) is None


def test_a_process_that_got_the_old_number_is_neither_taken_for_the_mirror_nor_killed(
    state: Path, content: Content
) -> None:
    ensure_running("127.0.0.1", state, ports=FREE, content=content)
    record = json.loads((state / process.RECORD).read_text())
    stop(state)
    record["pid"] = os.getpid()  # alive, but started at another moment
    (state / process.RECORD).write_text(json.dumps(record))
    assert status(state) is None
    assert not stop(state)


def test_a_torn_record_counts_as_none(state: Path, content: Content) -> None:
    state.mkdir()
    (state / process.RECORD).write_text('{"pid": 1')
    assert status(state) is None
    assert ensure_running("127.0.0.1", state, ports=FREE, content=content).pid


def test_two_mirrors_do_not_know_each_other(tmp_path: Path, state: Path, content: Content) -> None:
    other = tmp_path / "other"
    first = ensure_running("127.0.0.1", state, ports=FREE, content=content)
    second = ensure_running("127.0.0.1", other, ports=FREE, content=content)
    assert stop(other)
    assert is_gone(second.pid)
    assert status(state) == first


def test_a_port_that_is_taken_is_named(state: Path, content: Content) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            MirrorError, match=rf"cannot listen on 127.0.0.1 port {port} \(hub\): Address already in use"
        ):
            ensure_running("127.0.0.1", state, ports=Ports(0, port, 0), content=content)
    assert status(state) is None


def test_the_command_line_tells_where_the_mirror_is(
    state: Path, content: Content, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["urls", "--state", str(state)]) == 3
    mirrors = ensure_running("127.0.0.1", state, ports=FREE, content=content)
    capsys.readouterr()
    assert main(["urls", "--state", str(state), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["hub_endpoint"] == mirrors.hub_endpoint
    assert main(["status", "--state", str(state)]) == 0
    assert main(["stop", "--state", str(state)]) == 0
    assert main(["status", "--state", str(state)]) == 3


def test_content_survives_the_way_through_text(content: Content) -> None:
    assert Content.from_json(content.to_json()) == content
