"""The other processes that serve the same port, and what they know: each tells its state to whoever connects.

Nothing is shared while requests are answered. Only who is asked for a sum (`/metrics`, `/api/ps`) asks the others, over
sockets in a directory that only the adapter's user can enter.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

_TIMEOUT_S = 1.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Which of the processes on a port this one is, counted from 0, and where their sockets are."""

    number: int = 0
    count: int = 1
    directory: Path | None = None

    def socket_of(self, number: int) -> Path:
        """The socket of one of the processes."""
        assert self.directory is not None
        return self.directory / f"{number}.sock"


class Peers:
    """Answers the other processes, and asks them."""

    def __init__(self, place: Place, state: Callable[[], Any]) -> None:
        """:param state: what to tell; anything that JSON can carry."""
        self._place = place
        self._state = state
        self._server: asyncio.Server | None = None
        self._asking: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen for the others, if there are any."""
        if self._place.count > 1:
            path = self._place.socket_of(self._place.number)
            path.unlink(missing_ok=True)  # left by a process that died
            self._server = await asyncio.start_unix_server(self._tell, path)

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    def ask(self, done: Callable[[list[Any]], None]) -> None:
        """Call `done` with the states of the others. One that is starting, ending or hanging is left out."""
        others = [number for number in range(self._place.count) if number != self._place.number]
        if not others:
            done([])
            return

        async def gather() -> None:
            answers = await asyncio.gather(*(self._read(number) for number in others))
            done([answer for answer in answers if answer is not None])

        task = asyncio.get_running_loop().create_task(gather())
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _tell(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(msgspec.json.encode(self._state()))
        try:
            await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()

    async def _read(self, number: int) -> Any:
        path = self._place.socket_of(number)
        try:
            return await asyncio.wait_for(_fetch(path), _TIMEOUT_S)
        except (OSError, asyncio.TimeoutError, msgspec.DecodeError) as error:
            _log.warning("process %d of this port did not tell its state: %s", number, error or type(error).__name__)
            return None


async def _fetch(path: Path) -> Any:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        return msgspec.json.decode(await reader.read(-1))
    finally:
        writer.close()
