"""Looking for drift on real hosts: what was done by hand is named, and nothing on a host is another afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab import Host
from tests.lab.deployments import Operator

pytestmark = pytest.mark.lab
Served = tuple[Host, Host]
# Content, owner, mode and every time but that of reading; the run lock among them, which is written when it is taken.
WHAT_IS_THERE = (
    "find /etc /opt/llm /var/lib/llm /var/lib/ollama-text /run/llm -not -path '/var/lib/llm/llm-check*' "
    "-printf '%p %T@ %C@ %s %m %u\\n'; find /etc /var/lib/llm -type f -size -1M -exec sha256sum {} +; "
    "systemctl show -p Id -p ActiveEnterTimestampMonotonic -p InvocationID 'ollama-*' 'vllm*' 'llm-phase*' docker.service"
)
BY_HAND = "/etc/systemd/system/ollama-vision.service.d/by-hand.conf"
SECRET = "sk-planted5ecret"
DONE_BY_HAND = f"""set -e
printf 'api-key: {SECRET}\\nmax-num-seqs: 3\\n' >> /etc/llm/vllm.yaml
rm /etc/llm/consumers.env
systemctl stop llm-check.timer ollama-text.service
mkdir -p {BY_HAND.rpartition("/")[0]}
printf '[Service]\\nEnvironment=OLLAMA_HOST=127.0.0.1:11435\\n' > {BY_HAND}
ln -sf /dev/null /etc/systemd/system/ollama-adapter.service
ln -sfn llm-phase2.target /etc/systemd/system/llm-phase.target
systemctl daemon-reload
systemctl restart ollama-vision.service
rm -f /run/llm/proved/ollama-vision.service
echo '{{"unit": "another"}}' > /run/llm/started-with/ollama-vision.service.json
sed -i 's/"phase": 1/"phase": 2/' /var/lib/llm/state.json
rm "$(readlink -f "$(find /var/lib/llm/hub/models--*/snapshots -name config.json | head -n 1)")"
systemd-run --quiet --unit=squatter python3 -m http.server 8000
systemd-run --quiet --unit=exporter python3 -m http.server 9199
for i in $(seq 100); do ss -ltn | grep -q :8000 && ss -ltn | grep -q :9199 && ss -ltn | grep -q :11435 && exit 0; sleep 0.1; done
exit 1
"""
# The remedies that the findings name, beside deploy.py.
REMEDIES = f"""set -e
systemctl stop squatter.service exporter.service
systemctl unmask ollama-adapter.service
rm {BY_HAND}; systemctl daemon-reload; systemctl try-restart ollama-vision.service
rm -f /var/lib/llm/hub/.complete/*
"""


@contextmanager
def untouched(*hosts: Host) -> Iterator[None]:
    """Raises AssertionError when the block changed anything on a host."""
    before = {host: set(host.ssh(WHAT_IS_THERE).stdout.splitlines()) for host in hosts}
    yield
    after = {host: set(host.ssh(WHAT_IS_THERE).stdout.splitlines()) for host in hosts}
    assert {host: after[host] ^ before[host] for host in hosts} == {host: set() for host in hosts}


def test_hosts_as_they_were_deployed_have_no_drift(operator: Operator, served: Served) -> None:
    with untouched(*served):
        status, told, said = operator.drift(hosts=list(served))
    assert [(one["verdict"], one["findings"]) for one in told.values()] == [("none", [])] * 2, said
    assert set(told) == {host.name for host in served}
    assert status == 0
    assert said.rstrip().endswith("drift: 2 without drift")


def test_a_host_that_is_being_changed_is_unknown_and_not_drifted(operator: Operator, served: Served) -> None:
    _, one = served
    one.ssh(
        "echo 'alice@laptop (pyinfra deploy.py), since 03:00' > /run/llm/lock;"
        "systemd-run --quiet --unit=alice flock /run/llm/lock sleep 300; sleep 1; ! flock -n /run/llm/lock true"
    )
    try:
        status, told, said = operator.drift(hosts=[one])
    finally:
        one.ssh("systemctl stop alice.service; : > /run/llm/lock")
    assert told[one.name]["verdict"] == "unknown"
    assert told[one.name]["findings"] == []
    assert told[one.name]["reason"].startswith("alice@laptop (pyinfra deploy.py), since 03:00, is changing it just now")
    assert status == 1
    assert "drift: 0 without drift, 1 unknown" in said


def test_what_was_done_by_hand_is_named_with_its_remedy_and_left_as_it_is(operator: Operator, served: Served) -> None:
    _, one = served
    one.ssh(DONE_BY_HAND, timeout=120)
    with untouched(one):
        status, told, said = operator.drift(hosts=[one])
    findings = {(found["kind"], found["what"]): found for found in told[one.name]["findings"]}
    assert (status, told[one.name]["verdict"]) == (3, "drift"), said
    expected = {
        ("file", "/etc/llm/vllm.yaml"),
        ("file", "/etc/llm/consumers.env"),
        ("file", "/etc/systemd/system/ollama-adapter.service"),
        ("plan", "Monitoring | Run llm-check by its timer"),
        ("plan", "Phase | Have ollama-text.service run with the current inputs"),
        ("drop-in", BY_HAND),
        ("unit", "ollama-adapter.service"),
        ("unit", "ollama-text.service"),
        ("unit", "ollama-vision.service"),
        ("phase", "serving"),
        ("phase", "next boot"),
        ("phase", "on record"),
        ("listener", "port 8000"),
        ("listener", "port 11434"),
        ("listener", "port 11435"),
        ("model", next((what for kind, what in findings if kind == "model"), "no finding about the model")),
    }
    assert expected - set(findings) == set(), said
    assert findings["unit", "ollama-adapter.service"]["found"] == "masked"
    assert "squatter.service on 0.0.0.0" in findings["listener", "port 8000"]["found"]
    assert "ollama-vision.service on 127.0.0.1" in findings["listener", "port 11435"]["found"]
    assert "changed by hand since the last deploy" in findings["file", "/etc/llm/vllm.yaml"]["found"]
    assert "-max-num-seqs: 3" in findings["file", "/etc/llm/vllm.yaml"]["diff"]
    assert any("9199 exporter.service" in note for note in told[one.name]["notes"])
    assert SECRET not in said + str(told)

    one.ssh(REMEDIES)
    repaired = operator.deploy(hosts=[one])
    assert repaired.status == 0, repaired.output
    status, told, said = operator.drift(hosts=[one])
    assert (status, told[one.name]["findings"]) == (0, []), said
