"""Packages of npm from a lock file, outside of the checkout: installed once into the lab's cache, anew when the lock changes.

For the clients that the tests drive. Needs node and npm on the PATH; which registry is asked is npm's own setting.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from lab import made_once
from lab.progress import Report

MINIMUM = 20  # of node; the clients in the lock ask for it

# No package runs a program of its own while it is installed; the lock has the hash of every one.
_OPTIONS = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error")


def lacking() -> str:
    """What is missing on this machine, and what to install; empty where nothing is."""
    missing = [program for program in ("node", "npm") if shutil.which(program) is None]
    if missing:
        return f"{' and '.join(missing)} not found: install Node.js {MINIMUM} or newer with npm"
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout.strip()
    return (
        "" if major_of(said) >= MINIMUM else f"node is {said or 'broken'}: install Node.js {MINIMUM} or newer with npm"
    )


def major_of(version: str) -> int:
    """The first number of what `node --version` says (v20.20.2); 0 if it says something else."""
    major = version.removeprefix("v").partition(".")[0]
    return int(major) if major.isdecimal() else 0


def directory_of(lock: Path, root: Path) -> Path:
    """Where the packages of this lock are, whether they are installed or not."""
    return root / f"node-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"


def ensure(lock: Path, root: Path, report: Report) -> Path:
    """Install the packages if they are not there; of several that want them at once, one does it and the others wait.

    :param lock: a package-lock.json with its package.json beside it.
    :return: the directory node_modules.
    :raises CannotInstall: with npm's last words.
    """
    directory = directory_of(lock, root)

    def make() -> None:
        report(f"installing {lock.parent.name}/{lock.name} into {directory} (half a minute)")
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        for file in (lock, lock.with_name("package.json")):
            shutil.copyfile(file, directory / file.name)
        # A cache beside it: under sudo, the caller's own would be left with files of root.
        made_once.run(["npm", "ci", *_OPTIONS, f"--cache={root / 'npm-cache'}"], cwd=directory)

    return made_once.ensure(directory, make) / "node_modules"
