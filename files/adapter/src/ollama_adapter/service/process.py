"""The life of the process: listen, say so, watch the time, drain, end."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence

from ..application import Application
from ..http.server import Clients
from ..settings import Settings
from .access_log import AccessLog
from .peers import Place
from .systemd import Notifier

_SWEEP_S = 1.0
# How long clients may go on asking while it stops. A kept connection that is closed at once takes the request with it
# that its client sends at this moment, and few clients try again; those who ask this often are told with the answer
# that it was the last one.
_LAST_REQUESTS_S = 0.5
BACKLOG = 1024
_ALONE = Place()


async def serve(
    settings: Settings,
    log: AccessLog,
    sockets: Sequence[socket.socket],
    place: Place = _ALONE,
    beat: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT; return when the answers on their way are finished, or out of time.

    :param sockets: the listening sockets.
    :param beat: called each second by the loop that serves.
    """
    service = _Service(settings, log, sockets, place, beat)
    await service.start()
    await service.until_stopped()


class _Service:
    def __init__(
        self,
        settings: Settings,
        log: AccessLog,
        sockets: Sequence[socket.socket],
        place: Place,
        beat: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._log = log
        self._sockets = sockets
        self._place = place
        self._beat = beat
        self._application = Application(settings, log, place, self._counts)
        self._clients = Clients(settings.server, self._application)
        self._notifier = Notifier(os.environ)
        self._servers: list[asyncio.Server] = []
        self._stop = asyncio.Event()
        self._next_alive = 0.0

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        hosts = [str(listening.getsockname()[0]) for listening in self._sockets]
        self._application.will_listen_on(hosts)
        for listening in self._sockets:
            self._servers.append(await loop.create_server(self._clients.connection, sock=listening, backlog=BACKLOG))
        await self._application.peers.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        # What exists now lives as long as the process; the collector need not look at it again (vLLM PR 12287).
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 50, 50)
        addresses = [_address(listening) for server in self._servers for listening in server.sockets]
        self._log.event(
            "listening", addresses=addresses, process=self._place.number, processes=self._place.count,
            vllm=self._settings.vllm.url, vision=self._settings.vision.url, models=self._settings.vllm.aliases,
        )  # fmt: skip
        self._sweep()
        self._notifier.ready(f"listening on {', '.join(addresses)}")

    async def until_stopped(self) -> None:
        await self._stop.wait()
        timeout_s = self._settings.server.drain_timeout_s
        busy = sum(not connection.is_idle for connection in self._clients.connections)
        self._notifier.stopping(f"finishing {busy} answers")
        self._log.event("draining", busy=busy, timeout_s=timeout_s)
        self._clients.drain()
        last_s = min(_LAST_REQUESTS_S, timeout_s)
        await self._until_gone(last_s)
        for server in self._servers:
            server.close()  # with socket activation systemd keeps the socket: new clients wait for the next process
        self._clients.close_idle()
        await self._until_gone(timeout_s - last_s)
        loop = asyncio.get_running_loop()
        cut = sum(not connection.is_idle for connection in self._clients.connections)
        self._clients.abort("the server is shutting down")
        deadline = loop.time() + 1.0
        while self._clients.connections and loop.time() < deadline:
            await asyncio.sleep(0.02)
        for connection in list(self._clients.connections):
            connection.drop()
        self._application.peers.close()
        self._application.close()
        await asyncio.sleep(0)
        self._log.event("stopped", cut=cut)

    async def _until_gone(self, timeout_s: float) -> None:
        """Wait until no client is connected, or out of time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while self._clients.connections and loop.time() < deadline:
            await asyncio.sleep(0.05)

    def _counts(self) -> tuple[int, int]:
        connections = self._clients.connections
        return len(connections), sum(not connection.is_idle for connection in connections)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._clients.sweep(now)
        self._application.sweep(time.monotonic())
        self._beat()
        if self._notifier.watchdog_s and now >= self._next_alive:
            # Sent from the loop that serves, so a loop that hangs is a watchdog that barks.
            self._notifier.alive()
            self._next_alive = now + self._notifier.watchdog_s / 3
        loop.call_later(min(_SWEEP_S, self._notifier.watchdog_s / 3 or _SWEEP_S), self._sweep)


def _address(listening: socket.socket) -> str:
    name = listening.getsockname()
    return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else str(name)
