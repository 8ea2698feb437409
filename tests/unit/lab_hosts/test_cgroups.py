"""Reading cgroup mounts of the three kinds of machine there are."""

from __future__ import annotations

from pathlib import Path

from lab.cgroups import is_v2_only, parse

V1 = """\
30 25 0:26 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
31 25 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
32 25 0:28 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
33 25 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
V2 = "30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_v1_controllers_are_found_where_they_are_mounted_each_at_its_own_path() -> None:
    found = parse(V1, "4:memory:/session/1\n9:name=systemd:/\n1:cpu:/\n7:freezer:/\n0::/\n")
    assert {str(h.own) for h in found} == {
        "/sys/fs/cgroup/memory/session/1",
        "/sys/fs/cgroup/systemd",
        "/sys/fs/cgroup/cpu",
        "/sys/fs/cgroup/unified",
    }
    assert not is_v2_only(found)


def test_v2_alone_is_recognised() -> None:
    found = parse(V2, "0::/user.slice/user-0.slice/session-1.scope\n")
    assert [h.own for h in found] == [Path("/sys/fs/cgroup/user.slice/user-0.slice/session-1.scope")]
    assert is_v2_only(found)


def test_controllers_mounted_together_are_one_hierarchy_in_either_order() -> None:
    mounts = "30 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    assert [h.own for h in parse(mounts, "3:cpuacct,cpu:/a\n")] == [Path("/sys/fs/cgroup/cpu,cpuacct/a")]


def test_inside_a_container_the_path_is_taken_relative_to_what_is_mounted() -> None:
    mounts = "30 25 0:26 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    assert [h.own for h in parse(mounts, "3:memory:/docker/abc/x\n")] == [Path("/sys/fs/cgroup/memory/x")]


def test_a_machine_without_cgroups_has_none() -> None:
    assert parse("", "0::/\n") == []
    assert not is_v2_only([])
