"""Docker as one transaction of apt; and daemon.json, which belongs to everybody: our keys are merged into it."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from typing import Any

from pyinfra import host
from pyinfra.api import FactBase, OperationError, QuoteString, StringCommand, operation
from pyinfra.facts.files import FileContents

from roles.docker_packages import CONFLICTING, ENGINE, Source, upstream
from roles.layout import LIBEXEC
from roles.settings import merge

DAEMON_JSON = "/etc/docker/daemon.json"
REPOSITORY: dict[Source, tuple[str, ...]] = {
    "docker": ("--repository", "/etc/apt/sources.list.d/docker.sources"),
    "distribution": (),
}
Commands = Generator[StringCommand, None, None]


class InstalledPackages(FactBase[dict[str, str]]):
    """Version by name of those of the packages that are installed."""

    @staticmethod
    def default() -> dict[str, str]:
        return {}

    def command(self, names: tuple[str, ...]) -> StringCommand:
        form = "'${db:Status-Status} ${Package} ${Version}\\n'"
        return StringCommand("dpkg-query", "-W", "-f", form, *names, "2>/dev/null;", "true")

    def process(self, output: list[str]) -> dict[str, str]:
        rows = (line.split() for line in output)
        return {row[1]: row[2] for row in rows if len(row) == 3 and row[0] == "installed"}


def is_installed(packages: tuple[str, ...], source: Source, version: str | None, there: Mapping[str, str]) -> bool:
    """Whether every package is there, the engine's in the wanted version, and none that conflicts with them."""
    complete = all(name in there for name in packages) and not any(name in there for name in CONFLICTING[source])
    engine = [there[name] for name in ENGINE[source] if name in there]
    return complete and all(version in (None, upstream(present)) for present in engine)


@operation()
def docker_installed(
    packages: tuple[str, ...], source: Source, version: str | None, replace_conflicting: bool
) -> Commands:
    """Have Docker of one source, see host/install-docker.

    :param version: of the engine; None leaves the one that is there.
    :param replace_conflicting: whether packages of another source may go; else their presence fails the operation.
    """
    there = host.get_fact(InstalledPackages, names=(*packages, *CONFLICTING[source]))
    if is_installed(packages, source, version, there):
        host.noop("Docker is there")
        return
    yield StringCommand(
        f"{LIBEXEC}/install-docker",
        *REPOSITORY[source],
        *(("--version", version) if version else ()),
        *(("--replace",) if replace_conflicting else ()),
        "--engine", ",".join(ENGINE[source]), "--conflicting", ",".join(CONFLICTING[source]), *packages,
    )  # fmt: skip


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
