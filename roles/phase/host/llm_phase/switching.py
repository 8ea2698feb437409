"""From one phase, or one release, to another, in an order that never leaves both, or neither, to chance."""

import shlex
import signal
import time
from collections import namedtuple

from llm_phase import gpu_share
from llm_phase.audit import AUDIT, STATE, note, record, recorded
from llm_phase.errors import Failure, Refusal
from llm_phase.files import read_json
from llm_phase.host import OURS, PHASES, chosen, is_gone, look, missing, serving
from llm_phase.output import complain, say
from llm_phase.placing import check, place
from llm_phase.releases import BAD, changed_by_hand, current, folder_of, judge, lacking, last_good, manifest_of
from llm_phase.steps import answers, choose, free_the_cards, prove, put_down_proof, restart, stale, start, stop

VLLMS, VLLM_USER = ("vllm.service", "vllm-vision.service"), "vllm"

# number: the wanted phase, "1" or "2". release: the one to put in place before, or None. by, command: what goes on record.
# patience: seconds until what does not end is killed. back: go back to what served, when this does not come up.
Asked = namedtuple("Asked", "number release by command patience back")


def other_number(number):
    return "2" if number == "1" else "1"


def other_of(phases, number):
    """The other phase, or None on a host for one alone."""
    return phases.get(other_number(number))


def phases_of(asked, phases):
    """The phases as what is asked for describes them: a release has a description of its own among its files."""
    if not asked.release:
        return phases
    described = read_json(f"{folder_of(asked.release)}/root{PHASES}", None)
    return described if isinstance(described, dict) else phases


def leaving(phases, number, units):
    """Units that belong to the other phase and not to this one, and any of ours that runs although it belongs to none."""
    other, mine = other_of(phases, number), phases[number]["units"]
    known = [unit for unit in other["units"] if unit not in mine] if other else []
    return known + [unit for unit in OURS if unit not in (*known, *mine) and not is_gone(units, unit)]


def asked_first(gone):
    """Of what goes, the units that finish answers for clients: all but vLLM, whose one client is the adapter.

    vLLM serves until they have ended, and is killed then: its own end takes 4 to 6 s, in which nobody would be served, and which
    save nothing. Its memory on the cards is free when it is gone, and systemd removes the rest of it (RemoveIPC=).
    """
    return [unit for unit in gone if unit not in VLLMS]


def killed_last(gone):
    """The vLLMs of what goes."""
    return [unit for unit in gone if unit in VLLMS]


def refuse_half_a_phase(phases, asked):
    """Raises Refusal where the phase, or the release, is not complete on this disk."""
    if asked.release:
        check(asked.release)
    if lost := missing(phases_of(asked, phases)[asked.number]):
        what = f"{len(lost)} files are missing: {', '.join(lost[:3])}"
        raise Refusal(
            f"Phase {asked.number} is not complete on this disk, {what}. Repair: pyinfra inventory deploy.py -y"
        )


def goal(asked):
    """What is asked for, in words."""
    return f"release {asked.release}, Phase {asked.number}," if asked.release else f"Phase {asked.number}"


def again_as(asked):
    """What is asked for, as words of llm-phase."""
    return f"to {asked.release}" if asked.release else asked.number


def plan(phases, asked):
    """The steps, for people. Raises Refusal for what would be refused."""
    refuse_half_a_phase(phases, asked)
    units = look(phases)
    phases = phases_of(asked, phases)
    if is_done(phases, asked, units):
        return [f"nothing: {goal(asked)} serves already"]
    number = asked.number
    one, gone = phases[number], leaving(phases, number, units)
    chooses = f"choose {one['target']} for the next boot"
    files = changed_by_hand(asked.release) if asked.release else []
    return [
        *([f"put in place: {', '.join(files)}"] if files else []),
        *([chooses] if number == "1" else []),
        *([f"stop {', '.join(asked_first(gone))}; kill what has not ended after a while"] if asked_first(gone) else []),
        *(f"kill {unit}, which has no answers left to make" for unit in killed_last(gone)),
        *(["end processes of vLLM that no service holds and that are left on the cards"] if number == "1" else []),
        f"start {one['target']}: {', '.join(one['units'])}; restart what runs with other files",
        *(f"ask {unit} for a token ({shlex.join(words)})" for unit, words in one["gates"].items()),
        *([chooses] if number == "2" else []),
        f"record {goal(asked).rstrip(',')} in {STATE} and {AUDIT}",
    ]


def is_done(phases, asked, units):
    """Whether all that is asked for serves, alone, is on record and chosen for the next boot, and every server answers now."""
    number = asked.number
    if asked.release and (not current() == last_good() == asked.release or changed_by_hand(asked.release)):
        return False
    settled = recorded() == int(number) and serving(phases, units) == number and chosen(phases, units) == [number]
    alone = all(is_gone(units, unit) for unit in leaving(phases, number, units))
    fresh = not asked.release or not stale(phases[number], units)
    return settled and alone and fresh and all(answers(gate) for gate in phases[number]["gates"].values())


def switch(phases, asked):
    """Have the phase serve. Status as of the program. Raises Refusal before anything was changed."""
    begun = time.monotonic()
    refuse_half_a_phase(phases, asked)
    before = look(phases)
    served_before = serving(phases, before)
    phases = phases_of(asked, phases)
    if is_done(phases, asked, before):
        # They have just answered, perhaps for the first time since a boot.
        for unit, gate in phases[asked.number]["gates"].items():
            put_down_proof(unit, gate)
        say(f"{goal(asked)} serves already, on record and for the next boot; nothing to do")
        return 0
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the terminal may go, half a switch may not stay
    served = served_before or str(recorded() or "1")
    put_on_record(asked, "begun", begun)
    try:
        if asked.release:
            place(asked.release)
            show(begun, f"in place: the files of release {asked.release}")
        # Back to Phase 1 is chosen first: a host that loses power on the way comes up in it. Phase 2 proves itself first.
        unchosen = choose(phases, asked.number) if asked.number == "1" else []
        restarted = carry_out(phases, asked, begun)
        unchosen = unchosen if asked.number == "1" else choose(phases, asked.number)
    except (Failure, OSError) as failure:
        return failed(phases, asked, served, begun, str(failure))
    return done(phases, asked, before, restarted, unchosen, begun)


def done(phases, asked, before, restarted, unchosen, begun):
    """Say what came of it, and write it down. Status as of the program."""
    number = asked.number
    after = look(phases)
    disturbed = [unit for unit in disturbed_services(phases, number, before, after) if unit not in restarted]
    for unit in disturbed:
        complain(f"{unit} was started anew, which a switch does not do: journalctl -u {unit}")
    put_down = put_on_record(asked, "done", begun, f"started anew: {', '.join(disturbed)}" if disturbed else "")
    say(table(phases, before, after))
    forward = "pyinfra inventory deploy.py -y" if asked.release else f"llm-phase {other_number(number)}"
    say(f"{goal(asked)} serves, after {time.monotonic() - begun:.1f} s. The other way: {forward}")
    for problem in unchosen:
        complain(f"a reboot would not come up in Phase {number}: {problem}")
    if not put_down:
        complain(f"free some space (df -h /var), then: llm-phase {again_as(asked)}")
    return 4 if unchosen or not put_down else 0


def put_on_record(asked, result, begun, detail=""):
    """Whether it could be written down; a full disk keeps nothing from serving."""
    try:
        if result == "done":
            record(phase=int(asked.number), **({"good": asked.release} if asked.release else {}))
        to = f"release {asked.release}" if asked.release else asked.number
        note(to, asked.by, asked.command, result, time.monotonic() - begun, detail)
    except OSError as problem:
        complain(f"that this is {result} cannot be written down: {problem}")
        return False
    return True


def carry_out(phases, asked, begun):
    """Stop, free, start, restart what is stale, prove. Returns what was restarted. Raises Failure."""
    one, gone = phases[asked.number], leaving(phases, asked.number, look(phases))
    if first := asked_first(gone):
        killed = stop(first, asked.patience)
        late = f"; killed, as it did not end: {', '.join(killed)}" if killed else ""
        show(begun, f"stopped: {', '.join(first)}{late}")
    if last := killed_last(gone):
        killed = stop(last, 0)
        show(begun, f"{'killed, with no answers left to make' if killed else 'stopped'}: {', '.join(last)}")
    orphans = free_the_cards(VLLM_USER) if asked.number == "1" else []
    if orphans:
        show(begun, f"killed on the cards, left behind by vLLM: pid {', '.join(map(str, orphans))}")
    # Only another release makes a running server start anew: on the way back to Phase 1 vision is left in peace.
    restarted = stale(one, look(phases)) if asked.release else []
    for unit in restarted:
        restart(unit, asked.patience)
    if restarted:
        show(begun, f"restarted with this release's files: {', '.join(restarted)}")
    start(one)
    show(begun, f"started: {', '.join(one['units'])}")
    for unit in one["gates"]:
        prove(one, unit)
        show(begun, f"{unit} answers")
        for sentence in gpu_share.complaints(one["gates"][unit]) if one.get("cards") else []:
            complain(f"warning: {unit}: {sentence}")
    return restarted


def disturbed_services(phases, number, before, after):
    """Services of both phases, such as vision, that ran before and are another start now."""
    other = other_of(phases, number)
    shared = [unit for unit in phases[number]["units"] if other and unit in other["units"]]
    running = [unit for unit in shared if before.get(unit, {}).get("ActiveState") == "active"]
    return [unit for unit in running if after.get(unit, {}).get("InvocationID") != before[unit].get("InvocationID")]


def failed(phases, asked, served, begun, text):
    """Say what was seen, write it down, and go back where that was asked for and possible."""
    number = asked.number
    complain(f"{goal(asked)} did not come up: {text}")
    put_on_record(asked, "failed", begun, text.partition("\n")[0][:300])
    if asked.back:
        go_back(phases, asked, served, text.partition("\n")[0][:300])
        return 1
    complain(
        f"again: llm-phase {again_as(asked)}    to the other phase: llm-phase {other_number(number)}    what is true: llm-phase"
    )
    return 1


def go_back(phases, asked, served, reason):
    """To the last good release and its phase, or, where there is none, to a phase that can serve. Whether that came up.

    The release that did not come up is marked, so that nobody goes back to it.

    :param served: the phase that served before, or None.
    """
    tried, good = current(), last_good()
    if tried and tried != good:
        try:
            judge(tried, BAD, reason)
        except OSError as problem:
            complain(f"that release {tried} is bad cannot be written down: {problem}")
    again = asked._replace(command=f"{asked.command}: return", back=False)
    serves = (0, 4)  # 4: but that could not be written down
    if good and good != tried and not lacking(good):
        # Whoever went back to Phase 1 by hand before this deploy had a reason to.
        number = served if served in phases and served != asked.number else str(manifest_of(good)["phase"])
        complain(f"going back to release {good}, the last good one, in Phase {number}")
        if _try(phases, again._replace(number=number, release=good)) in serves:
            return True
    for number in dict.fromkeys((served, "1")):
        if number in phases and number != asked.number and not missing(phases[number]):
            complain(f"going back to Phase {number}" + (", which served before" if number == served else ""))
            if _try(phases, again._replace(number=number, release=None)) in serves:
                return True
    complain(
        "nothing that this host could go back to serves; llm-phase shows what is true, llm-phase releases what there is"
    )
    return False


def _try(phases, asked):
    """Status of a switch; 2 with the reason when it was refused."""
    try:
        return switch(phases, asked)
    except Refusal as refusal:
        complain(f"{goal(asked).rstrip(',')} is not possible: {refusal}")
        return 2


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
