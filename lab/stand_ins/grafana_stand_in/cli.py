"""The `grafana` command: `server`, and of `cli` what sets the administrator's password."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from . import server, settings
from .database import Database
from .provisioning import ProvisioningError
from .settings import SettingsError
from .version import VERSION


def main(words: Sequence[str]) -> int:
    """Run the command. Returns its exit status."""
    parser = argparse.ArgumentParser(
        "grafana", description="Grafana server and command line interface (stand-in of the lab)"
    )
    parser.add_argument("--version", action="version", version=f"grafana version {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("server", "cli"):
        command = commands.add_parser(name)
        command.add_argument("--homepath", type=Path, required=True)
        command.add_argument("--config", type=Path, required=True)
        if name == "cli":
            admin = command.add_subparsers(required=True).add_parser("admin").add_subparsers(required=True)
            admin.add_parser("reset-admin-password").add_argument(
                "--password-from-stdin", action="store_true", required=True
            )
    options = parser.parse_args(words)
    try:
        read = settings.read(options.config, options.homepath)
        if options.command == "cli":
            return reset_password(read)
        # As a service it is ended by SIGTERM, and that is no failure.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        server.serve(read)
    except (SettingsError, ProvisioningError, OSError) as problem:
        print(f"Error: ✗ {problem}", file=sys.stderr)
        return 1
    return 0


def reset_password(read: settings.Settings) -> int:
    password = sys.stdin.readline().rstrip("\n")
    if not password:
        print("Error: ✗ new password is too short", file=sys.stderr)
        return 1
    Database(read.data, read.admin_user, read.admin_password).set_password(read.admin_user, password)
    print("Admin password changed successfully ✔")
    return 0
