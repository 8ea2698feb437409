"""Which inputs a running service was started with, so that a restart is due exactly when one of them changed.

Each of our units copies its list of input hashes (`/etc/llm/inputs/<unit>.json`, written by its role) to
`/run/llm/started-with/<unit>.json` when it has come up, see base/host/record-start. So whoever starts the unit – a deploy,
systemd at boot, a person – the record is true, and a run that dies between "file written" and "service restarted" loses nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from roles.layout import ETC, digest

RECORDS = "/run/llm/started-with"


def inputs_path(unit: str) -> str:
    return f"{ETC}/inputs/{unit}.json"


def inputs_of(**texts: str) -> dict[str, str]:
    """Hashes of everything that a service reads when it starts, by a name that an operator understands."""
    return {name: digest(text) for name, text in texts.items()}


def inputs_text(inputs: Mapping[str, str]) -> str:
    return json.dumps(dict(sorted(inputs.items())), indent=1) + "\n"


def reason_to_restart(started_with: Mapping[str, str] | None, wanted: Mapping[str, str]) -> str | None:
    """Why a running service must start anew: None when it runs with exactly the wanted inputs, else a sentence."""
    if started_with is None:
        return "no good start on record"
    changed = sorted(k for k in started_with.keys() | wanted.keys() if started_with.get(k) != wanted.get(k))
    return f"changed since the last good start: {', '.join(changed)}" if changed else None
