"""Which bytes Ollama's release archive must have: what settings and pins say, and what the release itself publishes. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roles.layout import ollama_version
from roles.pins import pins

if TYPE_CHECKING:
    from roles.site import Site


def wanted_sha256(site: Site) -> str:
    """The setting, else the pin where it is of this version; "" leaves it to the release's own list."""
    pin = pins().ollama
    return site.ollama.sha256 or (pin.sha256 if ollama_version(site) == pin.version else "")


def published_sha256(sums: str) -> str | None:
    """The archive's digest in the release's sha256sum.txt, lines of `DIGEST  ./NAME`; None where it is not named."""
    for line in sums.splitlines():
        digest, *name = line.split()[:2] or [""]
        if name and name[0].removeprefix("./").removeprefix("*") == pins().ollama.archive:
            return digest
    return None
