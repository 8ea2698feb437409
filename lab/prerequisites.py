"""Bring a machine to where the lab can run: the distribution's packages, and the virtual environment of this checkout.

    python3 -m lab.prerequisites packages      apt-get install what is missing (root)
    python3 -m lab.prerequisites environment   make or update .venv from requirements.lock
    python3 -m lab.prerequisites pictures      what lab.screenshot needs, a browser of 300 MB; no test and no demo wants it (root)

All look first and do nothing when nothing is missing. Needs nothing but python3.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from lab.progress import to_stderr
from lab.shell import TOOL_PATH
from lab.support import missing_packages

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
# Tools of the mirrors, on top of those that lab.support lists: tool -> package.
MIRROR_TOOLS = {"apt-ftparchive": "apt-utils", "gpg": "gnupg", "zstd": "zstd", "dpkg-deb": "dpkg"}
# What vLLM's CPU build loads when it runs on this machine itself (lab/engines.py): library -> package.
ENGINE_LIBRARIES = {"libnuma.so.1": "libnuma1", "libgomp.so.1": "libgomp1"}

# What lab.screenshot runs: tool -> package.
PICTURE_TOOLS = {"chromium": "chromium", "pngquant": "pngquant"}
APT_LOCK_WAIT = "DPkg::Lock::Timeout=300"  # seconds, for another apt to end


def wanted_packages() -> list[str]:
    """Debian packages that this machine lacks, sorted."""
    path = f"{os.environ.get('PATH', '')}:{TOOL_PATH}"
    missing = set(missing_packages(path))
    missing |= {package for tool, package in MIRROR_TOOLS.items() if shutil.which(tool, path=path) is None}
    missing |= {package for library, package in ENGINE_LIBRARIES.items() if not _can_load(library)}
    if importlib.util.find_spec("ensurepip") is None:  # Debian ships it apart
        missing.add("python3-venv")
    return sorted(missing)


def wanted_for_pictures() -> list[str]:
    """Debian packages that this machine lacks for pictures of pages, sorted."""
    path = f"{os.environ.get('PATH', '')}:{TOOL_PATH}"
    return sorted(package for tool, package in PICTURE_TOOLS.items() if shutil.which(tool, path=path) is None)


def _can_load(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def install_packages(wanted: Callable[[], list[str]] = wanted_packages) -> int:
    """Install what is missing with the machine's own package manager. Exit status as of a command."""
    report, missing = to_stderr(), wanted()
    if not missing:
        return 0
    if shutil.which("apt-get") is None:
        print(f"this machine has no apt-get; install these yourself, then again: {' '.join(missing)}", file=sys.stderr)
        return 1
    if os.geteuid() != 0:
        print(f"missing packages; run: sudo apt-get install {' '.join(missing)}", file=sys.stderr)
        return 1
    report(f"installing {', '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-o", APT_LOCK_WAIT, "-y", "-qq", "--no-install-recommends", *missing],
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            print(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}", file=sys.stderr)
            return 1
    left = wanted()
    if left:
        print(f"still missing after apt-get: {' '.join(left)}", file=sys.stderr)
    return 1 if left else 0


def make_environment() -> int:
    """Make .venv, or bring it up to requirements.lock; a finished one carries the lock's hash and is left alone."""
    lock = ROOT / "requirements.lock"
    wanted = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()
    stamp = VENV / "lock.sha256"
    if stamp.is_file() and stamp.read_text() == wanted:
        return 0
    if importlib.util.find_spec("ensurepip") is None:
        print("this python3 cannot make environments; run: sudo apt-get install python3-venv", file=sys.stderr)
        return 1
    report = to_stderr()
    report(f"making {VENV.name} from {lock.name} (about a minute)")
    steps = (
        [sys.executable, "-m", "venv", "--clear", str(VENV)],
        [
            str(VENV / "bin" / "pip"),
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--require-hashes",
            "-r",
            str(lock),
        ],
    )
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True)
        if done.returncode != 0:
            print(f"{' '.join(step)} failed:\n{done.stdout[-1000:]}{done.stderr[-3000:]}", file=sys.stderr)
            print(
                "pip uses this machine's own settings (pip config list); is a package index reachable?", file=sys.stderr
            )
            return 1
    stamp.write_text(wanted)
    report(f"{VENV.name} is ready")
    return 0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python3 -m lab.prerequisites", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps: dict[str, Callable[[], int]] = {
        "packages": install_packages,
        "environment": make_environment,
        "pictures": functools.partial(install_packages, wanted_for_pictures),
    }
    parser.add_argument("what", choices=list(steps))
    return steps[parser.parse_args(arguments).what]()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
