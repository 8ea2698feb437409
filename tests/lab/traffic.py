"""Traffic as a host's services make it: prompts that begin alike, streams, answers in one piece, vectors, and a few mistakes."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import random
import threading
import time
import urllib.request
from collections.abc import Iterator

from lab import Host

MODEL, VECTORS = "llama2:7b", "nomic-embed-text"
LIMIT_S = 120
# What every chat of a service begins with: the part that a prefix cache need not compute again.
ROLE = 3 * (
    "You answer questions about the files of a law firm. Be brief, name the file and the page, and say so if you do not know. "
)
WORDS = (
    "notice",
    "period",
    "tenant",
    "damages",
    "appeal",
    "witness",
    "contract",
    "clause",
    "deadline",
    "invoice",
    "estate",
)


def _bodies(chance: random.Random) -> tuple[str, dict[str, object]]:
    """A request, as one of the services would make it: its path and its body."""
    asked = " ".join(chance.choices(WORDS, k=chance.randint(5, 60)))
    # At temperature 0 the lab's model does not end by itself.
    length = {"num_predict": chance.choice((32, 64, 128, 256)), "temperature": 0}
    kind = chance.random()
    if kind < 0.5:
        messages = [{"role": "system", "content": ROLE}, {"role": "user", "content": asked}]
        return "/api/chat", {"model": MODEL, "messages": messages, "options": length}
    if kind < 0.8:
        return "/api/generate", {"model": MODEL, "prompt": asked, "options": length}
    if kind < 0.9:
        return "/api/generate", {"model": MODEL, "prompt": asked, "stream": False, "options": {"num_predict": 16}}
    if kind < 0.98:
        return "/api/embed", {"model": VECTORS, "input": asked}
    return "/api/generate", {"model": "mistral", "prompt": asked}  # which nobody serves: 404


def _ask(host: Host, chance: random.Random) -> None:
    path, body = _bodies(chance)
    request = urllib.request.Request(f"http://{host.address}:11434{path}", json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=LIMIT_S) as answer:
        if chance.random() < 0.03:
            answer.readline()  # a client that leaves after the first words
        else:
            answer.read()


@contextlib.contextmanager
def traffic(host: Host, clients: int, wave_s: float) -> Iterator[None]:
    """Up to so many clients at a time, now more, now fewer; they stop at the end of the block.

    :param wave_s: from the most clients to the fewest and back.
    """
    enough, began = threading.Event(), time.monotonic()

    def client(number: int) -> None:
        chance = random.Random(number)
        for _ in itertools.count():
            if enough.is_set():
                return
            wanted = 1 + (clients - 1) * (0.5 - 0.5 * math.cos(2 * math.pi * (time.monotonic() - began) / wave_s))
            if number < wanted:
                with contextlib.suppress(OSError):  # a refusal is part of it
                    _ask(host, chance)
            enough.wait(chance.uniform(0.1, 1.0))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        enough.set()
        for thread in threads:
            thread.join(2 * LIMIT_S)
