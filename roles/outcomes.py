"""How a run ended on a host that is neither done nor broken: a line for machines, and a file on the host."""

from __future__ import annotations

import json
import shlex
import sys
from datetime import datetime, timezone

from pyinfra.api import FactBase, Host

from roles.layout import STATE
from roles.secrets import privileges

OUTCOME_FILE = f"{STATE}/outcome.json"
REBOOT_NEEDED = "reboot-needed"


def outcome_line(host: str, result: str, reason: str, then: str) -> str:
    """One line of `key=value` words, quoted as a shell would."""
    values = {"host": host, "result": result, "reason": reason, "next": then}
    return "outcome " + " ".join(f"{key}={shlex.quote(value)}" for key, value in values.items())


def end_with(host: Host, result: str, reason: str, then: str) -> None:
    """Say that the run ends here on this host, on standard error and in OUTCOME_FILE; the caller fails the operation."""
    print(outcome_line(host.name, result, reason, then), file=sys.stderr, flush=True)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    text = json.dumps({"outcome": result, "reason": reason, "next": then, "since": now}, indent=1)
    quoted = shlex.quote(text)
    command = (
        f"mkdir -p {STATE} && printf '%s\\n' {quoted} > {OUTCOME_FILE}.new && mv -f {OUTCOME_FILE}.new {OUTCOME_FILE}"
    )
    host.run_shell_command(command, **privileges(host))


def forget_outcome() -> str:
    """The command that removes what an earlier run left; nothing to do is no error."""
    return f"rm -f {OUTCOME_FILE}"


class Outcome(FactBase["dict[str, str] | None"]):
    """What OUTCOME_FILE says; None where the last run left nothing to be done. For machines, with every host in one object:

    pyinfra --json inventory fact roles.outcomes.Outcome
    """

    @staticmethod
    def default() -> dict[str, str] | None:
        return None

    def command(self) -> str:
        return f"cat {OUTCOME_FILE} 2>/dev/null; true"

    def process(self, output: list[str]) -> dict[str, str] | None:
        try:
            said = json.loads("\n".join(output))
        except ValueError:
            return None
        return said if isinstance(said, dict) else None
