"""Holding packages, which pyinfra's apt operations do not do, and stopping a run that needs a reboot first."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host, logger
from pyinfra.api import FactBase, FunctionCommand, Host, QuoteString, State, StringCommand, operation

from roles.nvidia.facts import DriverVersions


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
    """Have the packages on hold, so that only a deploy moves them."""
    held: list[str] = host.get_fact(HeldPackages)
    missing = sorted(set(packages) - set(held))
    if not missing:
        host.noop("the packages are held")
        return
    yield StringCommand("apt-mark", "hold", *(QuoteString(package) for package in missing))


@operation()
def driver_loaded() -> Generator[FunctionCommand, None, None]:
    """Have the installed driver loaded; otherwise end the run on this host with the command that is needed."""
    versions = host.get_fact(DriverVersions)
    if not versions.is_not_loaded:
        host.noop("the installed driver is loaded")
        return
    yield FunctionCommand(_ask_for_a_reboot, (versions.installed or "", versions.loaded or "none"), {})


def _ask_for_a_reboot(state: State, host: Host, installed: str, loaded: str) -> bool:
    logger.error(
        f"{host.print_prefix}reboot needed: driver {installed} is installed, {loaded} is loaded. systemctl reboot on the host, "
        "then deploy again; if that changes nothing: dkms status, journalctl -k -g nvidia, nvidia.modules"
    )
    return False
