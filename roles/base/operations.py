"""Where apt finds the distribution's own packages."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.facts.files import FileContents

from roles.distribution import SOURCES
from roles.layout import LIBEXEC


@operation()
def distribution_sources(text: str, codename: str) -> Generator[StringCommand, None, None]:
    """Have apt read the mirror of `text` in place of the host's own sources of the distribution, which are set aside.

    :param text: deb822 of the mirror; "" has the host's own sources back.
    """
    there = host.get_fact(FileContents, path=SOURCES)
    if "\n".join(there or []).strip() == text.strip():
        host.noop("the distribution's packages come from there")
        return
    yield StringCommand(
        "printf", "%s", QuoteString(text), "|", f"{LIBEXEC}/use-distribution-mirror", QuoteString(codename)
    )
