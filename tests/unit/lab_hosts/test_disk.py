"""A host's disk as files: the spec, the upper layer, the packages that hosts share, and the locks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab import apt_archives, subnets
from lab.clone import Clone, Spec
from lab.errors import LabError
from lab.locking import locked, try_lock
from lab.naming import Names
from lab.paths import HostPaths
from lab.ssh import ensure_key, remember_host_key

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    host = HostPaths(tmp_path / "host")
    host.upper.mkdir(parents=True)
    return host


@pytest.fixture
def clone(tmp_path: Path, paths: HostPaths) -> Clone:
    (tmp_path / "base/usr").mkdir(parents=True)
    (tmp_path / "base/root").mkdir(mode=0o700)
    return Clone(Spec("gpu1", 11, str(tmp_path / "base")), paths)


def test_a_spec_comes_back_as_it_was_saved(paths: HostPaths) -> None:
    spec = Spec("gpu1", 11, "/base", ("/a:/b:ro",), 1 << 30)
    assert Spec.load(paths) is None
    spec.save(paths)
    assert Spec.load(paths) == spec


def test_a_directory_of_the_upper_layer_has_the_mode_of_the_base(clone: Clone, paths: HostPaths) -> None:
    clone.write("root/.profile", "x")
    assert (paths.upper / "root").stat().st_mode & 0o777 == 0o700


def test_a_secret_is_written_with_its_mode(clone: Clone, paths: HostPaths) -> None:
    clone.write("root/key", "x", 0o600)
    assert (paths.upper / "root/key").stat().st_mode & 0o777 == 0o600


def test_a_host_whose_base_is_gone_says_what_to_do(paths: HostPaths) -> None:
    with pytest.raises(LabError, match="python -m lab destroy gpu1 && python -m lab up gpu1"):
        Clone(Spec("gpu1", 11, "/nowhere"), paths)


def test_packages_are_linked_whole_and_only_once(tmp_path: Path) -> None:
    archives, cache = tmp_path / "archives", tmp_path / "cache"
    (archives / "partial").mkdir(parents=True)
    (archives / "tree_2.deb").write_bytes(b"deb")
    (archives / "partial/half.deb").write_bytes(b"d")
    assert apt_archives.harvest(archives, cache) == 1
    assert apt_archives.harvest(archives, cache) == 0
    assert [p.name for p in apt_archives.directory(cache).iterdir()] == ["tree_2.deb"]
    assert apt_archives.seed(cache, tmp_path / "other") == 1
    assert (tmp_path / "other/tree_2.deb").read_bytes() == b"deb"


def test_a_link_that_a_guest_put_among_its_packages_is_not_followed(tmp_path: Path) -> None:
    archives = tmp_path / "archives"
    archives.mkdir()
    (archives / "evil.deb").symlink_to("/etc/passwd")
    assert apt_archives.harvest(archives, tmp_path / "cache") == 0


def test_a_host_that_got_a_new_key_has_only_that_one_on_record(tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    remember_host_key(known, "10.231.0.11", "ssh-ed25519 OLD root@gpu1\n")
    remember_host_key(known, "10.231.0.111", "ssh-ed25519 OTHER root@gpu2\n")
    remember_host_key(known, "10.231.0.11", "ssh-ed25519 NEW root@gpu1\n")
    assert known.read_text() == "10.231.0.111 ssh-ed25519 OTHER\n10.231.0.11 ssh-ed25519 NEW\n"


def test_half_a_key_pair_is_made_anew_and_a_whole_one_is_kept(tmp_path: Path) -> None:
    private = tmp_path / "id_ed25519"
    first = ensure_key(private)
    assert ensure_key(private) == first
    assert private.stat().st_mode & 0o777 == 0o600
    private.unlink()
    second = ensure_key(private)
    assert second != first
    derived = subprocess.run(["ssh-keygen", "-y", "-f", str(private)], capture_output=True, text=True, check=True)
    assert derived.stdout.split()[:2] == second.split()[:2]


def test_a_lock_that_is_held_is_waited_for_and_the_error_names_the_holder(tmp_path: Path) -> None:
    told: list[str] = []
    with (
        locked(tmp_path / "lock", "up"),
        pytest.raises(LabError, match=f"process {os.getpid()}"),
        locked(tmp_path / "lock", "up", told.append, timeout_s=0),
    ):
        pass
    with locked(tmp_path / "lock", "up", told.append, timeout_s=0):
        pass
    assert told == []


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from lab.locking import try_lock\n"
        "assert try_lock(Path(sys.argv[1])) is not None; print('held', flush=True); time.sleep(600)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "lock")], stdout=subprocess.PIPE, cwd=CHECKOUT
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert try_lock(tmp_path / "lock") is None
        holder.kill()
    handle = try_lock(tmp_path / "lock")
    assert handle is not None
    os.close(handle)


def test_two_labs_claim_two_subnets_and_keep_them(tmp_path: Path) -> None:
    one, two = Names("00000007"), Names("10000007")  # both would begin at 7
    for names in (one, two):
        (tmp_path / names.lab_id).mkdir()
    assert subnets.claim(tmp_path, one, tmp_path, []) == 7
    assert subnets.claim(tmp_path, two, tmp_path, []) == 8
    assert subnets.claim(tmp_path, one, tmp_path, []) == 7
    subnets.release(tmp_path, one.lab_id)
    assert subnets.claimed_by(tmp_path, one.lab_id) is None
    assert subnets.claimed_by(tmp_path, two.lab_id) == 8


def test_a_claim_of_a_lab_whose_directory_is_gone_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "00000007").mkdir()
    assert subnets.claim(tmp_path, Names("00000007"), tmp_path, []) == 7
    (tmp_path / "00000007").rmdir()
    assert subnets.claim(tmp_path, Names("10000007"), tmp_path, []) == 7
