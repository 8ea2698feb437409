"""From settings to running processes: the sockets, then one process or several."""

from __future__ import annotations

import errno
import os
import signal
import socket

from ..http.guards import token_of
from ..settings import ServerSettings, Settings
from .access_log import AccessLog
from .peers import Place
from .process import BACKLOG, serve
from .supervisor import Supervisor
from .systemd import handed_over_sockets


def run(settings: Settings, log: AccessLog) -> None:
    """Serve until told to stop.

    :raises OSError: the address cannot be listened on.
    :raises ValueError: systemd's variables are broken, or the token is empty.
    """
    import uvloop

    token_of(settings.server.token_file)  # each process reads it for itself; the first one can say what is wrong
    sockets = handed_over_sockets(os.environ) or listening_sockets(settings.server)
    if settings.server.processes == 1:
        uvloop.run(serve(settings, log, sockets))
        return

    def work(place: Place, sockets: list[socket.socket], pipe: int) -> None:
        def beat() -> None:
            try:
                os.write(pipe, b".")
            except BlockingIOError:
                return
            except BrokenPipeError:  # the supervisor is gone: nobody would watch this process or stop it
                os.kill(os.getpid(), signal.SIGTERM)

        os.set_blocking(pipe, False)
        uvloop.run(serve(settings, log, sockets, place, beat))

    server = settings.server
    Supervisor(server.processes, sockets, server.drain_timeout_s, log, work).run()


def listening_sockets(server: ServerSettings) -> list[socket.socket]:
    """A socket for each address of the host; all on the same port.

    :raises OSError: an address cannot be listened on.
    """
    sockets: list[socket.socket] = []
    port = server.port
    for family, _, _, _, address in socket.getaddrinfo(
        server.host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        try:
            opened = socket.create_server((str(address[0]), port), family=family, backlog=BACKLOG, reuse_port=False)
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT and sockets:  # a kernel without IPv6; every address is IPv4 then
                continue
            raise
        opened.setblocking(False)
        port = port or opened.getsockname()[1]
        sockets.append(opened)
    return sockets
