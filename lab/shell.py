"""Running this machine's own tools."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping

from lab.errors import ToolFailed

# ip, nft and chroot live in sbin, which is not on every user's PATH under sudo.
TOOL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def tool_environment() -> dict[str, str]:
    """This process's environment with the system directories on PATH and messages in English."""
    return {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:{TOOL_PATH}", "LC_ALL": "C.UTF-8"}


def run(
    *argv: str,
    check: bool = True,
    stdin: str | None = None,
    timeout_s: float = 120,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a tool to its end and capture what it prints; `stdin` is its whole input (nothing by default).

    Raises ToolFailed with the command and its own last words when it fails and `check` is set, is missing, or hangs.
    """
    shown = shlex.join(argv)
    try:
        done = subprocess.run(
            argv,
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=dict(environment) if environment is not None else tool_environment(),
            check=False,
        )
    except FileNotFoundError as error:
        raise ToolFailed(shown, f"{argv[0]} is not installed", "python3 -m lab doctor") from error
    except subprocess.TimeoutExpired as error:
        raise ToolFailed(shown, f"no end after {timeout_s:.0f} s", "python3 -m lab status") from error
    if check and done.returncode != 0:
        cause = done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}"
        raise ToolFailed(shown, cause[-2000:], "python3 -m lab doctor")
    return done
