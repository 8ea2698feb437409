"""`python -m lab.stand_ins.ollama_stand_in`, and the entry of the zip application."""

from __future__ import annotations

import os
import sys

from .cli import main

if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    # Threads of clients may be writing to stderr: the interpreter's own end would wait for their lock, and abort.
    os._exit(status)
