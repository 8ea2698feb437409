"""What the lab promises of its hosts, on real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import Host, Lab, UnknownHost, cgroups, network, processes
from lab.base import Bases
from lab.progress import silent
from lab.shell import run

CHECKOUT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def pair(lab: Lab) -> list[Host]:
    """Two hosts that most tests share; a test leaves them running and whole."""
    return lab.up(["t-a", "t-b"])


@pytest.fixture
def a(pair: list[Host]) -> Iterator[Host]:
    yield pair[0]
    pair[0].lab.up([pair[0].name])


@pytest.fixture
def b(pair: list[Host]) -> Host:
    return pair[1]


def can_ping(source: Host, target: str) -> bool:
    return source.ssh(["ping", "-c1", "-W1", target], check=False).returncode == 0


def traces(lab: Lab) -> list[str]:
    """Everything on this machine that carries the lab's name, seen with the bare tools."""
    prefix, lab_id = lab.names.prefix, lab.names.lab_id
    found = [line for line in run("ip", "-o", "link").stdout.splitlines() if lab_id in line]
    found += [line for line in run("ip", "netns", "list").stdout.splitlines() if lab_id in line]
    found += [line for line in run("nft", "list", "ruleset").stdout.splitlines() if lab_id in line]
    found += [line for line in run("ip", "route", "show", "table", "all").stdout.splitlines() if lab_id in line]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            mounts = (process / "mountinfo").read_text(errors="replace")
            command = (process / "cmdline").read_bytes().decode(errors="replace")
            groups = (process / "cgroup").read_text()
        except OSError:
            continue
        found += [f"{process}: {text}" for text in (*mounts.splitlines(), groups) if lab_id in text]
        found += [f"{process}: {command}"] if prefix in command else []
    found += [str(group) for group in cgroups.find(prefix)]
    found += [str(lab.directory)] if lab.directory.exists() else []
    found += [str(p) for p in (lab.state / "subnets").glob("*") if lab_id in p.read_text()]
    return found


def python_up(lab: Lab, name: str, suffix: str) -> subprocess.Popen[bytes]:
    """`up` in a process of its own, to be killed."""
    script = f"from lab import Lab; Lab.for_checkout({str(lab.checkout)!r}, suffix={suffix!r}).up([{name!r}])"
    return subprocess.Popen([sys.executable, "-c", script], cwd=CHECKOUT, stderr=subprocess.DEVNULL)


def test_a_new_host_has_booted_without_a_failed_unit(a: Host) -> None:
    assert a.ssh("systemctl is-system-running").stdout == "running\n"
    assert a.ssh("hostname").stdout == f"{a.name}\n"
    assert a.running
    assert a.listening == ["22"]


def test_two_hosts_reach_each_other_and_have_keys_and_machine_ids_of_their_own(a: Host, b: Host) -> None:
    assert can_ping(a, b.address)
    assert can_ping(b, a.address)
    for file in ("/etc/ssh/ssh_host_ed25519_key.pub", "/etc/machine-id"):
        assert a.ssh(["cut", "-d ", "-f1-2", file]).stdout != b.ssh(["cut", "-d ", "-f1-2", file]).stdout


def test_ssh_refuses_a_host_whose_key_is_not_the_one_the_lab_gave_it(a: Host, b: Host, tmp_path: Path) -> None:
    wrong = tmp_path / "known_hosts"
    lines = [line.split() for line in a.lab.known_hosts.read_text().splitlines()]
    key_of = {words[0]: words[1:] for words in lines}
    wrong.write_text(" ".join([a.address, *key_of[b.address]]) + "\n")
    options = [o.replace(str(a.lab.known_hosts), str(wrong)) for o in a.ssh_options]
    done = subprocess.run(["ssh", *options, f"root@{a.address}", "true"], capture_output=True, text=True, check=False)
    assert done.returncode == 255
    assert "verification failed" in done.stderr


def test_a_reboot_keeps_disk_and_address_and_is_a_new_boot(a: Host) -> None:
    address, boot = a.address, a.ssh("cat /run/boot-mark 2>/dev/null || date +%s%N | tee /run/boot-mark").stdout
    a.ssh("echo kept > /var/lib/mark")
    a.reboot()
    assert a.address == address
    assert a.ssh("cat /var/lib/mark").stdout == "kept\n"
    assert boot
    assert a.ssh("test -e /run/boot-mark", check=False).returncode == 1


def test_a_host_that_reboots_itself_comes_back(a: Host) -> None:
    before = a.leader_pid
    a.ssh("systemctl reboot", check=False)
    deadline = time.monotonic() + 120
    while a.leader_pid in (before, None) and time.monotonic() < deadline:
        time.sleep(0.1)
    a.wait_ready()
    assert a.leader_pid != before


def test_after_a_power_cut_the_host_comes_up_again_with_its_disk(a: Host, lab: Lab) -> None:
    a.ssh("echo kept > /var/lib/mark")
    a.cut()
    assert a.state == "off"
    assert not processes.of_host(a.tag)
    lab.up([a.name])
    assert a.ssh("cat /var/lib/mark").stdout == "kept\n"
    assert a.ssh("systemctl is-system-running", check=False).stdout.strip() in ("running", "starting")


def test_powering_off_is_orderly(a: Host, lab: Lab) -> None:
    a.down()
    assert a.state == "off"
    lab.up([a.name])
    journal = a.ssh("journalctl -b -1 --no-pager").stdout
    assert "Reached target poweroff.target" in journal


def test_up_leaves_a_running_host_alone(a: Host, lab: Lab) -> None:
    before = a.leader_pid
    lab.up([a.name])
    assert a.leader_pid == before


def test_a_partitioned_host_is_out_of_reach_until_it_is_healed(a: Host, b: Host) -> None:
    a.partition()
    assert a.state == "partitioned"
    assert not can_ping(b, a.address)
    with pytest.raises(Exception, match=a.name):
        a.ssh("true", timeout=20)
    a.heal()
    assert a.state == "running"
    assert can_ping(b, a.address)


@pytest.mark.parametrize(("one_way", "received"), [("in", False), ("out", True)])
def test_a_one_way_partition_drops_one_direction_only(a: Host, b: Host, one_way: str, received: bool) -> None:
    def arrived() -> int:
        leader = str(a.leader_pid)
        fields = Path("/proc", leader, "net/dev").read_text().split("eth0:")[1].split()
        return int(fields[1])

    b.ssh(f"ip neigh replace {a.address} lladdr $(ip neigh show {a.address} | cut -d' ' -f5) dev eth0 nud permanent")
    a.partition(one_way)
    assert a.state == f"partitioned ({one_way})"
    before = arrived()
    assert b.ssh(["ping", "-c5", "-i0.2", "-W1", a.address], check=False).returncode != 0
    assert (arrived() - before >= 5) is received
    a.heal()
    b.ssh(f"ip neigh del {a.address} dev eth0")
    assert can_ping(b, a.address)


def test_a_memory_limit_of_a_unit_is_enforced_in_the_guest(a: Host) -> None:
    hungry = "python3 -c 'x = bytearray(200 << 20); print(len(x))'"
    fits = a.ssh(f"systemd-run --wait --quiet -p MemoryMax=400M {hungry}", check=False)
    too_big = a.ssh(f"systemd-run --wait --quiet -p MemoryMax=50M {hungry}", check=False)
    assert fits.returncode == 0
    assert too_big.returncode != 0


def test_a_host_cannot_set_the_clock_of_the_machine(a: Host) -> None:
    status = a.ssh("cat /proc/1/status").stdout
    bounds = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapBnd:")), 16)
    assert not bounds & 1 << 25  # CAP_SYS_TIME (capability.h); trying it would be the harm it does
    assert bounds & 1 << 12  # CAP_NET_ADMIN, so the mask was read


def test_two_hosts_can_install_packages_at_the_same_time_and_a_third_downloads_nothing(
    a: Host, b: Host, lab: Lab, make_host: Callable[..., Host]
) -> None:
    install = "apt-get install -y --no-install-recommends tree"
    started = [
        subprocess.Popen(["ssh", *host.ssh_options, f"root@{host.address}", install], stdout=subprocess.DEVNULL)
        for host in (a, b)
    ]
    assert [process.wait(timeout=300) for process in started] == [0, 0]
    third = make_host("c", memory_bytes=1 << 30)
    assert "Need to get 0 B" in third.ssh(install).stdout
    assert run("grep", "-rlx", str(1 << 30), *memory_limits(third)).stdout
    third.destroy()


def memory_limits(host: Host) -> list[str]:
    names = ("memory.limit_in_bytes", "memory.max")
    return [str(p) for g in cgroups.find(host.tag) for name in names for p in (*g.glob(name), *g.glob(f"host/{name}"))]


def test_a_host_made_anew_under_its_address_is_known_to_its_neighbours_at_once(
    a: Host, lab: Lab, make_host: Callable[..., Host]
) -> None:
    def mac(host: Host) -> str:
        return host.ssh("cat /sys/class/net/eth0/address").stdout

    host = make_host("anew")
    address, before = host.address, mac(host)
    assert can_ping(a, address)
    host.destroy()
    host = make_host("anew")
    assert (host.address, mac(host)) == (address, before)
    assert can_ping(a, address)
    host.destroy()


def test_a_directory_of_the_machine_can_be_shared_read_only(make_host: Callable[..., Host], tmp_path: Path) -> None:
    (tmp_path / "hello").write_text("from the machine\n")
    host = make_host("bind", binds=[f"{tmp_path}:/srv/shared:ro"])
    assert host.ssh("cat /srv/shared/hello").stdout == "from the machine\n"
    assert host.ssh("touch /srv/shared/x", check=False).returncode != 0
    host.copy_to(tmp_path / "hello", "/root/copied")
    assert host.ssh("cat /root/copied").stdout == "from the machine\n"
    host.destroy()


def test_destroying_a_host_leaves_nothing_of_it_and_spares_a_process_that_only_looks_like_it(
    lab: Lab, make_host: Callable[..., Host]
) -> None:
    host = make_host("gone")
    veth = lab.names.veth(host.spec.octet)
    host.partition()
    script = "import time; time.sleep(600)"
    foreign = subprocess.Popen([sys.executable, "-c", script, "lab.supervisor", str(host.paths.root), host.tag])
    try:
        host.destroy()
        assert foreign.poll() is None
    finally:
        foreign.kill()
        foreign.wait()
    assert not [line for line in traces(lab) if host.tag in line or str(host.paths.root) in line or veth in line]
    assert veth not in network.cuts(lab.names)
    with pytest.raises(UnknownHost, match="python -m lab up t-gone"):
        lab.host(host.name)


def test_up_repairs_a_host_whose_supervisor_was_killed(a: Host, lab: Lab) -> None:
    supervisor = next(p for p in processes.of_host(a.tag) if p.is_supervisor)
    assert processes.send(supervisor, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while a.running and time.monotonic() < deadline:
        time.sleep(0.05)
    assert a.state == "unsupervised"
    lab.up([a.name])
    assert a.state == "running"
    a.reboot()


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment", ["host.json", "upper/etc", "supervisor.log"], ids=["named", "half written", "being booted"]
)
def test_an_up_that_was_killed_midway_converges_when_it_is_run_again(lab: Lab, moment: str) -> None:
    directory = lab.directory / "hosts/t-killed"
    lab.up([])  # the network is there, so that the kill hits the making of the host
    started = python_up(lab, "t-killed", os.environ.get("LLM_LAB_TEST_SUFFIX", "test"))
    deadline = time.monotonic() + 120
    while not (directory / moment).exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    started.kill()
    assert started.wait() == -signal.SIGKILL
    host = lab.up(["t-killed"])[0]
    assert host.ssh("systemctl is-system-running --wait").stdout == "running\n"
    assert len([p for p in processes.of_host(host.tag) if p.is_supervisor]) == 1
    host.destroy()


@pytest.mark.slow
def test_a_directory_left_by_a_kill_before_the_host_had_a_name_is_no_obstacle(lab: Lab) -> None:
    (lab.directory / "hosts/t-scraps/upper").mkdir(parents=True)
    assert "t-scraps" not in [host.name for host in lab.hosts()]
    host = lab.up(["t-scraps"])[0]
    assert host.ssh("hostname").stdout == "t-scraps\n"
    host.destroy()


@pytest.mark.slow
def test_another_checkout_gets_a_lab_of_its_own_and_destroying_it_leaves_nothing(
    a: Host, lab: Lab, tmp_path: Path
) -> None:
    other = Lab.for_checkout(tmp_path, report=silent)
    try:
        twin = other.up([a.name])[0]
        assert twin.address != a.address
        assert other.names.bridge != lab.names.bridge
        assert twin.leader_pid != a.leader_pid
        assert traces(other)
    finally:
        other.destroy_all()
    assert traces(other) == []
    assert a.ssh("hostname").stdout == f"{a.name}\n"


@pytest.mark.slow
def test_a_killed_build_of_the_base_leaves_no_process_and_its_scraps_are_removed(lab: Lab, tmp_path: Path) -> None:
    script = f"from pathlib import Path; from lab.base import Bases; Bases(Path({str(tmp_path)!r}), print).ensure()"
    builder = subprocess.Popen([sys.executable, "-c", script], cwd=CHECKOUT, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (tmp_path / "bases/.build/root/etc/apt").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    builder.kill()
    builder.wait()

    def at_work() -> list[str]:
        commands = [p.read_bytes().decode(errors="replace") for p in Path("/proc").glob("[0-9]*/cmdline") if p.exists()]
        return [command for command in commands if str(tmp_path) in command and "mmdebstrap" in command]

    while at_work() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert at_work() == []
    assert (tmp_path / "bases/.build").exists()
    Bases(tmp_path, silent).clean_up()
    assert not (tmp_path / "bases/.build").exists()
