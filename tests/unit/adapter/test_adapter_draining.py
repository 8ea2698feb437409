"""The end of kept connections, at the moments that a process from outside cannot choose."""

from __future__ import annotations

import asyncio
import socket

import pytest

from ollama_adapter.http.exchange import Exchange
from ollama_adapter.http.server import Clients
from ollama_adapter.settings import ServerSettings

REQUEST = b"GET / HTTP/1.1\r\nHost: x.local\r\n\r\n"


class Answering:
    """An application that answers everything at once."""

    def begin(self, exchange: Exchange) -> None:
        exchange.respond(200, b"here", b"text/plain")

    def ended(self, exchange: Exchange) -> None:
        """No log."""


@pytest.mark.parametrize(("sent", "answer"), [(REQUEST, b"HTTP/1.1 200"), (b"", b"")])
def test_a_request_that_has_come_and_is_not_read_yet_is_answered_before_its_connection_ends(
    sent: bytes, answer: bytes
) -> None:
    async def last_answer() -> bytes:
        loop = asyncio.get_running_loop()
        clients = Clients(ServerSettings(), Answering())
        server = await loop.create_server(clients.connection, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname(), timeout=10) as client:
            client.sendall(REQUEST)
            assert (await asyncio.to_thread(client.recv, 4096)).startswith(b"HTTP/1.1 200")
            clients.drain()
            client.sendall(sent)  # without a turn of the loop from here to the close
            clients.close_idle()
            found = b""
            while data := await asyncio.to_thread(client.recv, 4096):
                found += data
        server.close()
        return found

    found = asyncio.run(last_answer())
    assert found.startswith(answer)
    assert (b"Connection: close" in found) is bool(answer)
