"""The steps of a switch. Each looks first, does what is left to do, and has a bound."""

import contextlib
import os
import signal
import time

from llm_phase.errors import Failure
from llm_phase.host import (
    ALIAS,
    AT_BOOT,
    PROVED,
    chosen,
    is_gone,
    is_up,
    journal,
    look,
    on_the_cards,
    parse_units,
    proof,
    run,
    user_of,
)

READY = "/usr/local/lib/llm/llm-ready"
STARTED, INPUTS = "/run/llm/started-with", "/etc/llm/inputs"
GONE_S = 20.0
HANGS = "does it hang in the driver (dmesg | tail)? Then reboot"


def choose(phases, number):
    """Have the next boot come up in the phase; what went wrong.

    The alias is one link, which systemctl replaces by a rename: at no moment are both phases enabled, or none. Links to a target
    itself are of an earlier version of this project, or made by hand.
    """
    problems = []
    try:
        os.makedirs(os.path.dirname(AT_BOOT), exist_ok=True)
        if not os.path.islink(AT_BOOT):
            os.symlink(ALIAS, AT_BOOT)
    except OSError as problem:
        problems.append(str(problem))
    done = run("systemctl", "enable", "--force", "--quiet", phases[number]["target"])
    if done.returncode:
        problems.append(done.stderr.strip() or "systemctl enable failed")
    for one in phases.values():
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(os.path.dirname(AT_BOOT), one["target"]))
    run("systemctl", "daemon-reload")
    seen = chosen(phases, look(phases))
    if not problems and seen != [number]:
        problems.append(f"the next boot would bring Phase {' and '.join(seen) or 'none'}")
    return problems


def wait_until(is_so, seconds):
    """Whether `is_so()` came true in that time."""
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() >= end:
            return False
        time.sleep(0.1)
    return True


def states_of(names):
    return parse_units(run("systemctl", "show", "--property=Id,ActiveState", "--", *names).stdout)


def stop(names, patience):
    """End units and everything in them: asked first, killed after `patience` seconds. Returns those that had to be killed."""

    def left():
        states = states_of(names)
        return [name for name in names if not is_gone(states, name)]

    if not left():
        return []
    run("systemctl", "stop", "--no-block", *names)
    if wait_until(lambda: not left(), patience):
        return []
    killed = left()
    for name in killed:
        run("systemctl", "kill", "--signal=SIGKILL", name)
    if not wait_until(lambda: not left(), GONE_S):
        raise Failure(f"{', '.join(left())} does not end, not even by SIGKILL; {HANGS}")
    run("systemctl", "reset-failed", *killed)  # it was meant: nobody should find a failed unit and look for a cause
    return killed


def free_the_cards(user):
    """End what a stopped service left behind on the cards: processes of its user, which no unit holds any more."""

    def orphans():
        return [pid for pid, _ in on_the_cards() if user_of(pid) == user]

    found = orphans()
    for pid in found:
        with contextlib.suppress(ProcessLookupError):  # it was about to end by itself
            os.kill(pid, signal.SIGKILL)
    if not wait_until(lambda: not orphans(), GONE_S):
        raise Failure(f"pid {', '.join(map(str, orphans()))} keeps its memory on a card; {HANGS}")
    return found


def stop_stale_starts(names):
    """A start under way joins our job. When it began with other inputs (a crash loop, a load that hangs) it must not."""
    for name, state in states_of(names).items():
        if state["ActiveState"] == "activating" and not has_present_inputs(name, "starting"):
            run("systemctl", "stop", name)


def has_present_inputs(name, record):
    """Whether a start of a unit began with the inputs that are on the disk now (see base/host/record-start).

    :param record: "json" for the last good start, "starting" for the one under way.
    """
    try:
        with open(f"{STARTED}/{name}.{record}", "rb") as begun, open(f"{INPUTS}/{name}.json", "rb") as wanted:
            return begun.read() == wanted.read()
    except OSError:
        return False


def stale(one, units):
    """Units that run and were started with other files than the ones in place, in the order in which they should restart."""
    return [name for name in one["units"] if is_up(units, name) and not has_present_inputs(name, "json")]


def restart(name, patience):
    """Have a unit start anew. A server that hangs is killed after `patience` seconds. Raises Failure with its last lines."""
    if name.endswith(".socket"):  # one whose service runs refuses to restart
        stop([name.replace(".socket", ".service")], patience)
    run("systemctl", "reset-failed", name)
    done = run("systemctl", "restart", name, timeout=1800)
    if done.returncode:
        raise Failure(f"{name} did not come up: {done.stderr.strip()}\n{journal([name])}")


def start(one):
    """Start a phase and wait until every unit of it came up. Raises Failure with the last lines of those that did not."""
    stop_stale_starts(one["units"])
    run("systemctl", "reset-failed", *one["units"])
    bound = max(one["timeout_s"].values()) + 180
    done = run("systemctl", "start", one["target"], *one["units"], timeout=bound)
    if done.returncode:
        states = states_of(one["units"])
        down = [name for name in one["units"] if not is_up(states, name)]
        raise Failure(f"{', '.join(down) or one['target']} did not come up: {done.stderr.strip()}\n{journal(down)}")


def answers(gate):
    """Whether a server makes a token now, asked once."""
    return run(READY, *gate, "--quiet", timeout=180).returncode == 0


def prove(one, unit):
    """Have a unit generate a token. Raises Failure with its last lines."""
    gate, limit = one["gates"][unit], one["timeout_s"][unit]
    done = run(READY, *gate, "--timeout", str(limit), "--quiet", timeout=limit + 180)
    if done.returncode:
        raise Failure(f"{unit}: {done.stderr.strip()}\n{journal([unit])}")
    put_down_proof(unit, gate)


def put_down_proof(unit, gate):
    """Have it known of the unit's present start that it has generated a token."""
    units = parse_units(run("systemctl", "show", "--property=Id,InvocationID", "--", unit).stdout)
    with contextlib.suppress(OSError):  # a deploy asks once more then
        os.makedirs(PROVED, exist_ok=True)
        with open(f"{PROVED}/{unit}", "w", encoding="utf-8") as file:
            file.write(proof(units, unit, gate) + "\n")
