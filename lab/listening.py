"""Which TCP ports a host listens on, read from outside: no SSH, so it works on a partitioned host too."""

from __future__ import annotations

import ipaddress
from pathlib import Path

LISTEN = "0A"  # TCP_LISTEN (include/net/tcp_states.h)


def parse(text: str) -> list[tuple[str, int]]:
    """Address and port of each listening socket in /proc/PID/net/tcp or tcp6 (proc(5): hex words in host order)."""
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if fields[3] != LISTEN:
            continue
        word, _, port = fields[1].partition(":")
        raw = b"".join(bytes.fromhex(word[i : i + 8])[::-1] for i in range(0, len(word), 8))
        found.append((str(ipaddress.ip_address(raw)), int(port, 16)))
    return found


def listening(pid: int) -> list[str]:
    """`PORT` for any address, `ADDRESS:PORT` for one, by port; empty when the process is gone."""
    found: set[tuple[int, str]] = set()
    for name in ("tcp", "tcp6"):
        try:
            text = Path("/proc", str(pid), "net", name).read_text()
        except OSError:
            continue
        for host, port in parse(text):
            found.add((port, str(port) if host in ("0.0.0.0", "::") else f"{host}:{port}"))
    return [shown for _, shown in sorted(found)]
