"""Operations on units and phases. Each looks at the host and yields commands only for what is not so already."""

from __future__ import annotations

import json
import shlex
from collections.abc import Generator, Sequence

from pyinfra import host, logger
from pyinfra.api import FactBase, QuoteString, StringCommand, operation
from pyinfra.facts.files import FileContents

from roles.layout import ADAPTER, ADAPTER_SOCKET, LIBEXEC, PHASE_TARGETS, PHASE_UNITS
from roles.started_with import RECORDS, inputs_path, reason_to_restart
from roles.unit_facts import Units

Commands = Generator[StringCommand, None, None]
PROVED = "/run/llm/proved"


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


@operation()
def phase_selected(phase: int) -> Commands:
    """Have exactly one phase's target enabled: the one that every boot comes up in."""
    wanted, other = PHASE_TARGETS[phase], PHASE_TARGETS[3 - phase]
    states = host.get_fact(Units, units=(wanted, other))
    if other not in states or states[other].enabled:
        yield StringCommand("systemctl", "disable", "--quiet", other)
    if wanted not in states or not states[wanted].enabled:
        yield StringCommand("systemctl", "enable", "--quiet", wanted)


@operation()
def phase_started(phase: int) -> Commands:
    """Have the phase's target and all its units active; the other phase is stopped by the same job."""
    target, units = PHASE_TARGETS[phase], PHASE_UNITS[phase]
    states = host.get_fact(Units, units=(target, *units))
    idle = [unit for unit in (target, *units) if unit not in states or not states[unit].runs]
    if not idle:
        host.noop(f"{target} runs")
        return
    for unit in units:
        if unit in states and states[unit].active == "activating":
            # A start under way joins our job. When it began with other inputs (a crash loop, a load that hangs) it must not.
            yield StringCommand(f"cmp -s {RECORDS}/{unit}.starting {inputs_path(unit)} || systemctl stop {unit}")
    # A unit that gave up earlier (start limit) gets a fresh count. The target's job waits for every unit to answer.
    yield StringCommand("systemctl", "reset-failed", *units, "2>/dev/null;", *_start(target, idle))


def _start(target: str, idle: list[str]) -> list[str]:
    services = " ".join(unit for unit in idle if unit != target)
    evidence = (
        f"{{ journalctl -u {' -u '.join(PHASE_UNITS[1] + PHASE_UNITS[2])} -n 20 -o short --no-pager >&2; exit 1; }}"
    )
    return [f"systemctl start {target} {services} || {evidence}"]


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
    first = f"systemctl stop {ADAPTER};" if unit == ADAPTER_SOCKET else ""
    journal = f"journalctl -u {unit} -n 20 -o cat --no-pager >&2"
    yield StringCommand(
        f"{first} systemctl reset-failed {unit} 2>/dev/null; systemctl restart {unit} || {{ {journal}; exit 1; }}"
    )


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
    journal = f"{{ journalctl -u {unit} -n 20 -o cat --no-pager >&2; exit 1; }}"
    record = f"mkdir -p {PROVED} && echo {_proof(unit, probe)} > {PROVED}/{unit}"
    yield StringCommand(f"{{ {ready} || {journal}; }} && {record}")


@operation()
def atomic_file(path: str, text: str) -> Commands:
    """Have `path` hold `text`, by a rename: a reader sees the old content or the new, and a full disk loses neither."""
    if host.get_fact(FileContents, path=path) == text.splitlines():
        host.noop(f"{path} is up to date")
        return
    yield from _replace(path, text)


def _replace(path: str, text: str) -> Commands:
    temporary = QuoteString(f"{path}.new")
    yield StringCommand(
        "printf", "%s", QuoteString(text), ">", temporary, "&&", "mv", "-f", temporary, QuoteString(path)
    )


@operation()
def phase_recorded(path: str, phase: int) -> Commands:
    """Have the state file say which phase the host is in, and leave everything else in it as it is."""
    try:
        state = json.loads("\n".join(host.get_fact(FileContents, path=path) or ["{}"]))
    except ValueError:
        state = {}  # half a file is no state; the phase is what matters now
    if state.get("phase") == phase:
        host.noop(f"{path} says Phase {phase}")
        return
    yield from _replace(path, json.dumps({**state, "phase": phase}, indent=1) + "\n")
