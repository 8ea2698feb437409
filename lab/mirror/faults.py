"""Faults on request: what a mirror can be told to do wrong, path by path.

The state directory of a running mirror may hold `faults.json`, a list of objects. It is read at every request, so a
test switches a fault on and off by writing the file. The first entry that matches applies:

    [{"path": "/simple/torch", "status": 503},
     {"site": "hub", "path": "/lab/tiny", "close_after": 1000, "times": 1}]

`path` is a prefix of the request path; `site` (files, hub, registry) and `method` narrow it down. Effects combine:

    status           answer with this status and a line of plain text
    delay_s          wait before the first byte
    bytes_per_s      send the body no faster than this
    truncate_after   send a complete answer whose body is the first N bytes
    close_after      promise the whole body, close the connection after N bytes of it
    corrupt_at       flip all bits of the byte at this offset of the file
    times            apply only to the first N matching requests since the file was written
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

FILE = "faults.json"


class FaultError(ValueError):
    """`faults.json` is not what this module's documentation says."""


@dataclass(frozen=True)
class Fault:
    """One entry of `faults.json`; the fields are explained at the top of this module."""

    path: str
    site: str | None = None
    method: str | None = None
    status: int | None = None
    delay_s: float = 0.0
    bytes_per_s: int | None = None
    truncate_after: int | None = None
    close_after: int | None = None
    corrupt_at: int | None = None
    times: int | None = None

    def matches(self, site: str, method: str, path: str) -> bool:
        """Does this entry speak of such a request?"""
        return path.startswith(self.path) and self.site in (None, site) and self.method in (None, method)


def parse(text: str) -> list[Fault]:
    """The entries of a `faults.json`. Raises FaultError with the entry's number and the offending key."""
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise FaultError(f"{FILE}: not JSON: {error}") from None
    if not isinstance(entries, list):
        raise FaultError(f"{FILE}: expected a list, got {type(entries).__name__}")
    known = {field.name for field in fields(Fault)}
    faults = []
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or "path" not in entry:
            raise FaultError(f"{FILE}: entry {number} is no object with a path: {entry!r}")
        if unknown := sorted(entry.keys() - known):
            raise FaultError(f"{FILE}: entry {number}: unknown {unknown[0]!r}; known: {', '.join(sorted(known))}")
        faults.append(Fault(**entry))
    return faults


def write(state: Path, entries: Sequence[Mapping[str, object]]) -> None:
    """Make these the faults of the mirror with this state directory; none at all for an empty list.

    Raises FaultError, and changes nothing, if an entry is wrong.
    """
    text = json.dumps([dict(entry) for entry in entries], indent=2)
    parse(text)
    target = state / FILE
    if not entries:
        target.unlink(missing_ok=True)
        return
    temporary = target.with_suffix(".tmp")
    temporary.write_text(text)
    temporary.replace(target)


class FaultBook:
    """The faults of one running mirror: rereads the file and counts what `times` limits."""

    def __init__(self, state: Path) -> None:
        self._file = state / FILE
        self._lock = threading.Lock()
        self._version: tuple[int, int] | None = None
        self._faults: list[Fault] = []
        self._used: list[int] = []

    def find(self, site: str, method: str, path: str) -> Fault | None:
        """The fault for this request, counted as used. Raises FaultError if the file is wrong."""
        with self._lock:
            self._reread()
            for number, fault in enumerate(self._faults):
                if not fault.matches(site, method, path):
                    continue
                if fault.times is not None and self._used[number] >= fault.times:
                    continue
                self._used[number] += 1
                return fault
        return None

    def _reread(self) -> None:
        try:
            found = os.stat(self._file)
        except FileNotFoundError:
            self._version, self._faults, self._used = None, [], []
            return
        # The inode tells two files apart that were written within one tick of the clock.
        version = (found.st_ino, found.st_mtime_ns)
        if version != self._version:
            self._faults = parse(self._file.read_text())
            self._used = [0] * len(self._faults)
            self._version = version
