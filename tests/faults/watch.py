"""A client of a host who asks for text and for vision all the time, and knows how long nobody answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from lab import Host
from tests.lab.vllm_probes import ask

PAUSE_S = 0.2
ANSWER_S = 10.0  # a client that waits longer has none
TEXT = {"model": "llama2:7b", "prompt": "Hello", "stream": False, "options": {"num_predict": 1}}  # both phases have it


@dataclass(frozen=True)
class Asked:
    """One request: when it was sent, when it ended (monotonic seconds), and whether there was an answer."""

    sent: float
    ended: float
    good: bool


def seconds_until_served(asked: list[Asked], since: float) -> float | None:
    """From `since` to the first good answer after the last bad one; 0 when none was bad, None when none came any more."""
    bad = [one for one in asked if not one.good and one.ended >= since]
    if not bad:
        return 0.0
    good = [one.ended for one in asked if one.good and one.ended > bad[-1].ended]
    return good[0] - since if good else None


class Watch:
    """Asks from the beginning of the block to its end; both ports, each by its own thread."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.begun = time.monotonic()
        self.text: list[Asked] = []
        self.vision: list[Asked] = []
        self._enough = threading.Event()

    def __enter__(self) -> Watch:
        self.begun = time.monotonic()
        wanted = ((self._text, self.text), (self._vision, self.vision))
        self._threads = [threading.Thread(target=self._keep, args=one) for one in wanted]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def wait_for_text(self, timeout_s: float = 300) -> None:
        """Until a request that is sent from now on gets its answer. Raises AssertionError."""
        now, end = time.monotonic(), time.monotonic() + timeout_s
        while not any(one.good and one.sent >= now for one in list(self.text)):
            assert time.monotonic() < end, f"{self.host.name}: no text for {timeout_s:.0f} s"
            time.sleep(0.05)

    def text_after(self, since: float | None = None) -> float:
        """Seconds from `since`, or from the beginning, until text was served and did not cease again; 0: it never ceased."""
        found = seconds_until_served(list(self.text), self.begun if since is None else since)
        assert found is not None, f"{self.host.name}: text is not served any more"
        return found

    def vision_ceased(self) -> bool:
        """Whether a request to Ollama Vision failed."""
        return not all(one.good for one in list(self.vision))

    def _keep(self, ask_one: Callable[[], bool], asked: list[Asked]) -> None:
        while not self._enough.wait(PAUSE_S):
            sent = time.monotonic()
            try:
                good = ask_one()
            except (OSError, ValueError):
                good = False
            asked.append(Asked(sent, time.monotonic(), good))

    def _text(self) -> bool:
        return ask(self.host, 11434, "/api/generate", TEXT, ANSWER_S)[0] == 200

    def _vision(self) -> bool:
        return ask(self.host, 11435, "/api/tags", timeout_s=ANSWER_S)[0] == 200
