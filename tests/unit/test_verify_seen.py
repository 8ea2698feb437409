"""What verify reads on a host, parsed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from roles.nvidia.settings import NvidiaSettings
from tests.verify.seen import (
    Owner,
    addresses_of,
    comparable,
    differences,
    owners_command,
    packages_of_driver,
    parse_listeners,
    parse_owners,
    parse_units,
    secret_command,
)
from tests.verify.web import Answer, is_any, parse_answer, url_of

SS = """\
LISTEN 0 1024    0.0.0.0:11434 0.0.0.0:* users:(("python",pid=4604,fd=3),("systemd",pid=1,fd=39))
LISTEN 0 4096  127.0.1.1:38379 0.0.0.0:* users:(("VLLM::EngineCor",pid=3262,fd=27))
LISTEN 0 128   127.0.0.53%lo:53 0.0.0.0:*
LISTEN 0 128        [::]:22      [::]:* users:(("sshd",pid=44,fd=4))
LISTEN 0 4096          *:9100       *:* users:(("node_exporter",pid=7,fd=3))
LISTEN 0 50  [::ffff:127.0.0.1]:7474 *:* users:(("java",pid=8,fd=3))
"""


def test_a_listener_has_an_address_a_port_and_all_its_holders() -> None:
    first = parse_listeners(SS)[0]
    assert (first.address, first.port, first.programs) == ("0.0.0.0", 11434, {4604: "python", 1: "systemd"})
    assert str(first) == "0.0.0.0:11434 (python, systemd)"


def test_loopback_is_every_address_of_it_in_every_spelling() -> None:
    assert [item.port for item in parse_listeners(SS) if item.beyond_loopback] == [11434, 22, 9100]


def test_the_wildcard_of_gos_servers_is_the_one_that_the_settings_write() -> None:
    text = """\
LISTEN 0 4096          *:11435      *:* users:(("ollama",pid=7,fd=3))
LISTEN 0 4096       [::]:3001    [::]:* users:(("grafana",pid=8,fd=3))
LISTEN 0 4096    0.0.0.0:3001 0.0.0.0:* users:(("grafana",pid=8,fd=4))
LISTEN 0 4096      [::1]:8000    [::]:* users:(("vllm",pid=9,fd=3))
"""
    seen = parse_listeners(text)
    assert [addresses_of(port, seen) for port in (11435, 3001, 8000, 9090)] == [["0.0.0.0"], ["0.0.0.0"], ["::1"], []]
    assert [comparable(address) for address in ("0.0.0.0", "::", "127.0.0.1")] == ["0.0.0.0", "0.0.0.0", "127.0.0.1"]


def test_sockets_of_udp_are_read_alike() -> None:
    text = 'UNCONN 0 0 0.0.0.0:68 0.0.0.0:* users:(("dhclient",pid=9,fd=7))\nUNCONN 0 0 127.0.0.1%lo:323 0.0.0.0:*\n'
    assert [(item.port, item.beyond_loopback) for item in parse_listeners(text)] == [(68, True), (323, False)]


def test_a_listener_whose_holder_is_not_seen_says_so() -> None:
    assert str(parse_listeners(SS)[2]) == "127.0.0.53:53 (no process)"


def test_units_are_told_apart_by_the_empty_line_and_values_may_hold_equals_signs() -> None:
    units = parse_units("Id=a.service\nEnvironment=A=1 B=2\nDropInPaths=\n\nId=b.target\nActiveState=active\n")
    assert units["a.service"] == {"Id": "a.service", "Environment": "A=1 B=2", "DropInPaths": ""}
    assert units["b.target"]["ActiveState"] == "active"


def test_a_secret_is_found_in_files_units_and_processes_and_its_own_place_is_left_out(tmp_path: Path) -> None:
    secret = tmp_path / "etc/credentials/token"
    secret.parent.mkdir(parents=True)
    secret.write_text("a-very-secret-token\n")
    (tmp_path / "etc/other.conf").write_text("token = a-very-secret-token\n")
    (tmp_path / "etc/clean.conf").write_text("token = \n")
    # The main process of prometheus.service has it in its environment, that of the timer does not exist.
    with subprocess.Popen(["sleep", "60"], env={"TOKEN": "a-very-secret-token", "PATH": os.environ["PATH"]}) as process:
        systemctl = tmp_path / "systemctl"
        systemctl.write_text(
            "#!/bin/sh\n"
            f'case "$*" in "show -P MainPID -- a.timer prometheus.service") echo 0; echo; echo {process.pid};;\n'
            '"show vllm.service") echo Environment=T=a-very-secret-token;;\n'
            '"show prometheus.service") echo Id=x;; *) exit 9;; esac\n'
        )
        systemctl.chmod(0o755)
        command = secret_command(
            str(secret),
            [str(tmp_path / "etc")],
            ["vllm.service", "prometheus.service"],
            ["prometheus.service", "a.timer"],
        )
        path = f"{tmp_path}:{os.environ['PATH']}"
        found = subprocess.run(["sh", "-c", command], env={"PATH": path}, capture_output=True, text=True, check=True)
        process.terminate()
    assert found.stdout.splitlines() == [
        str(tmp_path / "etc/other.conf"),
        "systemctl show vllm.service",
        f"/proc/{process.pid}/environ",
    ]


def test_a_process_belongs_to_the_innermost_unit_of_its_control_group() -> None:
    deep = "0::/user.slice/user-0.slice/user@0.service/app.slice/x.service"
    text = f"7 999 0::/system.slice/vllm.service\n8 1000 {deep}\n1 0 0::/init.scope\n"
    assert parse_owners(text) == {
        7: Owner(999, "vllm.service"),
        8: Owner(1000, "x.service"),
        1: Owner(0, "init.scope"),
    }


def test_the_command_for_owners_names_each_process_once() -> None:
    assert owners_command([7, 3, 7]).startswith("for p in 3 7; do ")


@pytest.mark.parametrize(
    ("os_release", "branch", "expected"),
    [
        (
            'ID=debian\nVERSION_ID="12"\n',
            "580",
            ("nvidia-kernel-open-dkms", "nvidia-driver-cuda", "nvidia-persistenced"),
        ),
        ('NAME="Ubuntu"\nID=ubuntu\n', "580", ("nvidia-headless-580-open", "nvidia-utils-580")),
        ('ID="ubuntu"\n', "595", ("nvidia-headless-open", "nvidia-utils")),
    ],
)
def test_the_drivers_packages_are_those_of_the_distribution_with_the_fabric_managers(
    os_release: str, branch: str, expected: tuple[str, ...]
) -> None:
    card, switch = "0000:17:00.0 0x10de 0x2330 0x030200 nvidia", "0000:05:00.0 0x10de 0x22a3 0x068000"
    settings = NvidiaSettings(branch=branch)
    assert packages_of_driver(os_release, card, settings) == expected
    fabric = ("nvidia-fabricmanager", "libnvidia-nscq")
    assert packages_of_driver(os_release, f"{card}\n{switch}", settings) == (*expected, *fabric)


def test_only_what_differs_is_reported_with_both_values() -> None:
    assert differences({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 9}) == [
        "b: expected 2, seen 9",
        "c: expected 3, seen nothing",
    ]


def test_an_answer_is_taken_apart_and_an_interim_one_is_skipped() -> None:
    text = 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\n\r\n{"error":"x"}\r\n\r\n'
    answer = parse_answer("gpu-01", "POST http://h/x", text)
    assert (answer.status, answer.content_type) == (404, "application/json")
    assert answer.json(status=404) == {"error": "x"}
    assert answer.said.startswith('gpu-01: POST http://h/x answered 404: {"error":"x"}')


def test_a_failure_names_host_question_answer_and_what_was_expected() -> None:
    answer = Answer("gpu-01", "GET http://127.0.0.1:8000/health", 0, "", "connection refused")
    with pytest.raises(pytest.fail.Exception) as failure:
        answer.json()
    assert str(failure.value) == (
        "gpu-01: GET http://127.0.0.1:8000/health got no answer: connection refused\n  expected: 200 with JSON"
    )


@pytest.mark.parametrize("body", ['{"done": true}\n', "", "no json\nat all\n"])
def test_one_frame_or_none_is_no_stream(body: str) -> None:
    with pytest.raises(pytest.fail.Exception, match="lines of JSON"):
        Answer("gpu-01", "POST /api/generate", 200, "application/x-ndjson", body).frames()


def test_frames_are_the_lines_of_a_stream() -> None:
    body = '{"response": "a", "done": false}\n{"response": "", "done": true}\n'
    frames = Answer("gpu-01", "POST /api/generate", 200, "application/x-ndjson", body).frames()
    assert [frame["done"] for frame in frames] == [False, True]


def test_a_url_takes_both_families() -> None:
    assert (url_of("10.0.0.7", 1), url_of("::1", 2)) == ("http://10.0.0.7:1", "http://[::1]:2")
    assert (is_any("0.0.0.0"), is_any("::"), is_any("10.0.0.7")) == (True, True, False)
