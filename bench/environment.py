"""Where the benchmark's own tools live: in the lab's cache, outside of the checkout. Needs nothing but python3.

LiteLLM, FastAPI and their like are installed from requirements.lock into a virtual environment; nginx is unpacked from
the distribution's package, so that nothing is installed and no service starts.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from lab import locked_venv
from lab.locked_venv import CannotInstall
from lab.paths import cache_root
from lab.progress import Report
from lab.shell import TOOL_PATH

LOCK = Path(__file__).with_name("requirements.lock")
_NGINX_PACKAGES = ("nginx", "nginx-light", "nginx-core")  # which of them has the program depends on the release


def directory() -> Path:
    """The benchmark's part of the cache; LLM_LAB_CACHE moves it."""
    return cache_root() / "bench"


def environment() -> Path:
    """The virtual environment for this lock and this Python."""
    return locked_venv.directory_of(LOCK, directory())


def ensure_environment(report: Report) -> Path:
    """Make the environment if it is not there; its Python.

    :raises CannotInstall: with the installer's last words.
    """
    return locked_venv.ensure(LOCK, directory(), report)


def nginx(report: Report) -> str:
    """The nginx program: the machine's own, or one unpacked into the cache.

    :raises CannotInstall: the machine has none and its package manager gives none.
    """
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:{TOOL_PATH}")
    if found is not None:
        return found
    root = directory() / "nginx"
    program = root / "usr" / "sbin" / "nginx"
    if program.is_file():
        return str(program)
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise CannotInstall("there is no nginx on this machine and no apt-get to fetch it with")
    report("unpacking nginx from the distribution's package")
    problems = []
    for package in _NGINX_PACKAGES:
        problem = _unpack(package, root)
        if not problem and program.is_file():
            return str(program)
        problems.append(f"{package}: {problem or 'has no nginx program'}")
    raise CannotInstall("no nginx: " + "; ".join(problems))


def _unpack(package: str, root: Path) -> str:
    """Download a package and unpack it. What went wrong, empty if nothing did."""
    downloads = root / "downloads"
    try:
        downloads.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return str(error)
    done = subprocess.run(
        ["apt-get", "download", "-qq", package], cwd=downloads, capture_output=True, text=True, check=False
    )
    archives = sorted(downloads.glob(f"{package}_*.deb"))
    if done.returncode != 0 or not archives:
        return (done.stderr.strip() or "nothing was downloaded")[-300:]
    done = subprocess.run(["dpkg-deb", "-x", str(archives[-1]), str(root)], capture_output=True, text=True, check=False)
    return done.stderr.strip()[-300:] if done.returncode else ""
