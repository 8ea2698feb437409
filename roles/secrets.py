"""Secrets on their way from the controller to root-only files on the host: over standard input, and nowhere else.

They are never host data, template variables, arguments or environment of a command, so no plan, diff or log can show them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

from pyinfra import host, logger
from pyinfra.api import FactBase, FunctionCommand, Host, QuoteString, State, StringCommand, operation
from pyinfra.facts.files import File

from roles.secret_sources import SecretError

Read = Callable[[], str | None]


class HiddenLines(list[str]):
    """Lines for a command's standard input that no log shows: pyinfra's debug log prints the arguments of every fact."""

    def __repr__(self) -> str:
        return "[hidden]"

    __str__ = __repr__


class HoldsLine(FactBase[bool]):
    """Whether a file of the host holds exactly the one line that comes over standard input (`_stdin`).

    The host compares: a checksum would be in pyinfra's output, and a short secret can be found from its checksum.
    """

    @staticmethod
    def default() -> bool:
        return False

    def command(self, path: str) -> StringCommand:
        # `cat` takes what cmp left: a command that ends before its input has come is an error to ssh.
        return StringCommand("cmp -s -", QuoteString(path), "&& echo same; cat > /dev/null")

    def process(self, output: list[str]) -> bool:
        return output == ["same"]


@operation()
def secret_file(path: str, read: Read) -> Generator[FunctionCommand | StringCommand, None, None]:
    """Have `path` hold the secret that `read` gives, root:root 0600; without one keep what is there, or an empty file.

    :param read: called on the controller, when the plan is made and when it runs; the value appears in no argument.
        What preflight could read and this cannot any more, a SecretError, fails the host.
    """
    try:
        secret = read()
    except SecretError as problem:
        yield FunctionCommand(_refuse, (str(problem),), {})
        return
    if secret is None:
        if host.get_fact(File, path=path):
            host.noop(f"{path} is kept: the controller has no secret for it")
        else:
            yield StringCommand("install", "-m", "600", "/dev/null", QuoteString(path))
        return
    # pyinfra ends each line of standard input with a newline; readers strip it.
    if host.get_fact(HoldsLine, path=path, _stdin=HiddenLines([secret])):
        host.noop(f"{path} holds the secret")
        return
    yield FunctionCommand(_send, (path, HiddenLines([secret])), {})


def _refuse(state: State, host: Host, problem: str) -> bool:
    logger.error(f"{host.print_prefix}{problem}")
    return False


def _send(state: State, host: Host, path: str, lines: HiddenLines) -> bool:
    # A new file beside the old one, then a rename: a reader never sees half a secret or wider permissions.
    temporary = QuoteString(f"{path}.new")
    command = StringCommand(
        "umask 077;", "cat", ">", temporary, "&&", "mv", "-f", temporary, QuoteString(path)
    )  # fmt: skip
    ok, _ = host.run_shell_command(command, _stdin=lines, **privileges(host))
    return ok


def privileges(host: Host) -> dict[str, object]:
    """How this host's data or pyinfra's config say to become root, for commands that are run outside an operation."""
    config = host.state.config
    defaults = {"_sudo": config.SUDO, "_sudo_user": config.SUDO_USER, "_use_sudo_login": config.USE_SUDO_LOGIN}
    named = {key: host.data.get(key) for key in (*defaults, "_sudo_password", "_su_user", "_doas")}
    return {key: value for key in named if (value := named[key] or defaults.get(key))}
