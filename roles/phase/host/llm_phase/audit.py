"""What is on record: the phase, and who did what."""

import json
import os

from llm_phase.host import now, read_json
from llm_phase.locks import append

STATE = "/var/lib/llm/state.json"
AUDIT = "/var/lib/llm/audit.jsonl"


def recorded():
    """The phase on record, as a number; None where there is none."""
    state = read_json(STATE, {})
    return state.get("phase") if isinstance(state, dict) else None


def record_phase(number):
    """Write down which phase the host is in, by a rename; the rest of the file stays. Raises OSError, as with a full disk."""
    state = read_json(STATE, {})
    text = json.dumps({**(state if isinstance(state, dict) else {}), "phase": int(number)}, indent=1) + "\n"
    with open(f"{STATE}.new", "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(f"{STATE}.new", STATE)


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
