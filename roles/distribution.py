"""The distribution's own packages at a mirror: which archives, suites and components, as one apt source. Pure."""

from __future__ import annotations

from dataclasses import dataclass

SOURCES = "/etc/apt/sources.list.d/llm-distribution.sources"
COMPONENTS = {"debian": ("main",), "ubuntu": ("main", "universe")}
# Without these apt asks for more lists where a host has a foreign architecture, another language, command-not-found or DEP-11; a
# bundle has none of them, and one list that is missing makes apt refuse the archive.
ONLY = ("Architectures: amd64", "Languages: en", "Targets: Packages Translations")
KEYRINGS = {
    "debian": "/usr/share/keyrings/debian-archive-keyring.gpg",
    "ubuntu": "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
}


@dataclass(frozen=True)
class Archive:
    """A folder of the mirror, named as on the distribution's own servers, and the suites that a host reads from it."""

    folder: str
    suites: tuple[str, ...]


def archives(os: str, codename: str) -> tuple[Archive, ...]:
    """Where a release's packages and its updates are. :param os: ID of os-release, "debian" or "ubuntu"."""
    if os == "debian":
        return (
            Archive("debian", (codename, f"{codename}-updates")),
            Archive("debian-security", (f"{codename}-security",)),
        )
    return (Archive("ubuntu", (codename, f"{codename}-updates", f"{codename}-security")),)


def sources_text(mirror: str, os: str, codename: str) -> str:
    """A deb822 file for `mirrors.distribution`.

    A copy that was carried in grows older than its Valid-Until (a week for security archives); the signature still counts.
    """
    stanzas = [
        "\n".join(
            (
                "Types: deb",
                f"URIs: {mirror.rstrip('/')}/{archive.folder}",
                f"Suites: {' '.join(archive.suites)}",
                f"Components: {' '.join(COMPONENTS[os])}",
                f"Signed-By: {KEYRINGS[os]}",
                *ONLY,
                "Check-Valid-Until: no",
                "",
            )
        )
        for archive in archives(os, codename)
    ]
    return "\n".join(stanzas)
