"""The npm clients' own directory of packages, installed once from the lock, outside of the checkout."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from lab.mirror import cache

SUITES = Path(__file__).parent / "node"
FILES = (SUITES / "package.json", SUITES / "package-lock.json")
NODE_AT_LEAST = 20
_TIMEOUT_S = 900


def why_not() -> str:
    """Why this machine cannot run the suites; empty if it can."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            return f"{program} is not installed; the npm clients need Node.js {NODE_AT_LEAST} or later with npm"
    found = node_version()
    number = re.match(r"v(\d+)", found)
    if number is None or int(number[1]) < NODE_AT_LEAST:
        return f"the npm clients need Node.js {NODE_AT_LEAST} or later, this is {found}"
    return ""


def node_version() -> str:
    """As `node --version` prints it, such as v20.20.2."""
    return subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()


def packages() -> Path:
    """The directory `node_modules`, made if it is not there. Where packages come from is npm's own setting.

    :raises CacheError: npm could not install them; with its last words.
    """
    root = cache.root() / "clients"
    return cache.build_once(root / f"npm-{cache.key_of(*FILES, node_version())}", _install) / "node_modules"


def _install(target: Path) -> None:
    for file in FILES:
        shutil.copy(file, target)
    # No scripts: what a package would run at its installation is not what is tested.
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]
    done = subprocess.run(command, cwd=target, capture_output=True, text=True, timeout=_TIMEOUT_S)
    if done.returncode != 0:
        raise cache.CacheError(f"{' '.join(command)} failed:\n{done.stdout[-1000:]}{done.stderr[-3000:]}")
