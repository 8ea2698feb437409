"""What `python -m lab` says: help that teaches, refusals with cause and remedy, tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab import cli, support
from lab.clone import Spec
from lab.listening import parse as parse_listening
from lab.paths import HostPaths
from lab.supervisor import nspawn_command

COMMANDS = ["up", "down", "ssh", "cut", "reboot", "partition", "heal", "destroy", "status", "wait", "logs", "doctor"]


@pytest.fixture(autouse=True)
def empty_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_LAB_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("LLM_LAB_CACHE", str(tmp_path / "cache"))


def test_the_help_names_every_command_and_where_to_begin() -> None:
    text = cli.parser().format_help()
    assert all(f"  {command}" in text for command in COMMANDS)
    assert "python -m lab up gpu1 gpu2" in text
    assert "python -m lab destroy --all" in text


def test_every_command_in_the_help_is_one_that_runs() -> None:
    assert all(callable(getattr(cli, f"{command}_command")) for command in COMMANDS)


def test_status_without_a_lab_says_how_to_get_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status"]) == 0
    assert capsys.readouterr().out == "no hosts; python -m lab up gpu1\n"


def test_status_for_programs_is_json_even_without_a_lab(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["hosts"] == []


@pytest.mark.parametrize("command", [["ssh", "gpu9"], ["cut", "gpu9"], ["logs", "gpu9"], ["partition", "gpu9"]])
def test_a_host_that_does_not_exist_is_named_with_the_next_command(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(command) == 1
    assert capsys.readouterr().err == ("lab: host 'gpu9': this lab has no such host\n  next: python -m lab up gpu9\n")


def test_destroy_without_a_name_destroys_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["destroy"]) == 1
    assert "destroy --all" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "size"), [("1000", 1000), ("512M", 512 << 20), ("2G", 2 << 30), ("2gib", 2 << 30)])
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert cli.size_in_bytes(text) == size


@pytest.mark.parametrize("text", ["", "2X", "-1G", "1.5G"])
def test_what_is_no_size_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.parser().parse_args(["up", "gpu1", f"--memory={text}"])
    assert "is not a size" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "shown"), [(42.9, "42s"), (185, "3m 5s"), (7200, "2h 0m"), (273600, "3d 4h")])
def test_an_uptime_is_shown_in_its_two_largest_units(seconds: float, shown: str) -> None:
    assert cli.duration(seconds) == shown


def test_the_table_shows_services_and_not_what_their_processes_use_among_themselves() -> None:
    host = {"name": "gpu1", "state": "running", "address": "10.231.0.11", "uptime_s": 5.0}
    shown = cli.table(
        [{**host, "listening": ["22", "11434", "127.0.0.1:8000", "127.0.0.1:34335", "::1:40000", "40000"]}]
    )
    assert shown.splitlines()[1].split("  ")[-1] == "22 11434 127.0.0.1:8000 40000"


def test_a_user_who_is_not_root_is_told_to_use_sudo() -> None:
    assert support.user_failure("linux", 1000) == (
        "it makes namespaces and a bridge, which only root may",
        "sudo python3 -m lab doctor",
    )
    assert support.user_failure("linux", 0) is None


def test_a_machine_that_is_not_linux_is_told_so() -> None:
    failure = support.user_failure("darwin", 0)
    assert failure is not None
    assert failure[0] == "it needs Linux, and this is darwin"


def test_missing_tools_are_answered_with_the_line_that_installs_them(tmp_path: Path) -> None:
    for tool in support.TOOLS.keys() - {"nft", "mmdebstrap"}:
        (tmp_path / tool).touch(mode=0o755)
    assert support.tools_failure(str(tmp_path)) == (
        "packages are missing: mmdebstrap, nftables",
        "apt-get update && apt-get install -y --no-install-recommends mmdebstrap nftables",
    )


def test_a_full_disk_is_reported_with_the_variable_that_moves_the_lab() -> None:
    failure = support.room_failure(disk_bytes=1 << 60, memory_bytes=0)
    assert failure is not None
    assert failure[1] == "make room, or set LLM_LAB_STATE"


def test_too_little_memory_is_reported() -> None:
    failure = support.room_failure(disk_bytes=0, memory_bytes=1 << 60)
    assert failure is not None
    assert "of memory are free" in failure[0]


def test_available_memory_is_read_from_meminfo() -> None:
    assert support.memory_available_bytes("MemTotal: 9 kB\nMemAvailable:   2048 kB\n") == 2 << 20


def test_listening_ports_are_read_from_proc() -> None:
    header = "  sl  local_address rem_address   st\n"
    tcp = "   0: 0100007F:1F40 00000000:0000 0A 0\n   1: 0BE70A0A:0016 01E70A0A:C350 01 0\n"
    tcp6 = (
        "   0: 00000000000000000000000000000000:2CAA 0:0 0A 0\n   1: 00000000000000000000000001000000:0016 0:0 0A 0\n"
    )
    assert parse_listening(header + tcp) == [("127.0.0.1", 8000)]
    assert parse_listening(header + tcp6) == [("::", 11434), ("::1", 22)]


def test_a_guest_gets_no_power_over_the_clock_and_no_device_of_the_machine(tmp_path: Path) -> None:
    spec = Spec("gpu1", 11, "/base", ("/data:/data:ro", "/models"))
    command = nspawn_command(spec, HostPaths(tmp_path), "llm-0a-gpu1", v2_only=False)
    assert "--drop-capability=CAP_SYS_TIME" in command
    assert [word for word in command if word.startswith("--capability")] == ["--capability=CAP_NET_ADMIN"]
    assert [word for word in command if word.startswith("--bind")] == [
        f"--bind={tmp_path}/docker:/var/lib/docker",
        "--bind-ro=/data:/data",
        "--bind=/models",
    ]
