"""The hosts of an inventory as `pyinfra inventory deploy.py` sees them, for programs that are no pyinfra run: verify, bundle."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from roles.pins import ROOT


class InventoryError(Exception):
    """The inventory cannot be read, or --limit leaves nothing of it; the text is pyinfra's own, or names the hosts."""


def read_hosts(inventory: str, limit: Sequence[str] = (), data: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The hosts of `inventory` (file, directory, or names with commas) that `limit` leaves, in the inventory's order.

    Each as read_inventory.described tells it: `name`, `layers` for roles.site.site_from, how it is reached.

    :param data: `KEY=VALUE` pairs, as for `pyinfra --data`.
    :raises InventoryError: with the text to show.
    """
    path = from_anywhere(inventory)
    request = json.dumps({"inventory": path, "limit": list(limit), "data": list(data)})
    command = [sys.executable, "-W", "ignore", "-m", "roles.read_inventory", request]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise InventoryError(f"{inventory}: {last_lines(done.stderr) or f'exit status {done.returncode}'}")
    answer = json.loads(done.stdout)
    hosts: list[dict[str, Any]] = answer["hosts"]
    if limit and not hosts:
        raise InventoryError(
            f"{inventory}: no host matches --limit {' '.join(limit)}; it has: {', '.join(answer['names'])}"
        )
    if not hosts and not Path(path).exists():
        raise InventoryError(f"{inventory}: {last_lines(done.stderr) or 'neither a file nor a host'}")
    return hosts


def from_anywhere(inventory: str) -> str:
    """The inventory by its whole path, where it is one: it is the caller's, and pyinfra runs in the root of this project."""
    return str(Path(inventory).resolve()) if Path(inventory).exists() else inventory


def last_lines(text: str, count: int = 4) -> str:
    """The end of what a program said."""
    return "\n".join(text.strip().splitlines()[-count:])
