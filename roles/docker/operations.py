"""daemon.json belongs to everybody: merge our keys into it."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from typing import Any

from pyinfra import host
from pyinfra.api import OperationError, QuoteString, StringCommand, operation
from pyinfra.facts.files import FileContents

from roles.settings import merge

DAEMON_JSON = "/etc/docker/daemon.json"
Commands = Generator[StringCommand, None, None]


def merged(present: str, wanted: Mapping[str, Any]) -> str:
    """The file's new text: `wanted` on top of what is there. Raises ValueError for a file that is not one JSON object."""
    content = json.loads(present) if present.strip() else {}
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    return json.dumps(merge(content, wanted), indent=2, sort_keys=True) + "\n"


@operation()
def daemon_configured(wanted: dict[str, Any]) -> Commands:
    """Have `wanted` in daemon.json and leave every other key alone; the previous file is kept as daemon.json.before-llm."""
    lines = host.get_fact(FileContents, path=DAEMON_JSON)
    present = "\n".join(lines or [])
    try:
        text = merged(present, wanted)
    except ValueError as error:
        raise OperationError(
            f"{DAEMON_JSON} on the host cannot be read ({error}); correct it, then deploy again"
        ) from None
    if lines is not None and json.loads(present or "{}") == json.loads(text):
        host.noop("daemon.json has our keys")
        return
    backup = f"test -e {DAEMON_JSON} && cp -p {DAEMON_JSON} {DAEMON_JSON}.before-llm || mkdir -p /etc/docker"
    yield StringCommand(
        f"{backup};",
        "printf",
        "%s",
        QuoteString(text),
        ">",
        f"{DAEMON_JSON}.new",
        "&&",
        "mv",
        f"{DAEMON_JSON}.new",
        DAEMON_JSON,
    )
