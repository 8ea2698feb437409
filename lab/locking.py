"""Locks that the kernel drops when their holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.errors import LabError
from lab.progress import Report, silent


def try_lock(path: Path) -> int | None:
    """Take the lock and return its file descriptor (closing it drops the lock); None if somebody has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    if not path.exists() or os.fstat(handle).st_ino != path.stat().st_ino:
        # The file was removed between open and flock (`destroy --all`): what was locked is no longer there.
        os.close(handle)
        return try_lock(path)
    os.ftruncate(handle, 0)
    os.write(handle, f"{os.getpid()}\n".encode())
    return handle


@contextmanager
def locked(path: Path, what: str, report: Report = silent, timeout_s: float = 900) -> Iterator[None]:
    """Hold the lock for a block; waits for another holder and says so. Raises LabError after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    told = False
    while (handle := try_lock(path)) is None:
        holder = path.read_text().strip() or "unknown"
        if time.monotonic() > deadline:
            raise LabError(what, f"process {holder} has held {path} for {timeout_s:.0f} s", f"ps -fp {holder}")
        if not told:
            report(f"{what}: waiting for process {holder}, which is at it")
            told = True
        time.sleep(0.1)
    try:
        yield
    finally:
        os.close(handle)
