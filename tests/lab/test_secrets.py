"""Two secrets on their way to a real host, one from a command and one from a file: everything around them is searched for them.

Each search has a control: a marker that goes the same ways and is no secret has to be found.
"""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab import Host, mirrored
from tests.lab.adapter_load import answer_of
from tests.lab.deployments import CHECKOUT, Operator, Result
from tests.lab.leaks import Watching, changed_since, forms, found_in, found_in_files
from tests.lab.test_refusals import untouched

pytestmark = pytest.mark.lab
HUB_FILE, CLIENTS_FILE = "/etc/llm/credentials/hub-token", "/etc/llm/credentials/adapter-token"
PUT_DOWN = {"vLLM | Put the hub token down, for root only", "Adapter | Put the clients' token down, for root only"}
LOUD = ("-vvv", "--diff", "--debug-all")
# All that a deploy or a service may write. What is named `credentials` is where the secrets belong.
HOST_PLACES = "/etc /opt/llm /run /tmp /root /home /var /usr/local"
MANAGER = """#!/bin/sh
echo "$2" >> "$(dirname "$0")/log"
cat "$(dirname "$0")/$2"
[ "$1" = show ] || { cat "$(dirname "$0")/$2" >&2; exit 7; }
"""


@dataclass
class Seen:
    """What there is to search after all runs."""

    host: Host
    marker: str
    planted: list[str] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    results: dict[str, Result] = field(default_factory=dict)
    asked: dict[str, list[str]] = field(default_factory=dict)
    processes: str = ""
    files: list[Path] = field(default_factory=list)


@pytest.fixture(scope="module")
def seen(
    operator: Operator, make_host: Callable[..., Host], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Seen]:
    """A fresh host: a run that is refused, four that look, a deploy, one with other tokens, one with the same again."""
    began, host = time.time(), make_host("secrets")
    marker = f"marker{secrets.token_hex(8)}"
    found = Seen(host, marker)
    store = operator.lab.directory / "planted"
    store.mkdir(mode=0o700, exist_ok=True)
    (store / "manager").write_text(MANAGER)
    (store / "manager").chmod(0o700)
    command = [str(store / "manager"), "show", "hub"]
    person = operator.named(marker).with_settings(
        "planted-inventory",
        {},
        {
            "vllm.hub_token_file": None,
            "vllm.hub_token_command": command,
            "adapter.require_token": True,
            "adapter.token_file": str(store / "clients"),
        },
    )

    def plant() -> None:
        for name, secret in (
            ("hub", f"{mirrored.READER_TOKEN}.{secrets.token_hex(12)}"),
            ("clients", secrets.token_hex(16)),
        ):
            (store / name).write_text(f"{secret}\n")
            found.planted.append(secret)

    def run(name: str, *arguments: str) -> None:
        (store / "log").write_text("")
        result = person.pyinfra(*arguments, hosts=[host])
        found.results[name], found.outputs[name] = result, result.output
        found.asked[name] = (store / "log").read_text().split()

    with pytest.MonkeyPatch.context() as patch:
        # Told by preflight in every run, and written to the host.
        patch.setenv("VISION_OLLAMA_URL", f"http://{marker}.invalid:11435")
        with Watching(tmp_path_factory.mktemp("watching") / "seen") as watching:
            plant()
            with untouched(host):
                fails = f'vllm.hub_token_command=["{command[0]}", "fail", "hub"]'
                run("refused", "-y", *LOUD, "--data", fails)
                run("dry", "--dry", *LOUD)
                run("dry, JSON", "--json", "--dry")
                run("operations", "--dry", "--debug-operations")
                run("facts", "--dry", "--debug-facts")
            run("deploy", "-y", *LOUD)
            plant()
            run("other tokens", "--json", "-y", "-vvv")
            run("again", "--json", "-y")
    found.processes = watching.seen
    (tmp_path_factory.mktemp("control") / "control").write_text(marker)
    roots = {CHECKOUT: 9, Path(tempfile.gettempdir()): 9, Path.home(): 2}
    left_out = [operator.lab.state, CHECKOUT / ".git", CHECKOUT / ".venv"]
    found.files = list(changed_since(roots, began, left_out))
    host.ssh(f"logger {marker}; systemd-run --unit=control --description={marker} sleep 3600; journalctl --sync")
    yield found


def test_the_runs_are_what_the_searches_rest_on(seen: Seen) -> None:
    assert {name: result.status for name, result in seen.results.items()} == {
        name: int(name == "refused") for name in seen.results
    }, "\n".join(seen.outputs.values())
    assert {*seen.results["other tokens"].changed} >= PUT_DOWN
    assert seen.results["again"].changed == []
    assert seen.asked == {name: ["hub"] for name in seen.results}  # by everything in a run together, once
    refusal = seen.outputs["refused"]
    assert f"{seen.host.name}: refused, nothing was changed (1 error" in refusal
    assert "vllm.hub_token_command" in refusal
    assert "fail hub` ended with status 7" in refusal


def test_no_output_of_pyinfra_shows_them(seen: Seen) -> None:
    for name, output in seen.outputs.items():
        assert seen.marker in output, f"{name}: the control is not found"
        assert found_in(output, seen.planted) == [], name


def test_no_process_on_controller_or_host_shows_them(seen: Seen) -> None:
    arguments = seen.processes.split("\n")
    assert any(f"LLM_OPERATOR={seen.marker}" in line for line in arguments)  # pyinfra, on the controller
    assert any(f"{seen.marker} (pyinfra deploy.py)" in line for line in arguments)  # the lock, on the host
    assert found_in(seen.processes, seen.planted) == []


@pytest.mark.parametrize(
    "look", ["systemctl show '*' --all", "systemctl cat '*' 2>/dev/null; true", "journalctl --no-pager -o export"]
)
def test_neither_systemd_nor_the_journal_has_them(seen: Seen, look: str) -> None:
    said = seen.host.ssh(look).stdout
    assert seen.marker in said
    assert found_in(said, seen.planted) == []


def test_no_file_on_the_host_has_them_but_the_credentials(seen: Seen) -> None:
    def holding(*texts: str) -> list[str]:
        # Over standard input: as arguments they would be found in the search itself.
        search = f"grep -rlaFf - -D skip --exclude-dir=credentials {HOST_PLACES} 2>/dev/null"
        return seen.host.ssh(search, check=False, timeout=300, stdin="\n".join(texts) + "\n").stdout.splitlines()

    assert {"/etc/llm/consumers.env", "/var/lib/llm/audit.jsonl"} <= {*holding(seen.marker)}
    assert holding(*(form for secret in seen.planted for form in forms(secret).values())) == []


def test_no_file_that_a_run_left_on_the_controller_has_them(seen: Seen) -> None:
    assert found_in_files(seen.files, [seen.marker]) != []
    assert found_in_files(seen.files, seen.planted) == []


def test_on_the_host_they_are_in_files_of_root_alone_and_services_have_them_as_credentials(seen: Seen) -> None:
    hub, clients = seen.planted[-2:]
    stat = seen.host.ssh(f"stat -c '%U:%G %a' /etc/llm/credentials {HUB_FILE} {CLIENTS_FILE}").stdout
    assert stat.splitlines() == ["root:root 700", "root:root 600", "root:root 600"]
    assert seen.host.ssh("ls -A /etc/llm/credentials").stdout.split() == ["adapter-token", "hub-token"]
    assert seen.host.ssh(f"cat {HUB_FILE} {CLIENTS_FILE}").stdout == f"{hub}\n{clients}\n"
    for unit, credential in (
        ("vllm-model.service", f"hub-token:{HUB_FILE}"),
        ("ollama-adapter.service", f"token:{CLIENTS_FILE}"),
    ):
        assert f"LoadCredential={credential}" in seen.host.ssh(["systemctl", "cat", unit]).stdout
    for token, status in ((clients, 200), (seen.planted[1], 401)):  # the present one, and the one before it
        headers = {"Authorization": f"Bearer {token}"}
        assert answer_of(seen.host.address, "GET", "/api/tags", headers=headers)[0] == status
