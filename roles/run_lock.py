"""One run at a time changes a host. A second operator is told who and since when; a run that died leaves nothing locked."""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import time
from collections.abc import Generator
from typing import Literal

import gevent
from pyinfra import host, logger
from pyinfra.api import FactBase, FunctionCommand, Host, QuoteString, State, StringCommand, operation

from roles.pins import ROOT
from roles.secrets import privileges

TOKEN = secrets.token_hex(6)  # of this run
SCRIPT = ROOT / "roles" / "phase" / "host" / "llm_phase" / "locks.py"  # the lock is the one of llm-phase
LOCK = "/run/llm/lock"
HELD_TIMEOUT_S = 30.0
How = Literal["respect", "break"]
_holders: dict[str, tuple[gevent.Greenlet, str, How]] = {}


class Changing(FactBase["str | None"]):
    """Who is changing the host just now, a run or a switch; None when nobody is. Looks at the locks without taking one."""

    def command(self) -> StringCommand:
        return StringCommand(
            "python3", "-c", QuoteString(LOOK), QuoteString(SCRIPT.read_text(encoding="utf-8")), "2>/dev/null || true"
        )

    def process(self, output: list[str]) -> str | None:
        return " ".join(output).strip() or None


LOOK = """import sys
locks = {"__name__": "locks"}
exec(sys.argv[1], locks)
held = [path for path in (locks["RUN_LOCK"], locks["SWITCH_LOCK"]) if locks["holder_of"](path) is not None]
if held:
    print(locks["read_owner"](held[0]) or "somebody")
"""


def operator() -> str:
    """Who goes on record: LLM_OPERATOR, else the person at the controller."""
    return os.environ.get("LLM_OPERATOR") or f"{getpass.getuser()}@{socket.gethostname()}"


@operation()
def host_locked(command: str, how: How) -> Generator[FunctionCommand, None, None]:
    """Have this host to ourselves until the run ends. Changes nothing on it, so it never counts as a change.

    :param command: what goes on record, such as "pyinfra deploy.py".
    :param how: "break" ends whoever has the lock.
    """
    if not host.state.is_executing:
        host.noop("the lock is taken when the run begins")
        return
    # By name: `host` stands for whichever host is current, and the end of the lock comes at any time.
    if (problem := _hold(host.state.inventory.get_host(host.name), command, how)) is not None:
        yield FunctionCommand(_refuse, (problem, command), {})


def _hold(host: Host, command: str, how: How) -> str | None:
    """Have the lock; None, or who has it instead."""
    words = (operator(), f"({command})")
    script = SCRIPT.read_text(encoding="utf-8")
    line = StringCommand("python3", "-c", QuoteString(script), QuoteString(" ".join(words)), TOKEN, how)
    holder = gevent.spawn(host.run_shell_command, line, **privileges(host))
    holder.link(lambda ended: _look_at_the_end(host, ended))
    _holders[host.name] = (holder, command, how)
    end = time.monotonic() + HELD_TIMEOUT_S
    while time.monotonic() < end:
        if holder.ready():
            ok, output = holder.value or (False, None)
            said = output.stdout.strip() if output else ""
            return said or (output.stderr.strip() if output else "") or "the lock cannot be taken"
        ok, output = host.run_shell_command(f"cat {LOCK} 2>/dev/null", **privileges(host))
        if ok and f"run {TOKEN}" in output.stdout:
            return None
        gevent.sleep(0.2)
    return f"the lock was not taken within {HELD_TIMEOUT_S:.0f} s"


def _look_at_the_end(host: Host, holder: gevent.Greenlet) -> None:
    """Somebody may break the lock of a run that goes on: it changes nothing more on this host."""
    _, output = holder.value or (False, None)
    if output and "broke the lock" in output.stdout:
        logger.error(f"{host.print_prefix}{output.stdout.strip()}; this run changes nothing more here")
        host.state.failed_hosts.add(host)
        host.state.active_hosts.discard(host)


def hold_again(host: Host) -> bool:
    """After a reboot of the host, which forgets every lock. False, with a message, when somebody was quicker."""
    if host.name not in _holders:
        return True
    _, command, _ = _holders[host.name]
    problem = _hold(host, command, "respect")
    if problem is not None:
        _say(host, problem, command)
    return problem is None


def _refuse(state: State, host: Host, problem: str, command: str) -> bool:
    _say(host, problem, command)
    return False


def _say(host: Host, problem: str, command: str) -> None:
    playbook = command.rpartition(" ")[2]
    logger.error(f"{host.print_prefix}locked: {problem}")
    logger.error(
        f"{host.print_prefix}    wait for it, or, if you know that it may be ended: "
        f"pyinfra inventory {playbook} -y --limit {host.name} --data lock=break"
    )
