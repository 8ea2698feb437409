"""daemon.json belongs to everybody: our keys are merged into it, in one transaction with the daemon's restart."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from typing import Any

from pyinfra import host
from pyinfra.api import OperationError, QuoteString, StringCommand, operation
from pyinfra.facts.files import FileContents

from roles.layout import LIBEXEC
from roles.settings import merge

DAEMON_JSON = "/etc/docker/daemon.json"
Commands = Generator[StringCommand, None, None]


def is_merged(present: str, wanted: Mapping[str, Any]) -> bool:
    """Whether the file has every wanted key. Raises ValueError for a file that is not one JSON object."""
    content = json.loads(present) if present.strip() else {}
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    return merge(content, wanted) == content


@operation()
def daemon_configured(wanted: dict[str, Any]) -> Commands:
    """Have Docker run with `wanted` in daemon.json, every other key kept, every container running on; else undo it."""
    lines = host.get_fact(FileContents, path=DAEMON_JSON)
    try:
        done = is_merged("\n".join(lines or []), wanted)
    except ValueError as error:
        raise OperationError(
            f"{DAEMON_JSON} on the host cannot be read ({error}); correct it, then deploy again"
        ) from None
    if done and lines is not None:
        host.noop("daemon.json has our keys")
        return
    yield StringCommand(f"{LIBEXEC}/configure-daemon", QuoteString(json.dumps(wanted, sort_keys=True)))
