#!/usr/bin/python3 -I
"""nvidia-persistenced, a stand-in of the lab: it runs while the lab host claims to have a GPU."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

GPUS = Path("/etc/llm-lab/gpus.csv")


def main(arguments: list[str]) -> int:
    """Wait for SIGTERM; without a GPU end with the status of the real daemon."""
    if "--version" in arguments or "-v" in arguments:
        print("nvidia-persistenced: stand-in of the lab")
        return 0
    if not GPUS.is_file():
        print(f"nvidia-persistenced failed to initialize (stand-in): no {GPUS}", file=sys.stderr)
        return 1
    # Blocked before the wait, so that a signal between the two lines is not lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    print("nvidia-persistenced (stand-in): started", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
