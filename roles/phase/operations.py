"""Operations on units and phases. Each looks at the host and yields commands only for what is not so already."""

from __future__ import annotations

import hashlib
import io
import json
import shlex
from collections.abc import Generator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from pyinfra import host, logger
from pyinfra.api import FactBase, FileUploadCommand, FunctionCommand, Host, QuoteString, State, StringCommand, operation

from roles.layout import ETC, LIBEXEC, STATE
from roles.phase.batches import CHANGED
from roles.release_files import NEXT
from roles.run_lock import TOKEN, operator
from roles.secrets import privileges
from roles.started_with import reason_to_restart
from roles.unit_facts import Units

Commands = Generator[StringCommand | FunctionCommand, None, None]
PROVED = "/run/llm/proved"
PROGRAM = "/usr/local/bin/llm-phase"
PHASES_FILE = f"{ETC}/phases.json"
PLACING = f"{STATE}/placing.json"  # as in llm_phase/placing.py


@operation()
def units_loaded(units: tuple[str, ...]) -> Commands:
    """Have systemd know every unit file as it is on disk now."""
    states = host.get_fact(Units, units=units)
    stale = [unit for unit, state in states.items() if state.needs_reload or state.load == "not-found"]
    if not stale and states:
        host.noop("systemd has read every unit")
        return
    yield StringCommand("systemctl", "daemon-reload")


@operation()
def units_enabled(units: tuple[str, ...]) -> Commands:
    """Have each unit pulled in by the phases its [Install] section names."""
    states = host.get_fact(Units, units=units)
    missing = [unit for unit in units if unit not in states or not states[unit].enabled]
    if not missing:
        host.noop("every unit is tied to its phases")
        return
    yield StringCommand("systemctl", "reenable", "--quiet", *(QuoteString(unit) for unit in missing))


class PhaseStatus(FactBase[dict[str, Any]]):
    """What `llm-phase --json` says; {} on a host that does not have it yet."""

    @staticmethod
    def default() -> dict[str, Any]:
        return {}

    def command(self) -> str:
        return f"test -x {PROGRAM} && {PROGRAM} --json 2>/dev/null || true"

    def process(self, output: list[str]) -> dict[str, Any]:
        try:
            status: dict[str, Any] = json.loads("".join(output))
        except ValueError:
            return {}
        return status


class AuditLog(FactBase[list[dict[str, Any]]]):
    """Every entry of the host's audit log, oldest first; [] where nothing was ever done."""

    @staticmethod
    def default() -> list[dict[str, Any]]:
        return []

    def command(self) -> str:
        return f"test -x {PROGRAM} && {PROGRAM} log --json -n 100000 || true"

    def process(self, output: list[str]) -> list[dict[str, Any]]:
        return [json.loads(line) for line in output if line.startswith("{")]


def is_in(status: Mapping[str, Any], phase: int) -> bool:
    """Whether a host serves the phase and would after a boot."""
    return status.get("serving") == phase and status.get("next_boot") == [phase]


def is_proved_in(status: Mapping[str, Any], phase: int) -> bool:
    """Whether besides that is on record, and every server that runs has made a token since its start."""
    proved = status.get("proved") or {"nothing": False}
    return is_in(status, phase) and status.get("recorded") == phase and all(proved.values())


@operation()
def phase_serves(phase: int, back: bool, patience_s: int) -> Commands:
    """Have the host serve the phase, every server proved by a token, and come up in it at every boot; see host/llm_phase.

    :param back: of a deploy: when it does not come up, go back to the phase that served before. The run fails in any case.
    :param patience_s: what has not ended by then is killed.
    """
    status = host.get_fact(PhaseStatus)
    if is_in(status, phase) if back else is_proved_in(status, phase):
        host.noop(f"Phase {phase} serves")
        return
    words = [str(phase), "--patience", str(patience_s), *(["--return"] if back else [])]
    yield FunctionCommand(
        _say_what_it_says, (on_host(*words, playbook="deploy.py" if back else "rollback.py"), back), {}
    )


def on_host(*words: str, playbook: str = "deploy.py") -> str:
    """The command line of llm-phase in this run, which has the lock of the host."""
    return shlex.join([PROGRAM, *words, "--run", TOKEN, "--by", operator(), "--command", f"pyinfra {playbook}"])


def _say_what_it_says(state: State, host: Host, command: str, forward: bool) -> bool:
    ok, output = host.run_shell_command(command, **privileges(host))
    for line in [*output.stdout_lines, *output.stderr_lines]:
        logger.info(f"{host.print_prefix}{line}")
    if not forward:
        logger.info(f"{host.print_prefix}forward again: pyinfra inventory deploy.py -y --limit {host.name}")
    return ok


@operation()
def release_in_place(
    manifest: Mapping[str, Any],
) -> Generator[StringCommand | FileUploadCommand | FunctionCommand, None, None]:
    """Have every file of the release in its place, checked before; nothing starts or stops. :param manifest: see release.py."""
    found = host.get_fact(PhaseStatus).get("release") or {}
    if found.get("id") == manifest["id"] and not found["changed"] and not found["staged"]:
        host.noop(f"release {manifest['id']} is in place")
        return
    text = json.dumps({**manifest, "time": datetime.now(timezone.utc).isoformat(timespec="seconds")}, indent=1)
    yield StringCommand("mkdir", "-p", NEXT)
    yield FileUploadCommand(io.BytesIO(text.encode()), f"{NEXT}/manifest.json")
    yield FunctionCommand(_say_what_it_says, (on_host("activate"), True), {})
    yield FunctionCommand(lambda state, host: CHANGED.add(host.name), (), {})


@operation()
def release_settled(release: str, phase: int) -> Generator[FunctionCommand, None, None]:
    """Have the release on record as the last good one, which is what a failed deploy returns to."""
    status = host.get_fact(PhaseStatus)
    found = status.get("release") or {}
    settled = found.get("id") == found.get("good") == release and found.get("verdict") == "good"
    if settled and status.get("recorded") == phase:
        host.noop(f"release {release} is the last good one")
        return
    yield FunctionCommand(_say_what_it_says, (on_host("settle"), True), {})


@operation()
def release_serves(release: str, patience_s: int) -> Generator[FunctionCommand, None, None]:
    """Have an older release of this host serve, in its phase, proved. :param release: an id, or "previous"."""
    words = ("to", release, "--patience", str(patience_s))
    yield FunctionCommand(_say_what_it_says, (on_host(*words, playbook="rollback.py"), False), {})


class FileDigest(FactBase["str | None"]):
    """sha256 of a file and its mode, such as "… 755"; None where there is none."""

    def command(self, path: str) -> StringCommand:
        name = QuoteString(path)
        return StringCommand(
            "test -f", name, "&& echo $(sha256sum <", name, "| cut -c1-64) $(stat -c %a", name, ") || true"
        )

    def process(self, output: list[str]) -> str | None:
        return " ".join(output).strip() or None


@operation()
def replaced(path: str, content: bytes, mode: str) -> Generator[FileUploadCommand | StringCommand, None, None]:
    """Have `path` hold `content`, by a rename: never half of it, and on a full disk what was there before."""
    if host.get_fact(FileDigest, path=path) == f"{hashlib.sha256(content).hexdigest()} {mode}":
        host.noop(f"{path} is up to date")
        return
    new = QuoteString(f"{path}.new")
    yield StringCommand("mkdir", "-p", QuoteString(path.rpartition("/")[0]))
    yield FileUploadCommand(io.BytesIO(content), f"{path}.new")
    yield StringCommand(
        "chown root:root", new, "&& chmod", mode, new, "&& sync", new, "&& mv -fT", new, QuoteString(path)
    )


@operation()
def unit_current(unit: str, inputs: dict[str, str]) -> Commands:
    """Have the unit run, started with exactly these inputs; otherwise restart it and say why."""
    state = host.get_fact(Units, units=(unit,)).get(unit)
    reason = reason_to_restart(state.started_with, inputs) if state and state.runs else "not running"
    if reason is None:
        host.noop(f"{unit} runs with the current inputs")
        return
    logger.info(f"{host.print_prefix}{unit}: {reason}")
    # A socket whose service runs refuses to restart, so the service goes first and comes back with the next operation.
    first = f"systemctl stop {unit.removesuffix('.socket')}.service;" if unit.endswith(".socket") else ""
    yield StringCommand(
        f"{first} systemctl reset-failed {unit} 2>/dev/null; systemctl restart {unit} || {_go_back(unit, 'start')}"
    )


def _go_back(unit: str, what: str) -> str:
    """The shell's words for: show the unit's last lines, have the host return to the last good release, and fail."""
    back = on_host("return", "--unit", unit, "--why", f"{unit} did not {what}")
    return f"{{ {back} >&2; exit 1; }}"


class IsProved(FactBase[bool]):
    """Whether the running start of a unit has passed this probe already."""

    @staticmethod
    def default() -> bool:
        return False

    def command(self, unit: str, probe: Sequence[str]) -> str:
        return f'test "$(cat {PROVED}/{unit} 2>/dev/null)" = {_proof(unit, probe)} && echo yes || true'

    def process(self, output: list[str]) -> bool:
        return output == ["yes"]


def _proof(unit: str, probe: Sequence[str]) -> str:
    return f'"$(systemctl show -p InvocationID --value {unit}) {shlex.join(probe)}"'


@operation()
def proved(unit: str, probe: list[str], timeout_s: int) -> Commands:
    """Have the unit's present start proved by `llm-ready <probe>`: health, models, and one generated token.

    Waits up to `timeout_s` seconds; then fails with the last answer and the unit's own last lines.
    """
    if host.get_fact(IsProved, unit=unit, probe=probe):
        host.noop(f"{unit} has proved itself")
        return
    ready = f"{LIBEXEC}/llm-ready {shlex.join(probe)} --timeout {timeout_s} --quiet"
    record = f"mkdir -p {PROVED} && echo {_proof(unit, probe)} > {PROVED}/{unit}"
    yield StringCommand(f"{{ {ready} || {_go_back(unit, 'answer')}; }} && {record}")
