"""One page in a headless Chromium, driven over its DevTools protocol. The protocol goes through two pipes: no port is opened.

What the command line's own `--screenshot` cannot do is why: it takes a picture of the error page when nobody answers, and
knows nothing of a page that fetches its figures after it was loaded.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.shell import TOOL_PATH

Message = dict[str, Any]
PROGRAM = "chromium"
# Root needs --no-sandbox. The others keep it from asking anything but the page: what it fetched would be in the way of a
# lab without the internet, and QUIC is not what the lab's network carries.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
_CLOSING_S = 10.0


class BrowserFailed(LabError):
    """The browser is not there, ended, or did not answer in time."""


class Page:
    """One page. Every call is bounded by the deadline that `opened` was given."""

    def __init__(self, to_browser: int, from_browser: int, deadline: float) -> None:
        self._to, self._from, self._deadline = to_browser, from_browser, deadline
        self._buffer, self._number, self._session = b"", 0, ""
        self._events: list[Message] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def call(self, method: str, **parameters: Any) -> Message:
        """Ask the browser for something and return its result. Raises BrowserFailed with the browser's own words."""
        self._number += 1
        message: Message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        # A page that hangs must not hold us in a write: what is asked is short, a pipe holds 64 KiB.
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read(method)
            if answer.get("id") != self._number:
                self._events.append(answer)
            elif "error" in answer:
                raise BrowserFailed(f"asking the browser for {method}", str(answer["error"].get("message")), _NEXT)
            else:
                return dict(answer["result"])

    def wait_for(self, event: str) -> Message:
        """The parameters of the first event of this name since the page was opened, or of the next one."""
        seen = 0
        while True:
            for message in self._events[seen:]:
                if message.get("method") == event:
                    return dict(message["params"])
            seen = len(self._events)
            self._events.append(self._read(event))

    @property
    def left_s(self) -> float:
        """What is left of the page's time."""
        return self._deadline - time.monotonic()

    def seen(self, event: str) -> list[Message]:
        """The parameters of all events of this name so far."""
        return [dict(message["params"]) for message in self._events if message.get("method") == event]

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page. Raises BrowserFailed when it throws."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            told = answer["exceptionDetails"]
            cause = told.get("exception", {}).get("description") or told.get("text")
            raise BrowserFailed(f"evaluating {expression!r} in the page", str(cause), _NEXT)
        return answer["result"].get("value")

    def _read(self, what: str) -> Message:
        """The next message; they end with a zero byte each."""
        while b"\0" not in self._buffer:
            if self.left_s <= 0 or not select.select([self._from], [], [], self.left_s)[0]:
                raise BrowserFailed(
                    f"waiting for {what}", "the page took longer than its time", "give it a longer --timeout"
                )
            piece = os.read(self._from, 1 << 20)
            if not piece:
                raise BrowserFailed(f"waiting for {what}", f"{PROGRAM} ended", _NEXT)
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(line))


_NEXT = f"{PROGRAM} --headless --no-sandbox --dump-dom about:blank"


@contextlib.contextmanager
def opened(timeout_s: float) -> Iterator[Page]:
    """A page of a browser of its own, with an empty profile. Browser and profile are gone after the block.

    :raises BrowserFailed: when there is no browser, or it does not answer within `timeout_s`.
    """
    program = shutil.which(PROGRAM, path=f"{os.environ.get('PATH', '')}:{TOOL_PATH}")
    if program is None:
        raise BrowserFailed(
            "taking a picture", f"{PROGRAM} is not installed", "python3 -m lab.prerequisites pictures   (as root)"
        )
    profile = Path(tempfile.mkdtemp(prefix="llm-lab-browser-"))
    commands_out, commands_in = _pipe()
    answers_out, answers_in = _pipe()
    # The browser reads from descriptor 3 and writes to 4; a shell puts them there. dash knows no descriptor of two digits.
    words = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(
        ["bash", "-c", f'exec "$@" 3<&{commands_out} 4>&{answers_in}', "bash", *words],
        pass_fds=(commands_out, answers_in),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "HOME": str(profile)},  # what it keeps outside of its profile goes with it too
    )
    os.close(commands_out)
    os.close(answers_in)
    try:
        yield Page(commands_in, answers_out, time.monotonic() + timeout_s)
    except BrokenPipeError as error:
        raise BrowserFailed("taking a picture", f"{PROGRAM} ended", _NEXT) from error
    finally:
        os.close(commands_in)  # which ends it
        os.close(answers_out)
        _end(process)
        shutil.rmtree(profile, ignore_errors=True)


def _pipe() -> tuple[int, int]:
    """The two ends of a pipe, at numbers that are neither of the browser's."""
    ends = os.pipe()
    moved = fcntl.fcntl(ends[0], fcntl.F_DUPFD_CLOEXEC, 10), fcntl.fcntl(ends[1], fcntl.F_DUPFD_CLOEXEC, 10)
    for end in ends:
        os.close(end)
    return moved


def _end(process: subprocess.Popen[bytes]) -> None:
    """Have the browser and its children end; the session is theirs alone."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_CLOSING_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(_CLOSING_S)
