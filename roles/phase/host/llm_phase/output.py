"""What a switch says. Whoever listens may be gone, and the switch goes on."""

import contextlib
import os
import sys


def say(text, file=None):
    """A line, at once."""
    try:
        print(text, file=file or sys.stdout, flush=True)
    except OSError:
        # Or the interpreter would end with a complaint, and another status, for what is left in the buffer.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), (file or sys.stdout).fileno())


def complain(text):
    say(text, sys.stderr)
