"""Status and log, for people and as JSON."""

import json

from llm_phase.audit import STATE, entries, recorded
from llm_phase.errors import Refusal
from llm_phase.host import chosen, is_proved, is_up, look, missing, serving
from llm_phase.locks import RUN_LOCK, SWITCH_LOCK, holder_of, read_owner
from llm_phase.placing import describe, is_staged
from llm_phase.releases import changed_by_hand, current, known, lacking, last_good, manifest_of, verdict_of


def release_truth():
    """What is known about the release in place; None before the first one."""
    try:
        release = current()
        return {
            "id": release,
            "verdict": verdict_of(release).get("result"),
            "good": last_good(),
            "changed": changed_by_hand(release),
            "staged": is_staged(),
        }
    except Refusal:
        return None


def status(phases, as_json):
    units = look(phases)
    truth = {
        "serving": int(serving(phases, units) or 0) or None,
        "recorded": recorded(),
        "next_boot": [int(number) for number in chosen(phases, units)],
        "complete": {number: missing(one) for number, one in sorted(phases.items())},
        "units": {
            name: units.get(name, {}).get("ActiveState", "unknown") for one in phases.values() for name in one["units"]
        },
        "proved": {
            unit: is_proved(units, unit, gate)
            for one in phases.values()
            for unit, gate in one["gates"].items()
            if is_up(units, unit)
        },
        "release": release_truth(),
        "changing": next((read_owner(path) or "somebody" for path in (RUN_LOCK, SWITCH_LOCK) if holder_of(path)), None),
        "last": (entries() or [None])[-1],
    }
    right = (
        truth["serving"] is not None
        and truth["recorded"] == truth["serving"]
        and truth["next_boot"] == [truth["serving"]]
    )
    if as_json:
        print(json.dumps({**truth, "as_recorded": right}))
        return 0 if right else 3
    print(f"serving     {'Phase ' + str(truth['serving']) if truth['serving'] else 'no phase is whole'}")
    print(
        f"on record   Phase {truth['recorded']}"
        if truth["recorded"]
        else f"on record   nothing: {STATE} is missing or broken"
    )
    print(f"next boot   {' and '.join(f'Phase {number}' for number in truth['next_boot']) or 'none'}")
    for name, seen in truth["units"].items():
        proved = {True: ", made a token", False: ", not asked for a token yet"}.get(truth["proved"].get(name), "")
        print(f"            {name}: {seen}{proved if seen == 'active' else ''}")
    for number, lost in truth["complete"].items():
        print(
            f"Phase {number}     {'complete on this disk' if not lost else f'{len(lost)} files are missing: {lost[0]}'}"
        )
    if release := truth["release"]:
        changed = f"; changed by hand: {', '.join(release['changed'])}" if release["changed"] else ""
        print(f"release     {release['id']}, {release['verdict'] or 'not proved'}{changed}")
    if truth["changing"]:
        print(f"changing    {truth['changing']}")
    if truth["last"]:
        print(f"last        {line_of(truth['last'])}")
    if not right:
        print(
            f"-> llm-phase {truth['recorded'] or 1} brings it to what is on record; llm-phase 1 goes back to plain Ollama"
        )
    return 0 if right else 3


def line_of(entry):
    """One line for people."""
    told = {name: entry.get(name, "?") for name in ("time", "to", "result", "seconds", "by", "command")}
    told["to"] = f"Phase {told['to']}" if str(told["to"]).isdigit() else told["to"]
    line = "{time}  {to}  {result}  {seconds} s  by {by}  ({command})".format(**told)
    return f"{line}  {entry['detail']}" if entry.get("detail") else line


def releases(as_json):
    """List every release on this host, the one that was proved last first. Status as of the program."""
    if as_json:
        found = [{**manifest_of(one), "verdict": verdict_of(one), "lacking": lacking(one)} for one in known()]
        print(json.dumps({"current": current(), "good": last_good(), "releases": found}))
        return 0
    for one in known():
        print(describe(one))
    return 0


def log(count, as_json):
    for entry in entries()[-count:]:
        print(json.dumps(entry) if as_json else line_of(entry))
    return 0
