"""Reaching a host over SSH with the lab's key, and with its host key checked."""

from __future__ import annotations

import shlex
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from lab.errors import CommandFailed, HostNotReady
from lab.shell import run, tool_environment


def options(private_key: Path, known_hosts: Path) -> list[str]:
    """Options for ssh and scp; a user's own ~/.ssh/config, agent and keys play no part."""
    return [
        *("-F", "/dev/null", "-i", str(private_key)),
        *("-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=5"),
        *(
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
            f"UserKnownHostsFile={known_hosts}",
            "-o",
            "GlobalKnownHostsFile=/dev/null",
        ),
        *("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"),
    ]


def ensure_key(private_key: Path) -> str:
    """Make the key pair unless it is there; returns the public key."""
    public = private_key.with_name(private_key.name + ".pub")
    if not private_key.exists() or not public.exists():
        private, text = new_key("llm-lab")
        private_key.unlink(missing_ok=True)
        public.write_text(text)
        # Last and in one step: where there is a private key, both are whole and belong together.
        part = private_key.with_suffix(".part")
        part.touch(mode=0o600)
        part.write_text(private)
        part.rename(private_key)
    return public.read_text()


def new_key(comment: str) -> tuple[str, str]:
    """A new key pair: private and public text (made where a killed run leaves nothing that counts)."""
    with tempfile.TemporaryDirectory(prefix="llm-lab-key-") as directory:
        key = Path(directory, "key")
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(key))
        return key.read_text(), key.with_name("key.pub").read_text()


def remember_host_key(known_hosts: Path, address: str, public_key: str) -> None:
    """Replace what is known of this address (known_hosts format, sshd(8)); written in one step."""
    lines = known_hosts.read_text().splitlines() if known_hosts.exists() else []
    kept = [line for line in lines if not line.startswith(f"{address} ")]
    part = known_hosts.with_suffix(".part")
    part.write_text("".join(f"{line}\n" for line in [*kept, f"{address} {' '.join(public_key.split()[:2])}"]))
    part.rename(known_hosts)


def run_on(
    name: str,
    address: str,
    ssh_options: Sequence[str],
    command: str | Sequence[str],
    check: bool,
    timeout_s: float,
    stdin: str | None,
) -> subprocess.CompletedProcess[str]:
    """Run a command (a shell line, or words) as root. Raises CommandFailed, or HostNotReady after `timeout_s`."""
    line = command if isinstance(command, str) else shlex.join(command)
    try:
        done = subprocess.run(
            ["ssh", *ssh_options, f"root@{address}", "--", line],
            input=stdin or "",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            env=tool_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise HostNotReady(
            f"{name}: {line!r}", f"no end after {timeout_s:.0f} s", f"python -m lab logs {name}"
        ) from error
    if check and done.returncode != 0:
        raise CommandFailed(name, line, done.returncode, done.stdout, done.stderr)
    return done


def wait_for_banner(address: str, deadline: float) -> bool:
    """Wait until sshd greets (RFC 4253, 4.2); False if it has not by `deadline` (time.monotonic)."""
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((address, 22), timeout=1) as connection:
                connection.settimeout(2)
                if connection.recv(4) == b"SSH-":
                    return True
        except OSError:
            pass
        time.sleep(0.05)
    return False
