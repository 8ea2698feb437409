from __future__ import annotations

import asyncio
import time
from typing import Any

from ollama_adapter.upstream.client import Upstream
from ollama_adapter.upstream.fetching import Fetched, fetch

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(ANSWER)
    await writer.drain()
    writer.close()


async def asked_while(connect: Any, timeout_s: float) -> Fetched:
    """The answer of a server, where the loop connects in a way of the test's."""
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    upstream = Upstream("vLLM", f"http://127.0.0.1:{port}", timeout_s)
    done: asyncio.Future[Fetched] = loop.create_future()
    loop.create_connection = connect(loop.create_connection)  # type: ignore[method-assign]
    fetch(upstream, b"GET", b"/", done.set_result, 30)
    found = await asyncio.wait_for(done, 30)
    upstream.close()
    server.close()
    await server.wait_closed()
    return found


def test_a_process_that_was_held_up_while_it_connected_does_not_blame_the_upstream() -> None:
    held_up: list[bool] = []

    def connect(original: Any) -> Any:
        async def connected(*arguments: Any) -> Any:
            if not held_up:
                held_up.append(True)
                time.sleep(0.5)  # the whole process, as when its host has no time for it
                await asyncio.sleep(0.01)
            return await original(*arguments)

        return connected

    assert asyncio.run(asked_while(connect, 0.8)).is_ok
    assert held_up


def test_an_upstream_that_does_not_take_connections_is_given_up_after_the_time() -> None:
    def connect(original: Any) -> Any:
        async def never(*arguments: Any) -> Any:
            await asyncio.sleep(3600)

        return never

    found = asyncio.run(asked_while(connect, 0.2))
    assert (found.is_unreachable, found.reason[-26:]) == (True, "no connection within 0.2 s")
