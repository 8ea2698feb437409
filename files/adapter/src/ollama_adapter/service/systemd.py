"""systemd's two small protocols: sockets handed over (sd_listen_fds(3)) and notifications (sd_notify(3))."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

FIRST_SOCKET = 3  # SD_LISTEN_FDS_START


def handed_over_sockets(environment: MutableMapping[str, str]) -> list[socket.socket]:
    """The listening sockets that systemd opened for this process; none where it did not.

    The variables are removed, so that a child does not take them for its own.

    :raises ValueError: systemd meant this process, but the variables are broken.
    """
    process = environment.pop("LISTEN_PID", "")
    count = environment.pop("LISTEN_FDS", "")
    environment.pop("LISTEN_FDNAMES", None)
    if process != str(os.getpid()) or not count:
        return []
    if not count.isdigit():
        raise ValueError(f"LISTEN_FDS is {count!r}, not a number")
    sockets = []
    for descriptor in range(FIRST_SOCKET, FIRST_SOCKET + int(count)):
        os.set_inheritable(descriptor, False)
        opened = socket.socket(fileno=descriptor)
        opened.setblocking(False)
        sockets.append(opened)
    return sockets


class Notifier:
    """Tells systemd how the service is doing. Does nothing where systemd does not listen."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        watchdog_us = environment.get("WATCHDOG_USEC", "")
        is_ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(watchdog_us) / 1e6 if watchdog_us.isdigit() and is_ours else 0.0

    def ready(self, status: str) -> None:
        """The service takes requests."""
        self._send(f"READY=1\nSTATUS={status}")

    def stopping(self, status: str) -> None:
        """The service is on its way out."""
        self._send(f"STOPPING=1\nSTATUS={status}")

    def alive(self) -> None:
        """The watchdog need not bark."""
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            try:
                sender.sendto(message.encode(), address)
            except OSError:
                return
