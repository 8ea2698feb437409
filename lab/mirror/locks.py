"""Lock files in pip's requirements format, read as far as a wheelhouse needs them: pins, hashes, markers left alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lab.mirror.python_index import normalise

PIN = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?\s*==\s*(?P<version>[^\s;#]+)")
HASH = re.compile(r"--hash[= ]sha256:([0-9a-f]{64})")


class LockError(ValueError):
    """A line of a lock file that pins nothing; names file and line."""


@dataclass(frozen=True)
class Pin:
    """One pinned distribution; `line` is what pip gets."""

    name: str
    version: str
    hashes: frozenset[str]
    line: str

    @property
    def is_local_build(self) -> bool:
        """A local version such as `2.13.0+cpu` is built by one publisher and may need that publisher's index."""
        return "+" in self.version

    @property
    def is_conditional(self) -> bool:
        """An environment marker (PEP 508) follows the pin; pip decides whether it applies."""
        return ";" in self.line

    def fits(self, wheel: str) -> bool:
        """Is this the file name of a wheel of this very version?"""
        name, version, *_ = wheel.split("-")
        return normalise(name) == self.name and _same(version, self.version)


def _same(one: str, other: str) -> bool:
    # Wheel names write `+` of a local version as it is, or as `_` or `%2B`.
    return one.replace("%2B", "+").replace("_", "+").lower() == other.replace("_", "+").lower()


def read(path: Path) -> list[Pin]:
    """The pins of a lock file. Raises LockError for a line that is neither pin, option, nor comment."""
    text = re.sub(r"\\\s*\n", " ", path.read_text(encoding="utf-8"))
    pins = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = re.sub(r"(^|\s)#.*$", "", raw).strip()
        if not line or line.startswith("-"):
            continue
        match = PIN.match(line)
        if not match:
            raise LockError(f"{path}: entry {number} is no pin: {line!r}; a lock says name==version")
        hashes = frozenset(HASH.findall(line))
        pins.append(Pin(normalise(match["name"]), match["version"], hashes, line))
    return pins
