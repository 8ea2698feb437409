"""From one phase to the other, in an order that never leaves both, or neither, to chance."""

import shlex
import signal
import time
from collections import namedtuple

from llm_phase.audit import AUDIT, STATE, note, record_phase, recorded
from llm_phase.errors import Failure, Refusal
from llm_phase.host import chosen, is_gone, look, missing, serving
from llm_phase.output import complain, say
from llm_phase.steps import answers, choose, free_the_cards, prove, start, stop

VLLM_USER = "vllm"

# number: the wanted phase, "1" or "2". by, command: what goes on record. patience: seconds until what does not end is killed.
# back: go back to the phase that served, when this one does not come up.
Asked = namedtuple("Asked", "number by command patience back")


def other_number(number):
    return "2" if number == "1" else "1"


def other_of(phases, number):
    """The other phase, or None on a host for one alone."""
    return phases.get(other_number(number))


def leaving(phases, number):
    """Units that run in the other phase and not in this one."""
    other = other_of(phases, number)
    return [unit for unit in other["units"] if unit not in phases[number]["units"]] if other else []


def refuse_half_a_phase(phases, number):
    """Raises Refusal where the phase is not complete on this disk."""
    if lacking := missing(phases[number]):
        what = f"{len(lacking)} files are missing: {', '.join(lacking[:3])}"
        raise Refusal(f"Phase {number} is not complete on this disk, {what}. Repair: pyinfra inventory deploy.py -y")


def plan(phases, number):
    """The steps, for people. Raises Refusal for a phase that would be refused."""
    refuse_half_a_phase(phases, number)
    if is_done(phases, number, look(phases)):
        return [f"nothing: Phase {number} serves already"]
    one, gone = phases[number], leaving(phases, number)
    chooses = f"choose {one['target']} for the next boot"
    return [
        *([chooses] if number == "1" else []),
        *([f"stop {', '.join(gone)}; kill what has not ended after a while"] if gone else []),
        *(["end processes of vLLM that no service holds and that are left on the cards"] if number == "1" else []),
        f"start {one['target']}: {', '.join(one['units'])}",
        *(f"ask {unit} for a token ({shlex.join(words)})" for unit, words in one["gates"].items()),
        *([chooses] if number == "2" else []),
        f"record Phase {number} in {STATE} and {AUDIT}",
    ]


def is_done(phases, number, units):
    """Whether the phase alone serves, is on record and chosen for the next boot, and every server of it answers now."""
    settled = recorded() == int(number) and serving(phases, units) == number and chosen(phases, units) == [number]
    alone = all(is_gone(units, unit) for unit in leaving(phases, number))
    return settled and alone and all(answers(gate) for gate in phases[number]["gates"].values())


def switch(phases, asked):
    """Have the phase serve. Status as of the program. Raises Refusal before anything was changed."""
    begun, number = time.monotonic(), asked.number
    refuse_half_a_phase(phases, number)
    before = look(phases)
    if is_done(phases, number, before):
        say(f"Phase {number} serves already, on record and for the next boot; nothing to do")
        return 0
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the terminal may go, half a switch may not stay
    served = serving(phases, before) or str(recorded() or "1")
    put_on_record(asked, "begun", begun)
    # Back to Phase 1 is chosen first: a host that loses power on the way comes up in it. Phase 2 has to prove itself first.
    unchosen = choose(phases, number) if number == "1" else []
    try:
        carry_out(phases, asked, begun)
        unchosen = unchosen if number == "1" else choose(phases, number)
    except (Failure, OSError) as failure:
        return failed(phases, asked, served, begun, str(failure))
    after = look(phases)
    disturbed = disturbed_services(phases, number, before, after)
    for unit in disturbed:
        complain(f"{unit} was started anew, which a switch does not do: journalctl -u {unit}")
    put_down = put_on_record(asked, "done", begun, f"started anew: {', '.join(disturbed)}" if disturbed else "")
    say(table(phases, before, after))
    say(
        f"Phase {number} serves, after {time.monotonic() - begun:.1f} s. The other way: llm-phase {other_number(number)}"
    )
    for problem in unchosen:
        complain(f"a reboot would not come up in Phase {number}: {problem}")
    if not put_down:
        complain(f"free some space (df -h /var), then: llm-phase {number}")
    return 4 if unchosen or not put_down else 0


def put_on_record(asked, result, begun, detail=""):
    """Whether it could be written down; a full disk keeps nothing from serving."""
    try:
        if result == "done":
            record_phase(asked.number)
        note(asked.number, asked.by, asked.command, result, time.monotonic() - begun, detail)
    except OSError as problem:
        complain(f"that this is {result} cannot be written down: {problem}")
        return False
    return True


def carry_out(phases, asked, begun):
    """Stop, free, start, prove. Raises Failure."""
    one, gone = phases[asked.number], leaving(phases, asked.number)
    killed = stop(gone, asked.patience) if gone else []
    if gone:
        show(
            begun,
            f"stopped: {', '.join(gone)}" + (f"; killed, as it did not end: {', '.join(killed)}" if killed else ""),
        )
    orphans = free_the_cards(VLLM_USER) if asked.number == "1" else []
    if orphans:
        show(begun, f"killed on the cards, left behind by vLLM: pid {', '.join(map(str, orphans))}")
    start(one)
    show(begun, f"started: {', '.join(one['units'])}")
    for unit in one["gates"]:
        prove(one, unit)
        show(begun, f"{unit} answers")


def disturbed_services(phases, number, before, after):
    """Services of both phases, such as vision, that ran before and are another start now."""
    other = other_of(phases, number)
    shared = [unit for unit in phases[number]["units"] if other and unit in other["units"]]
    running = [unit for unit in shared if before.get(unit, {}).get("ActiveState") == "active"]
    return [unit for unit in running if after.get(unit, {}).get("InvocationID") != before[unit].get("InvocationID")]


def failed(phases, asked, served, begun, text):
    """Say what was seen, write it down, and go back where that was asked for and possible."""
    number = asked.number
    complain(f"Phase {number} did not come up: {text}")
    put_on_record(asked, "failed", begun, text.partition("\n")[0][:300])
    if asked.back and served != number and served in phases and not missing(phases[served]):
        complain(f"going back to Phase {served}, which served before")
        switch(phases, asked._replace(number=served, command=f"{asked.command}: return", back=False))
        return 1
    complain(
        f"again: llm-phase {number}    to the other phase: llm-phase {other_number(number)}    what is true: llm-phase"
    )
    return 1


def show(begun, text):
    """A line of progress with the seconds since the beginning."""
    say(f"{time.monotonic() - begun:7.1f} s  {text}")


def table(phases, before, after):
    """Each unit before and after."""
    names = sorted({name for one in phases.values() for name in one["units"]})
    width = max(map(len, names))

    def state(units, name):
        same = after.get(name, {}).get("InvocationID") == before.get(name, {}).get("InvocationID")
        seen = units.get(name, {}).get("ActiveState", "-")
        return f"{seen}, untouched" if units is after and seen == "active" and same else seen

    return "\n".join(f"{name:{width}}  {state(before, name):12} -> {state(after, name)}" for name in names)
