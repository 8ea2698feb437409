"""How a look at several hosts ends: after the last one, before pyinfra's own questions and before anything is run.

pyinfra ends with the exit status of an error that a playbook raises, and there is one process for all hosts. So the host
that is judged last ends the run, with the status that is right for all of them.
"""

from __future__ import annotations

import sys
from typing import Any

from pyinfra.api import Host, State
from pyinfra.api.exceptions import PyinfraError
from pyinfra_cli.exceptions import CliError

from roles.telling import Told, Words

NOT_REACHED = "not reached; the lines above say why"


class Ended(PyinfraError, CliError):  # type: ignore[misc]  # pyinfra_cli has no types
    """The end of the look. A PyinfraError, so that a playbook may raise it; a CliError, so that it keeps its exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = status

    def show(self, file: object = None) -> None:
        print(self.message, file=sys.stderr, flush=True)


_told: dict[str, Any] = {}  # so far, by host; a playbook is executed once for each


def tell(state: State, host: Host, told: Told, words: Words[Told], as_lines_of_json: bool) -> None:
    """Tell what is known of a host. Raises Ended when it was the last one that pyinfra has reached."""
    _say(told, words, as_lines_of_json)
    _told[host.name] = told
    if any(one.name not in _told for one in state.activated_hosts):
        return
    for lost in state.inventory:
        if state.is_host_in_limit(lost) and lost.name not in _told:
            _told[lost.name] = words.unknown(lost.name, NOT_REACHED)
            _say(_told[lost.name], words, as_lines_of_json)
    raise Ended(*words.end(list(_told.values())))


def _say(told: Told, words: Words[Told], as_lines_of_json: bool) -> None:
    """To people on standard error, to machines on standard output."""
    if as_lines_of_json:
        print(words.as_json(told), flush=True)
    print(words.report(told), file=sys.stderr, flush=True)
