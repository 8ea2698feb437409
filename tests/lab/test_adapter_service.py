"""The adapter under systemd on a deployed host: restarts and upgrades under load, what outlives them, and the token."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lab import Host
from tests.lab.adapter_load import Asking, answer_of, generated
from tests.lab.deployments import Operator
from tests.lab.vllm_probes import wait_until
from tests.outage.measuring import clients_of
from tests.outage.prober import SERIES
from tests.outage.promises import PROMISES

pytestmark = pytest.mark.lab
UNIT = "ollama-adapter.service"
TOKEN_FILE = "/etc/llm/credentials/adapter-token"
RARE = [
    replace(series, interval_s=series.interval_s * 5) for series in SERIES
]  # a busy machine must not look like a failure
BASE, VIRTUAL = "llama2:7b", "pirate:latest"


@pytest.fixture(scope="module")
def host(operator: Operator, served: tuple[Host, Host]) -> Iterator[Host]:
    """The Phase-2 host, with the adapter as the inventory has it before the first test and again after the last."""
    yield served[0]
    result = operator.deploy(hosts=[served[0]])
    assert result.status == 0, result.output


def shown(host: Host, name: str) -> str:
    return host.ssh(["systemctl", "show", "--value", f"--property={name}", UNIT]).stdout.strip()


def processes(host: Host) -> list[int]:
    """Everything in the unit's cgroup, the main process first."""
    paths = host.ssh(f"grep -ls '/{UNIT}' /proc/[0-9]*/cgroup; true").stdout.split()
    main = int(shown(host, "MainPID"))
    return sorted((int(path.split("/")[2]) for path in paths), key=lambda pid: (pid != main, pid))


def release(host: Host) -> str:
    return host.ssh("readlink /opt/llm/adapter/current").stdout.strip()


def busy_at_stops(host: Host, since: str) -> list[int]:
    """How many answers were on their way, for each process that was stopped since a mark of the journal."""
    words = ["journalctl", "-u", UNIT, "-o", "cat", "--after-cursor", since]
    lines = [json.loads(line) for line in host.ssh(words).stdout.splitlines() if line.startswith('{"')]
    return [line["busy"] for line in lines if line.get("event") == "draining"]


def test_restarts_and_an_upgrade_under_load_fail_no_request_and_virtual_models_outlive_them(
    operator: Operator, host: Host, tmp_path: Path
) -> None:
    def listed() -> str:
        status, text = answer_of(host.address, "POST", "/api/show", {"model": VIRTUAL})
        return str(json.loads(text)["system"]) if status == 200 else f"{status}: {text!r}"

    made = {"model": VIRTUAL, "from": BASE, "system": "You are a pirate.", "stream": False}
    assert answer_of(host.address, "POST", "/api/create", made)[0] == 200
    mark = host.ssh("journalctl -n 0 --show-cursor").stdout.rpartition("cursor: ")[2].strip()
    first = release(host)
    assert len(processes(host)) == 1
    with Asking(host.address, (BASE, VIRTUAL)) as asking:
        host.ssh(["systemctl", "restart", UNIT])
        assert listed() == "You are a pirate."

        several = operator.deploy("--data", "adapter.processes=2", hosts=[host])
        assert several.status == 0, several.output
        assert len(processes(host)) == 3  # with the one that watches them
        host.ssh(["systemctl", "restart", UNIT])
        assert listed() == "You are a pirate."

        upgraded = operator.of_next_version(tmp_path).deploy("--data", "adapter.processes=2", hosts=[host])
        assert upgraded.status == 0, upgraded.output
        assert release(host) != first
        assert f"Phase | Have {UNIT} run with the current inputs" in upgraded.changed
        assert listed() == "You are a pirate."
    assert asking.failures == []
    assert asking.answered > 20
    # Stopped were one process, one, two, two.
    busy = busy_at_stops(host, mark)
    assert len(busy) == 6
    assert sum(busy) > 0
    assert shown(host, "NRestarts") == "0"

    # One of two is killed: the other goes on, and the first one comes back.
    main, *workers = processes(host)
    host.ssh(["kill", "-KILL", str(workers[0])])
    wait_until("the process is replaced", lambda: len(processes(host)) == 3 and workers[0] not in processes(host))
    assert shown(host, "MainPID") == str(main)
    assert generated(host.address, VIRTUAL) == ""
    assert answer_of(host.address, "DELETE", "/api/delete", {"model": VIRTUAL})[0] == 200
    assert listed().startswith("404")


def test_a_restart_fails_no_request_whether_clients_keep_their_connections_or_not(host: Host) -> None:
    def restarted() -> list[str]:
        return [host.ssh(["systemctl", "restart", UNIT]).stdout for _ in range(3)]

    seen = clients_of(host.address, restarted, RARE)
    for promise in ("no failure", "vision"):
        verdict = PROMISES[promise](seen)
        assert verdict.is_kept, f"{verdict.sentence}: {verdict.detail}"


def test_the_adapter_reads_the_models_own_files_though_it_has_a_user_of_its_own(host: Host) -> None:
    def info() -> dict[str, object]:
        return dict(json.loads(answer_of(host.address, "POST", "/api/show", {"model": BASE})[1])["model_info"])

    # The number of layers is nowhere but in the model's config.json.
    wait_until("the facts are found", lambda: any(key.endswith(".block_count") for key in info()), 60)


def test_with_a_token_only_those_who_have_it_are_answered_and_it_lies_where_only_root_reads(
    operator: Operator, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def status(token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return answer_of(host.address, "GET", "/api/tags", headers=headers)[0]

    asks = ("--data", "adapter.require_token=true")
    old, new = "first-token-of-the-lab", "second-token-of-the-lab"
    monkeypatch.setenv("OLLAMA_ADAPTER_TOKEN", old)
    deployed = operator.deploy(*asks, hosts=[host])
    assert deployed.status == 0, deployed.output
    assert (status(""), status("wrong"), status(old)) == (401, 401, 200)

    seen = host.ssh(f"stat -c '%U:%G %a' /etc/llm/credentials {TOKEN_FILE}").stdout.splitlines()
    assert seen == ["root:root 700", "root:root 600"]
    for path in (TOKEN_FILE, f"/run/credentials/{UNIT}/token"):
        assert host.ssh(["runuser", "-u", "nobody", "--", "cat", path], check=False).returncode != 0
    own = " ".join(f"/proc/{pid}/{name}" for pid in processes(host) for name in ("cmdline", "environ"))
    # Read from standard input: as an argument it would be found in the search itself.
    search = f"grep -rlaFf - /etc/systemd/system /etc/llm {own} --exclude-dir=credentials"
    assert host.ssh(search, check=False, stdin=old).stdout == ""

    # Another token is a restart, the same one is not; who checks the host has it too.
    monkeypatch.setenv("OLLAMA_ADAPTER_TOKEN", new)
    rotated = operator.deploy(*asks, hosts=[host])
    assert rotated.status == 0, rotated.output
    assert f"Phase | Have {UNIT} run with the present token" in rotated.changed
    assert (status(old), status(new)) == (401, 200)
    monkeypatch.delenv("OLLAMA_ADAPTER_TOKEN")
    assert operator.deploy(*asks, hosts=[host]).changed == []
    host.ssh("systemctl start llm-check.service && /usr/local/lib/llm/llm-check")
    for output in (deployed.output, rotated.output):
        assert old not in output
        assert new not in output
