"""`make verify` on real hosts: two hosts at the same time in one report, and faults that it must find, in the right words."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from lab import Host
from tests.lab.deployments import Operator

pytestmark = [pytest.mark.lab, pytest.mark.slow]
Served = tuple[Host, Host]
JOURNAL, LISTENERS = "No unit of ours has said error lately", "Nothing unexpected listens beyond loopback"


def say(host: Host, unit: str, line: str, priority: str = "info") -> None:
    """Have a process in the unit's control group write a line, so that the journal takes it for the unit's own."""
    # The hierarchy that systemd itself counts by: on a machine that has the older ones too it lies beside them.
    folders = "/sys/fs/cgroup/unified /sys/fs/cgroup"
    group = host.ssh(f"for one in {folders}; do ls -d $one/system.slice/{unit} 2>/dev/null && break; done")
    host.ssh(
        f"sh -ec 'echo $$ > {group.stdout.strip()}/cgroup.procs; exec systemd-cat -p {priority} "
        f'sh -c "echo {line}; sleep 1"\'; journalctl --sync'
    )


def verdicts(folder: Path) -> dict[str, dict[str, str]]:
    """By host and sentence, what junit.xml says: "" for what is so, else the kind and the whole reason."""
    root = ElementTree.parse(folder / "junit.xml").getroot()
    return {
        suite.get("name", ""): {
            case.get("name", ""): "".join(f"{one.tag}: {one.text}" for one in case if one.tag != "system-out")
            for case in suite.iter("testcase")
        }
        for suite in root
    }


def test_two_hosts_are_verified_at_the_same_time_and_stand_in_one_report(
    operator: Operator, served: Served, tmp_path: Path
) -> None:
    began = time.monotonic()
    done = operator.verify_side_by_side("--reports", str(tmp_path), hosts=list(served))
    print(f"both at the same time: {time.monotonic() - began:.1f} s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verify: 2 of 2 hosts as promised" in done.stdout
    seen = verdicts(tmp_path)
    two, one = served
    assert set(seen) == {two.name, one.name}
    assert seen[two.name]["vLLM generates a token"] == seen[two.name]["A second deploy would change nothing"] == ""
    assert seen[one.name]["vLLM generates a token"].startswith("skipped: only for hosts in Phase 2")
    page = (tmp_path / "report.html").read_text()
    release = two.ssh(
        'python3 -c \'import json; print(json.load(open("/var/lib/llm/state.json"))["release"])\''
    ).stdout.strip()
    assert two.name in page and one.name in page and release in page


def test_an_error_in_a_units_journal_is_found_with_unit_time_and_line(
    operator: Operator, served: Served, tmp_path: Path
) -> None:
    two, one = served
    words = ("--quick", "--reports", str(tmp_path), "-k", "journal or ports")
    say(two, "ollama-vision.service", "level=ERROR source=planted.go msg=planted-by-text")
    say(two, "vllm.service", "planted-by-level", priority="err")
    say(one, "ollama-text.service", "level=WARN source=planted.go msg=harmless")
    done = operator.verify_side_by_side(*words, hosts=list(served))
    assert done.returncode == 1, done.stdout + done.stderr
    seen = verdicts(tmp_path)
    reason = seen[two.name][JOURNAL]
    assert f"failure: {two.name}: expected no error in the journal for 5m, seen 2" in reason
    assert "planted-by-text" in reason and "vllm.service, 20" in reason and "planted-by-level" in reason
    assert seen[one.name][JOURNAL] == ""
    time.sleep(3)
    late = operator.verify_side_by_side(*words, "--journal-window", "2s", hosts=[two])
    assert late.returncode == 0, late.stdout  # the window is over
    two.ssh("systemctl restart ollama-vision.service vllm.service", timeout=600)
    after = operator.verify_side_by_side(*words, hosts=[two])
    assert after.returncode == 0, after.stdout  # a start that somebody asked for begins anew


def test_a_foreign_listener_is_a_warning_to_monitoring_and_a_dead_server_is_critical(
    operator: Operator, served: Served
) -> None:
    _, one = served
    words = ("--quick", "--nagios")
    good = operator.verify_side_by_side(*words, hosts=[one])
    assert good.returncode == 0, good.stdout
    assert good.stdout.startswith("VERIFY OK - 1 of 1 host as promised | hosts=1 passed=")
    one.ssh(
        "systemd-run --quiet --unit=squatter python3 -m http.server 9199; until ss -ltn | grep -q :9199; do sleep 0.1; done"
    )
    try:
        foreign = operator.verify_side_by_side(*words, hosts=[one])
        assert foreign.returncode == 1, foreign.stdout
        assert foreign.stdout.startswith(
            f"VERIFY WARNING - 0 of 1 host as promised: {one.name}: {LISTENERS}: NOT SO | "
        )
        one.ssh("systemctl stop ollama-vision.service")
        dead = operator.verify_side_by_side(*words, hosts=[one])
        assert dead.returncode == 2, dead.stdout
        assert dead.stdout.startswith("VERIFY CRITICAL - ")
    finally:
        one.ssh("systemctl stop squatter.service; systemctl start ollama-vision.service")


def test_after_a_reboot_it_is_all_so_without_a_deploy_in_between(operator: Operator, served: Served) -> None:
    _, one = served
    one.reboot()
    one.wait_ready()
    one.ssh("systemctl start llm-phase.target", timeout=300)  # returns when every unit of the phase is up
    done = operator.verify_side_by_side(hosts=[one])
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_second_deploy_that_would_do_something_is_told_with_the_file(operator: Operator, served: Served) -> None:
    _, one = served
    one.ssh("cp -p /etc/llm/consumers.env /root/kept; rm /etc/llm/consumers.env")
    try:
        done = operator.verify_side_by_side("-k", "second_deploy", hosts=[one])
    finally:
        one.ssh("mv /root/kept /etc/llm/consumers.env")
    assert done.returncode == 1, done.stdout
    assert (
        f"{one.name}: a second deploy would not be empty\n" in done.stdout and "/etc/llm/consumers.env" in done.stdout
    )
