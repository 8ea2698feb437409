"""Packages that were downloaded once: hard links into each new host, harvested from the hosts that download more.

A shared directory would be simpler and does not work: apt locks it, and the second host's apt fails at once.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

KEEP_S = 60 * 24 * 3600


def directory(cache: Path) -> Path:
    """The packages of all labs that use this cache."""
    return cache / "apt-archives"


def seed(cache: Path, archives: Path) -> int:
    """Link every known package into a host's archives directory; returns how many were new there."""
    return _link_all(directory(cache), archives)


def harvest(archives: Path, cache: Path) -> int:
    """Link what a host downloaded into the cache; returns how many were new. apt names a package when it is whole."""
    return _link_all(archives, directory(cache))


def _link_all(source: Path, target: Path) -> int:
    if not source.is_dir():
        return 0
    target.mkdir(parents=True, exist_ok=True)
    count = 0
    for package in source.glob("*.deb"):
        if package.is_symlink() or not package.is_file() or (target / package.name).exists():
            continue
        with suppress(FileExistsError, FileNotFoundError):
            try:
                os.link(package, target / package.name)
            except OSError as error:
                if isinstance(error, (FileExistsError, FileNotFoundError)):
                    raise
                # Another file system: copy beside the target, then rename, so that no half package is ever seen.
                part = target / f".{package.name}.{os.getpid()}"
                shutil.copyfile(package, part)
                part.rename(target / package.name)
            count += 1
    return count


def prune(cache: Path) -> None:
    """Forget packages that no host was given for two months.

    The change time tells: a new hard link renews it. The modification time is the one the server sent.
    """
    for package in directory(cache).glob("*.deb"):
        if time.time() - package.stat().st_ctime > KEEP_S:
            package.unlink(missing_ok=True)
