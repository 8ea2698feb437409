"""Secrets on their way from the controller to root-only files on the host: over standard input, and nowhere else.

They are never host data, template variables, arguments or environment of a command, so no plan, diff or log can show them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator
from pathlib import Path

from pyinfra import host
from pyinfra.api import FunctionCommand, Host, QuoteString, State, StringCommand, operation
from pyinfra.facts.files import File, Sha256File

Read = Callable[[], str | None]


class HiddenLines(list[str]):
    """Lines for a command's standard input that no log shows: pyinfra's debug log prints the arguments of every fact."""

    def __repr__(self) -> str:
        return "[hidden]"

    __str__ = __repr__


def read_secret(variable: str, file: str | None) -> str | None:
    """The secret from `file` if one is named, else from the controller's environment variable; None when there is none.

    Raises OSError when the named file cannot be read.
    """
    text = Path(file).expanduser().read_text(encoding="utf-8") if file else os.environ.get(variable, "")
    return text.strip() or None


@operation()
def secret_file(path: str, read: Read) -> Generator[FunctionCommand | StringCommand, None, None]:
    """Have `path` hold the secret that `read` gives, root:root 0600; without one keep what is there, or an empty file.

    :param read: called on the controller, when the plan is made and when it runs; the value appears in no argument.
    """
    secret = read()
    if secret is None:
        if host.get_fact(File, path=path):
            host.noop(f"{path} is kept: the controller has no secret for it")
        else:
            yield StringCommand("install", "-m", "600", "/dev/null", QuoteString(path))
        return
    # pyinfra ends each line of standard input with a newline; readers strip it.
    if host.get_fact(Sha256File, path=path) == hashlib.sha256(f"{secret}\n".encode()).hexdigest():
        host.noop(f"{path} holds the secret")
        return
    yield FunctionCommand(_send, (path, read), {})


def _send(state: State, host: Host, path: str, read: Read) -> bool:
    # A new file beside the old one, then a rename: a reader never sees half a secret or wider permissions.
    temporary = QuoteString(f"{path}.new")
    command = StringCommand(
        "umask 077;", "cat", ">", temporary, "&&", "mv", "-f", temporary, QuoteString(path)
    )  # fmt: skip
    ok, _ = host.run_shell_command(command, _stdin=HiddenLines([read() or ""]), **privileges(host))
    return ok


def privileges(host: Host) -> dict[str, object]:
    """How this host's data or pyinfra's config say to become root, for commands that are run outside an operation."""
    config = host.state.config
    defaults = {"_sudo": config.SUDO, "_sudo_user": config.SUDO_USER, "_use_sudo_login": config.USE_SUDO_LOGIN}
    named = {key: host.data.get(key) for key in (*defaults, "_sudo_password", "_su_user", "_doas")}
    return {key: value for key in named if (value := named[key] or defaults.get(key))}
