"""docs/on-call.md, followed literally: each symptom is made, the page's own commands are typed, and what they promise is looked at.

The commands are read from the page; HOST, `inventory` and r-… are the lab's. A command of the page that nobody typed here fails the
last test. Four sections need a card that CUDA takes, which no lab host has: tests named in `ON_A_PRETENDED_CARD` follow them, with
the roles' own playbooks in place of deploy.py.
"""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import Host
from tests.faults.page import PAGE, commands_by_section
from tests.faults.promises import assert_promises_kept
from tests.faults.runs import Record, assert_unchanged_by_a_second_run, converge, drop_in
from tests.faults.test_models import WEIGHTS
from tests.faults.watch import TEXT, Watch
from tests.lab.deployments import PROGRAM, Operator, releases
from tests.lab.test_deploy import serves_phase_1, serves_phase_2, serves_vision, started_at
from tests.lab.vllm_probes import ask, wait_until

SECTIONS = commands_by_section(PAGE.read_text(encoding="utf-8"))
DOCTOR = "What is wrong? Ask the doctor first"
BACK = "Clients get errors from 11434 and nobody knows why: go back first"
RELEASE_BEFORE = "It went wrong with the last deploy: back to the release before"
WHO = "Who did what to this host, and what is true now?"
BY_HAND = "Has somebody changed something on this host by hand?"
LOADING = '503 "vLLM is …" for longer than a start takes'
NO_TOKEN = "Clients get 401 from 11434"
FAILED = "vllm.service is failed"
DAMAGED = "vLLM does not start, and its last lines speak of the model's files"
VISION = "Vision (11435) does not answer"
LOAD = "Watch the load"
ON_A_PRETENDED_CARD = {
    'nvidia-smi says "Driver/library version mismatch"': "tests/lab/test_nvidia_role.py",
    'nvidia-smi "couldn\'t communicate with the NVIDIA driver" after a reboot': "tests/lab/test_driver_under_change.py",
    "Watch the cards": "tests/lab/test_deploy_with_cards.py",
    "A container does not see the cards": "tests/lab/test_container_cards.py",
}
WITHOUT_COMMANDS = {"A deploy was refused", "A deploy failed on a host", "A deploy stopped in the middle"}
typed: dict[str, set[str]] = {}


@dataclass
class Engineer:
    """Somebody with the page, at the controller and on the host."""

    operator: Operator
    host: Host

    def types(self, section: str, command: str, *, status: int | tuple[int, ...] = 0, release: str = "") -> str:
        """Run a command of that section of the page, look at its exit status, and return what it printed.

        :param status: the one that it must have, or those that it may have. release: what stands for r-….
        """
        assert command in SECTIONS[section], f"docs/on-call.md, {section!r}, has no {command!r}"
        typed.setdefault(section, set()).add(command)
        text = command.replace("HOST", self.host.name).replace("r-…", release)
        if text.startswith("pyinfra "):
            said, ended = self.at_the_controller(text)
        else:
            on_host = self.host.ssh(f"{text} 2>&1", check=False, timeout=600)
            said, ended = on_host.stdout, on_host.returncode
        allowed = (status,) if isinstance(status, int) else status
        assert ended in allowed, f"{text}: status {ended}\n{said}"
        return said

    def at_the_controller(self, command: str) -> tuple[str, int]:
        """What `pyinfra inventory …` printed, and its exit status."""
        _, inventory, *words = shlex.split(command)
        assert inventory == "inventory"
        done = subprocess.run(
            [PROGRAM, self.operator.inventory, *words], cwd=self.operator.checkout, env=self.operator.environment,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=1800,
        )  # fmt: skip
        return done.stdout + done.stderr, done.returncode


@pytest.fixture
def engineer(host: Host, operator: Operator) -> Engineer:
    return Engineer(operator, host)


@pytest.mark.fault(f"on call: {DOCTOR}")
def test_ask_the_doctor_first(host: Host, engineer: Engineer, record: Record) -> None:
    command = "pyinfra inventory doctor.py -y --limit HOST"
    host.ssh("systemctl stop vllm", timeout=120)
    said = engineer.types(DOCTOR, command, status=3)
    assert "1. vLLM does not run in Phase 2  (likely: vllm-stopped)" in said
    remedy = next(line.strip() for line in said.splitlines() if line.strip().startswith("-> ")).removeprefix("-> ")
    assert remedy.startswith("systemctl start vllm on the host")
    host.ssh("systemctl start vllm", timeout=300)
    assert f"{host.name}: nothing wrong found" in engineer.types(DOCTOR, command)
    record("followed: the cause was told with its command; after it nothing wrong was found", None)


@pytest.mark.fault(f"on call: {BACK}")
def test_go_back_first(host: Host, engineer: Engineer, record: Record) -> None:
    drop_in(host, "vllm.service", "[Service]\nExecStart=\nExecStart=/bin/false\nRestartSec=1\n")
    host.ssh("systemctl restart --no-block vllm")
    with Watch(host) as watch:
        said = engineer.types(BACK, "pyinfra inventory rollback.py -y --limit HOST")
        watch.wait_for_text()
    assert "Phase 1 serves, after " in said
    serves_phase_1(host)
    shown = engineer.types(BACK, "llm-phase")
    assert "Phase 1" in shown
    assert "serves already" in engineer.types(BACK, "llm-phase 1")  # again: it says so
    host.ssh("rm -r /run/systemd/system/vllm.service.d; systemctl daemon-reload")
    engineer.types(BACK, "pyinfra inventory deploy.py -y --limit HOST")
    serves_phase_2(host)

    assert "Phase 1 serves, after " in engineer.types(BACK, "llm-phase 1").splitlines()[-1]
    engineer.types(BACK, "llm-phase 2")
    serves_phase_2(host)
    holder = engineer.operator.named("alice@laptop").start("-y", playbook="tests/lab/only_sleep.py", hosts=[host])
    try:
        wait_until("she has it", lambda: "alice" in host.ssh("cat /run/llm/lock; pgrep -x sleep", check=False).stdout)
        assert "alice@laptop" in host.ssh("llm-phase 1 2>&1", check=False).stdout
        engineer.types(BACK, "llm-phase 1 --break")
    finally:
        holder.kill()
        holder.communicate(timeout=60)
    serves_phase_1(host)
    engineer.types(BACK, "llm-phase 2")

    engineer.types(BACK, "systemctl start llm-phase1.target")
    serves_phase_1(host)
    host.reboot()
    serves_phase_2(host)
    assert_promises_kept(host)
    record("followed, by rollback.py and by llm-phase: Phase 1 served, and Phase 2 again", watch.text_after())


@pytest.mark.fault(f"on call: {RELEASE_BEFORE}")
def test_the_release_before(host: Host, operator: Operator, engineer: Engineer, record: Record) -> None:
    converge(operator, host)
    first = releases(host)["current"]
    drain = ("--data", "adapter.drain_timeout_s=17")
    converge(operator, host, *drain)
    second = releases(host)["current"]
    with Watch(host) as watch:
        said = engineer.types(RELEASE_BEFORE, "pyinfra inventory rollback.py -y --data to=previous --limit HOST")
    assert f"release {first}, Phase 2, serves, after " in said
    assert second in engineer.types(RELEASE_BEFORE, "llm-phase releases")
    said = engineer.types(RELEASE_BEFORE, "llm-phase to r-…", release=second)
    assert f"release {second}, Phase 2, serves, after " in said.splitlines()[-1]
    said = engineer.types(RELEASE_BEFORE, "llm-phase to previous")
    assert f"release {first}, Phase 2, serves, after " in said.splitlines()[-1]
    engineer.types(RELEASE_BEFORE, "pyinfra inventory deploy.py -y --limit HOST")
    assert_unchanged_by_a_second_run(operator, host)
    record("followed: the release before served, forth and back", watch.text_after())


@pytest.mark.fault(f"on call: {WHO}")
def test_who_did_what(host: Host, engineer: Engineer, record: Record) -> None:
    assert "Phase 2" in engineer.types(WHO, "llm-phase")
    assert engineer.operator.name in engineer.types(WHO, "llm-phase log")
    table = engineer.types(WHO, "pyinfra inventory audit.py -y")
    assert [line for line in table.splitlines() if engineer.operator.name in line and host.name in line]
    record("followed: the host's own log and the table of all hosts name who, what, when", 0.0)


@pytest.mark.fault(f"on call: {BY_HAND}")
def test_changed_by_hand(host: Host, operator: Operator, engineer: Engineer, record: Record) -> None:
    drift = "pyinfra inventory drift.py -y --limit HOST"
    host.ssh("echo '# by hand' >> /etc/llm/adapter.toml")
    found = engineer.types(BY_HAND, drift, status=3)
    assert "/etc/llm/adapter.toml" in found
    remedy = [line for line in found.splitlines() if "->" in line]
    assert remedy
    converge(operator, host)  # what the remedy says
    engineer.types(BY_HAND, drift)
    record("followed: status 3 and the file's name; after the remedy status 0", 0.0)


@pytest.mark.fault(f"on call: {LOADING}")
def test_503_for_too_long(host: Host, operator: Operator, engineer: Engineer, record: Record) -> None:
    broken = "[Service]\nExecStart=\nExecStart=/bin/sh -c 'echo ERROR no memory for the cache >&2; sleep 1; exit 1'\nRestartSec=2\n"
    drop_in(host, "vllm.service", broken)
    host.ssh("systemctl restart --no-block vllm")
    wait_until("clients get 503", lambda: ask(host, 11434, "/api/generate", TEXT)[0] == 503)
    assert "vLLM is " in str(ask(host, 11434, "/api/generate", TEXT)[1])
    wait_until("it is tried again", lambda: host.ssh("systemctl show -p NRestarts --value vllm").stdout.strip() != "0")
    assert "ERROR no memory for the cache" in engineer.types(LOADING, "journalctl -u vllm -n 50 --no-pager")
    engineer.types(LOADING, "systemctl status vllm", status=3)  # systemctl's own, of a unit that is not active
    engineer.types(BACK, "llm-phase 1")  # the same error again and again: go back
    serves_phase_1(host)
    host.ssh("rm -r /run/systemd/system/vllm.service.d; systemctl daemon-reload")
    converge(operator, host)
    record("followed: the journal has the error, Phase 1 served", 0.0)


@pytest.mark.fault(f"on call: {NO_TOKEN}")
def test_401(
    host: Host, operator: Operator, engineer: Engineer, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = ("--data", "adapter.require_token=true")
    monkeypatch.setenv("OLLAMA_ADAPTER_TOKEN", "a-token-that-was-lost")
    converge(operator, host, *asks)
    assert ask(host, 11434, "/api/generate", TEXT)[0] == 401
    said = engineer.types(NO_TOKEN, "/usr/local/lib/llm/llm-check && echo the token on the host is right")
    assert "the token on the host is right" in said
    monkeypatch.setenv("OLLAMA_ADAPTER_TOKEN", "another-token")  # the page: export it, then deploy
    converge(operator, host, *asks)
    answer = host.ssh(
        "curl -s -o /dev/null -w '%{http_code}' -H @- http://127.0.0.1:11434/api/tags",
        stdin="Authorization: Bearer another-token",
    )
    assert answer.stdout == "200"
    monkeypatch.delenv("OLLAMA_ADAPTER_TOKEN")
    converge(operator, host)
    record("followed: the host's own check passed, a new token replaced the lost one", 0.0)


@pytest.mark.fault(f"on call: {FAILED}")
def test_vllm_has_failed(host: Host, engineer: Engineer, record: Record) -> None:
    broken = "[Service]\nExecStart=\nExecStart=/bin/sh -c 'echo \"<3>ERROR the cause\" >&2; exit 1'\nRestartSec=0\n"
    drop_in(host, "vllm.service", broken)
    host.ssh("systemctl restart --no-block vllm")
    wait_until(
        "systemd gives up", lambda: host.ssh("systemctl is-failed vllm", check=False).stdout.strip() == "failed", 120
    )
    assert "ERROR the cause" in engineer.types(FAILED, "journalctl -u vllm -p warning -n 50 --no-pager")
    host.ssh("rm -r /run/systemd/system/vllm.service.d; systemctl daemon-reload")  # the cause is corrected
    engineer.types(FAILED, "systemctl reset-failed vllm && systemctl start vllm")
    serves_phase_2(host)
    record("followed: the cause was in the journal; Phase 2 served again", None)


@pytest.mark.fault(f"on call: {DAMAGED}")
def test_the_model_is_damaged(host: Host, engineer: Engineer, record: Record) -> None:
    host.ssh("llm-phase 1", timeout=120)
    host.ssh(f"printf 'damaged!' | dd of={WEIGHTS} bs=1 seek=8 conv=notrunc status=none")
    said = host.ssh("llm-phase 2 2>&1", check=False, timeout=600)
    assert said.returncode == 1
    assert "Error" in said.stdout
    engineer.types(BACK, "llm-phase 1")
    serves_phase_1(host)
    engineer.types(DAMAGED, "rm -r /var/lib/llm/hub/.complete")
    engineer.types(DAMAGED, "pyinfra inventory deploy.py -y --limit HOST")
    serves_phase_2(host)
    lines = engineer.types(DAMAGED, "journalctl -u vllm-model -n 20")
    assert "damaged on this disk; thrown away" in lines
    assert "complete" in lines
    record("followed: gone back, the weights fetched anew, Phase 2 served", None)


@pytest.mark.fault(f"on call: {VISION}")
def test_vision_does_not_answer(host: Host, engineer: Engineer, record: Record) -> None:
    with Watch(host) as watch:
        host.ssh("systemctl kill --signal=SIGSTOP --kill-whom=all ollama-vision")
        # Of a unit that is not there systemd says the same, with status 3 up to 255 and 4 later.
        assert engineer.types(VISION, "systemctl is-active vllm-vision", status=(3, 4)).strip() == "inactive"
        engineer.types(VISION, "journalctl -u ollama-vision -n 50 --no-pager")
        engineer.types(VISION, "systemctl restart ollama-vision")
        serves_vision(host)
    assert watch.text_after() == 0
    record("followed: vision served again, text was not affected", watch.text_after())


@pytest.mark.fault(f"on call: {LOAD}")
def test_watch_the_load(host: Host, engineer: Engineer, record: Record) -> None:
    (command,) = SECTIONS[LOAD]
    assert ask(host, 11434, "/api/generate", TEXT)[0] == 200
    said = engineer.types(LOAD, command)
    seen = {line.partition("{")[0] for line in said.splitlines()}
    assert {"vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"} <= seen
    assert "vllm:num_preemptions_total" in seen
    record("followed: requests that run and wait, the KV cache and preemptions were shown", None)


@pytest.mark.fault("on call: a deploy was refused; failed on a host; stopped in the middle")
def test_deploys_that_do_not_end_well(host: Host, operator: Operator, engineer: Engineer, record: Record) -> None:
    converge(operator, host)
    with Watch(host) as watch:
        refused = operator.deploy("--data", f"vllm.model_revision={'0' * 40}", hosts=[host])
        assert refused.status == 1
        last = next(line for line in refused.output.splitlines() if line.strip().startswith("then: "))
        assert "->" in refused.output
        said, status = engineer.at_the_controller(last[last.index("pyinfra ") :])
        assert status == 0, said

        failed = operator.deploy("--data", 'vllm.extra_args=["--no-such-option"]', hosts=[host])
        assert failed.status == 1
        assert "going back to release " in failed.output
        assert "--no-such-option" in failed.output
        assert_unchanged_by_a_second_run(operator, host)

        vision = started_at(host, "ollama-vision.service")
        said = operator.deploy_until(
            "Adapter | Write the adapter's unit",
            [host],
            lambda run: run.kill(),
            "--data",
            "adapter.drain_timeout_s=17",
            pause_s=0,
        )
        assert "Put the release in place" not in said
        converge(operator, host, "--data", "adapter.drain_timeout_s=17")
        assert started_at(host, "ollama-vision.service") == vision
        assert not watch.vision_ceased()
    converge(operator, host)
    record("followed: the last line's command, the mended setting, the same run again", None)
    assert_promises_kept(host)


@pytest.mark.fault("on call: the whole page")
def test_every_command_of_the_page_was_typed(request: pytest.FixtureRequest, record: Record) -> None:
    if not {item.name for item in request.session.items} >= {name for name in globals() if name.startswith("test_")}:
        pytest.skip("some of its sections were not chosen")
    expected = {title: set(commands) for title, commands in SECTIONS.items() if title not in ON_A_PRETENDED_CARD}
    assert {title: typed.get(title, set()) for title in expected} == expected
    assert {title for title, commands in expected.items() if not commands} == WITHOUT_COMMANDS
    assert ON_A_PRETENDED_CARD.keys() <= SECTIONS.keys()
    for file in ON_A_PRETENDED_CARD.values():
        assert Path(file).name in {path.name for path in (PAGE.parents[1] / "tests/lab").iterdir()}
    lines = len(PAGE.read_text(encoding="utf-8").splitlines())
    total = sum(map(len, expected.values()))
    record(f"{total} commands in {len(expected)} sections typed; {lines} lines", None)
