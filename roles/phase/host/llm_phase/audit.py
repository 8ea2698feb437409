"""What is on record: the phase, and who did what."""

import json

from llm_phase.files import read_json, write_json
from llm_phase.locks import AUDIT, append, now

STATE = "/var/lib/llm/state.json"


def read_state():
    """What is on record: the phase, the release in place, the last good one, and versions; {} where nothing can be read."""
    state = read_json(STATE, {})
    return state if isinstance(state, dict) else {}


def recorded():
    """The phase on record, as a number; None where there is none."""
    return read_state().get("phase")


def record(**changes):
    """Write down what the host is in now; the rest of the record stays. Raises OSError, as with a full disk."""
    write_json(STATE, {**read_state(), **changes})


def note(number, by, what, result, seconds, detail=""):
    """A line in the audit log. Raises OSError."""
    entry = {"time": now(), "by": by, "command": what, "to": number, "result": result, "seconds": round(seconds, 1)}
    append(AUDIT, {**entry, **({"detail": detail} if detail else {})})


def entries():
    """The audit log, oldest first; a line that a power cut left half is passed over."""
    found = []
    try:
        with open(AUDIT, encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    found.append(json.loads(line))
                except ValueError:
                    continue
    except OSError:
        pass
    return found
