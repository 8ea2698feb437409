"""Which inputs a running service was started with, so that a restart is due exactly when one of them changed.

Each of our units copies its list of input hashes (`/etc/llm/inputs/<unit>.json`, written by its role) to
`/run/llm/started-with/<unit>.json` when it has come up, see base/host/record-start. So whoever starts the unit – a deploy,
systemd at boot, a person – the record is true, and a run that dies between "file written" and "service restarted" loses nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from roles.layout import ETC, digest

RECORDS = "/run/llm/started-with"
NO_START = "no good start on record"


def inputs_path(unit: str) -> str:
    return f"{ETC}/inputs/{unit}.json"


def checksums_path(unit: str) -> str:
    return f"{ETC}/inputs/{unit}.sha256"


def checksums_text(files: Mapping[str, str]) -> str:
    """For `sha256sum --check`: what each file that the unit reads should hold. :param files: text by path."""
    return "".join(f"{hashlib.sha256(text.encode()).hexdigest()}  {path}\n" for path, text in sorted(files.items()))


def inputs_of(**texts: str) -> dict[str, str]:
    """Hashes of everything that a service reads when it starts, by a name that an operator understands."""
    return {name: digest(text) for name, text in texts.items()}


def inputs_text(inputs: Mapping[str, str]) -> str:
    return json.dumps(dict(sorted(inputs.items())), indent=1) + "\n"


def changed_inputs(started_with: Mapping[str, str], wanted: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the inputs that differ, or are on one side only, in order."""
    return tuple(sorted(k for k in started_with.keys() | wanted.keys() if started_with.get(k) != wanted.get(k)))


def reason_to_restart(started_with: Mapping[str, str] | None, wanted: Mapping[str, str]) -> str | None:
    """Why a running service must start anew: None when it runs with exactly the wanted inputs, else a sentence."""
    if started_with is None:
        return NO_START
    changed = changed_inputs(started_with, wanted)
    return f"changed since the last good start: {', '.join(changed)}" if changed else None
