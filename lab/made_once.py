"""Directories of the lab's cache that are made once, whoever wants them at the same time."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path


class CannotInstall(Exception):
    """Something could not be installed; the text says what to do."""


def ensure(directory: Path, make: Callable[[], None]) -> Path:
    """Call `make` if the directory is not complete; of several that want it at once, one makes it and the others wait.

    :param make: makes the directory, and clears what an attempt before left there.
    :return: the directory.
    :raises CannotInstall: where the cache cannot be written; what `make` raises goes through.
    """
    stamp, root = directory / "complete", directory.parent
    if stamp.is_file():
        return directory
    try:
        root.mkdir(parents=True, exist_ok=True)
        with (root / f"{directory.name}.lock").open("w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            if not stamp.is_file():
                make()
                stamp.touch()
    except OSError as error:
        raise CannotInstall(f"{root}: {error.strerror}; set LLM_LAB_CACHE or use sudo") from error
    return directory
