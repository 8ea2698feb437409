"""Holding packages, which pyinfra's apt operations do not do: only a deploy moves them."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import FactBase, QuoteString, StringCommand, operation


class HeldPackages(FactBase[list[str]]):
    """Names of the packages that apt must not change."""

    @staticmethod
    def default() -> list[str]:
        return []

    def command(self) -> str:
        return "apt-mark showhold"

    def process(self, output: list[str]) -> list[str]:
        return output


@operation()
def packages_held(packages: tuple[str, ...]) -> Generator[StringCommand, None, None]:
    """Have the packages on hold."""
    held: list[str] = host.get_fact(HeldPackages)
    missing = [name for name in packages if name not in held]
    if not missing:
        host.noop("the packages are held")
        return
    yield StringCommand("apt-mark", "hold", *(QuoteString(name) for name in missing))
