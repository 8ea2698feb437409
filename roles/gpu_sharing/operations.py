"""The operation that gives services their cards. The decision is made on the host, where the cards are."""

from __future__ import annotations

import json
import shlex
from collections.abc import Generator, Mapping

from pyinfra import host
from pyinfra.api import FactBase, StringCommand, operation

from roles.layout import LIBEXEC


def resolve_command(wanted: Mapping[str, object], *options: str) -> str:
    return shlex.join([f"{LIBEXEC}/resolve-gpus", "--wanted", json.dumps(wanted, sort_keys=True), *options])


class GpusAreResolved(FactBase[bool]):
    """Whether every service has its cards on this host already; also False while there is no program or driver to ask."""

    @staticmethod
    def default() -> bool:
        return False

    def command(self, wanted: Mapping[str, object]) -> str:
        # Nothing printed and status 0: nothing would change.
        return f'out=$({resolve_command(wanted, "--dry")} 2>/dev/null) && [ -z "$out" ] && echo yes || true'

    def process(self, output: list[str]) -> bool:
        return output == ["yes"]


@operation()
def gpus_resolved(wanted: dict[str, object]) -> Generator[StringCommand, None, None]:
    """Have the environment and the device list of each unit name exactly its cards, see host/resolve-gpus."""
    if host.get_fact(GpusAreResolved, wanted=wanted):
        host.noop("every service has its cards")
        return
    yield StringCommand(resolve_command(wanted))
