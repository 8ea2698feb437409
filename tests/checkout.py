"""This checkout, as results name it."""

from __future__ import annotations

import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]


def commit() -> str:
    """The checkout's commit, and whether it has changes on top; "unknown" outside of git."""
    words = ["git", "-C", str(CHECKOUT), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=, with changes"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"
