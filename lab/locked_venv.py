"""Virtual environments from lock files, outside of the checkout: made once, kept in the lab's cache, made anew when stale.

For programs that must not share the checkout's own environment: what the benchmark compares, and the clients that the
tests drive. Needs nothing but python3.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from lab import made_once
from lab.made_once import CannotInstall
from lab.progress import Report

__all__ = ["CannotInstall", "directory_of", "ensure"]

# The lock is complete. Old releases of pip take an extra that a package asks for (`pydantic[email]`) for something unpinned.
_OPTIONS = ("--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps")


def directory_of(lock: Path, root: Path) -> Path:
    """Where the environment for this lock and this Python is, whether it is made or not."""
    wanted = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()
    return root / f"venv-{wanted[:16]}"


def ensure(lock: Path, root: Path, report: Report) -> Path:
    """Make the environment if it is not there; of several that want it at once, one makes it and the others wait.

    :return: its Python.
    :raises CannotInstall: with the installer's last words.
    """
    venv = directory_of(lock, root)

    def make() -> None:
        report(f"making {venv} from {lock.parent.name}/{lock.name} (some minutes)")
        made_once.run([sys.executable, "-m", "venv", "--clear", str(venv)])
        made_once.run([str(venv / "bin" / "python"), "-m", "pip", "install", *_OPTIONS, "-r", str(lock)])

    return made_once.ensure(venv, make) / "bin" / "python"
