"""Where apt finds the distribution's own packages."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import FactBase, QuoteString, StringCommand, operation

from roles.layout import LIBEXEC

PROGRAM = f"{LIBEXEC}/use-distribution-mirror"


class UnfinishedPackages(FactBase[list[str]]):
    """What dpkg says of packages that are half installed; [] when all are whole."""

    @staticmethod
    def default() -> list[str]:
        return []

    def command(self) -> str:
        return "dpkg --audit"

    def process(self, output: list[str]) -> list[str]:
        return [line for line in output if line.strip()]


@operation()
def packages_finished() -> Generator[StringCommand, None, None]:
    """Have dpkg finish what a run of ours was cut off in. Preflight has refused a host where that was somebody else's."""
    if not host.get_fact(UnfinishedPackages):
        host.noop("every package is whole")
        return
    keep = "--force-confdef --force-confold"
    # Right after a boot apt's own timers may have dpkg, which knows no waiting.
    finish = (
        f"for try in $(seq 60); do said=$(dpkg {keep} --configure -a 2>&1) && exit 0; "
        'case $said in *"is locked by another process"*) sleep 5 ;; *) break ;; esac; done; echo "$said" >&2; exit 1'
    )
    yield StringCommand("DEBIAN_FRONTEND=noninteractive", "sh", "-c", QuoteString(finish))
    options = [word for option in keep.split() for word in ("-o", f"Dpkg::Options::={option}")]
    yield StringCommand("DEBIAN_FRONTEND=noninteractive", "apt-get", *options, "-f", "-y", "--no-remove", "install")


class SourcesDue(FactBase[list[str]]):
    """What use-distribution-mirror would change for these sources; on a host without the program, only whether it has work.

    A host whose sources the program refuses has work too: running it tells why.
    """

    @staticmethod
    def default() -> list[str]:
        return []

    def command(self, text: str, codename: str) -> StringCommand:
        first = "echo to be set up" if text else "true"
        return StringCommand(
            "if", "test", "-x", PROGRAM, ";", "then",
            "printf", "%s", QuoteString(text), "|", PROGRAM, "--check", QuoteString(codename), "2>&1", ";",
            "else", first, ";", "fi", ";", "true",
        )  # fmt: skip

    def process(self, output: list[str]) -> list[str]:
        return [line for line in output if line.strip()]


@operation()
def distribution_sources(text: str, codename: str) -> Generator[StringCommand, None, None]:
    """Have apt read the mirror of `text` in place of the host's own sources of the distribution, which are set aside.

    :param text: deb822 of the mirror; "" has the host's own sources back.
    """
    if not host.get_fact(SourcesDue, text=text, codename=codename):
        host.noop("the distribution's packages come from where they should")
        return
    yield StringCommand("printf", "%s", QuoteString(text), "|", PROGRAM, QuoteString(codename))
