"""When a base system is stale, and which ones may go. No base is built here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lab import base
from lab.base import Bases, base_key
from lab.machine import Distribution, choose_resolv_conf
from lab.progress import silent

DISTRIBUTION = Distribution("bookworm", "Types: deb\n", {"/etc/ca.crt": b"one"}, "")


def test_equal_inputs_have_equal_keys() -> None:
    assert base_key(DISTRIBUTION) == base_key(replace(DISTRIBUTION, files=dict(DISTRIBUTION.files)))


@pytest.mark.parametrize(
    "other",
    [
        replace(DISTRIBUTION, suite="trixie"),
        replace(DISTRIBUTION, sources="Types: deb\nURIs: http://m.example\n"),
        replace(DISTRIBUTION, files={"/etc/ca.crt": b"two"}),
        replace(DISTRIBUTION, files={"/etc/other.crt": b"one"}),
        replace(DISTRIBUTION, apt_settings='Acquire::Check-Date "false";'),
    ],
)
def test_any_input_that_changes_makes_the_base_stale(other: Distribution) -> None:
    assert base_key(other) != base_key(DISTRIBUTION)


@pytest.mark.parametrize(("name", "value"), [("RECIPE_VERSION", -1), ("PACKAGES", ("systemd",))])
def test_a_new_recipe_makes_the_base_stale(name: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    before = base_key(DISTRIBUTION)
    monkeypatch.setattr(base, name, value)
    assert base_key(DISTRIBUTION) != before


def make_base(cache: Path, name: str, user: Path | None = None) -> Path:
    made = cache / "bases" / name
    made.mkdir(parents=True)
    if user is not None:
        users = made.with_name(f"{name}.users")
        users.mkdir()
        (users / "note").write_text(str(user))
    return made


def test_old_bases_go_unless_a_host_still_stands_on_them(tmp_path: Path) -> None:
    host = tmp_path / "hosts/gpu1"
    host.mkdir(parents=True)
    unused, abandoned = make_base(tmp_path, "aaa.1"), make_base(tmp_path, "bbb.2", tmp_path / "hosts/gone")
    used, newest = make_base(tmp_path, "aaa.3", host), make_base(tmp_path, "ccc.4")
    Bases(tmp_path, silent).remove_unused(keep=newest)
    assert [base.exists() for base in (unused, abandoned, used, newest)] == [False, False, True, True]
    assert not abandoned.with_name("bbb.2.users").exists()


def test_what_an_interrupted_build_left_is_removed_and_finished_bases_are_not(tmp_path: Path) -> None:
    finished = make_base(tmp_path, "aaa.1")
    (tmp_path / "bases/.build/root/usr").mkdir(parents=True)
    Bases(tmp_path, silent).clean_up()
    assert not (tmp_path / "bases/.build").exists()
    assert finished.exists()


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        (["nameserver 10.0.0.53\nsearch corp\n"], "nameserver 10.0.0.53\nsearch corp\n"),
        (["nameserver 127.0.0.53\n", "nameserver 192.168.1.1\n"], "nameserver 192.168.1.1\n"),
        (["nameserver 127.0.0.1\nnameserver 10.0.0.53\n"], "nameserver 10.0.0.53\n"),
        (["nameserver ::1\n"], ""),
        (["nameserver fe80::1%eth0\n"], "nameserver fe80::1%eth0\n"),
        ([], ""),
    ],
)
def test_hosts_get_a_name_server_they_can_reach(candidates: list[str], expected: str) -> None:
    assert choose_resolv_conf(candidates) == expected
