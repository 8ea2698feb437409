"""Directories of the lab's cache that are made once, whoever wants them at the same time, and the programs that fill them."""

from __future__ import annotations

import fcntl
import subprocess
from collections.abc import Callable, Mapping, Sequence
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


def run(command: Sequence[str], *, cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> None:
    """Run a program to its end.

    :raises CannotInstall: it failed; with its last words.
    """
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotInstall(f"{' '.join(command)} failed:\n{done.stdout[-1000:]}{done.stderr[-3000:]}")
