"""Several processes on one port, for more than one core: started, watched, replaced, stopped together.

All of them accept on one listening socket that outlives each of them, so that a process that dies or is replaced takes
no waiting connection with it. (A socket for each with SO_REUSEPORT would: what the kernel has queued on it is lost.)
The supervisor itself only waits. To systemd it is the service: it says READY when all processes listen, and keeps the
watchdog quiet only while all of them do.
"""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .access_log import AccessLog
from .peers import Place
from .systemd import Notifier

BEAT_S = 1.0  # how often a process says that its loop turns
_HANGS_AFTER_S = 20.0
_STARTS_WITHIN_S = 60.0
_RESTART_AFTER_S = 1.0
_KILL_AFTER_S = 10.0  # beyond the drain timeout

# Runs one process until it is told to stop. Gets its place, the listening sockets and the pipe to beat on.
Work = Callable[[Place, list[socket.socket], int], None]


@dataclass
class _Process:
    number: int
    pid: int = 0
    pipe: int = -1
    beaten_at: float = 0.0
    is_ready: bool = False
    start_at: float = field(default_factory=time.monotonic)


class Supervisor:
    """Runs `count` processes until SIGTERM or SIGINT."""

    def __init__(
        self, count: int, sockets: list[socket.socket], drain_timeout_s: float, log: AccessLog, work: Work
    ) -> None:
        self._sockets = sockets
        self._drain_timeout_s = drain_timeout_s
        self._log = log
        self._work = work
        self._notifier = Notifier(os.environ)
        self._directory = Path(tempfile.mkdtemp(prefix="ollama-adapter-"))
        self._processes = [_Process(number) for number in range(count)]
        self._selector = selectors.DefaultSelector()
        self._is_stopping = False
        self._was_ready = False

    def run(self) -> None:
        """Start, watch, stop. Returns when all processes have ended."""
        wake_up, waker = os.pipe()
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker)
        self._selector.register(wake_up, selectors.EVENT_READ)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        try:
            while not self._is_stopping:
                self._start_missing()
                self._wait(wake_up, BEAT_S)
                self._reap()
                self._kill_hanging()
                self._tell_systemd()
            self._end_all(wake_up)
        finally:
            signal.set_wakeup_fd(-1)
            shutil.rmtree(self._directory, ignore_errors=True)

    def _stop(self, *_: object) -> None:
        self._is_stopping = True

    def _start_missing(self) -> None:
        now = time.monotonic()
        for process in self._processes:
            if not process.pid and now >= process.start_at:
                self._start(process)

    def _start(self, process: _Process) -> None:
        read_end, write_end = os.pipe()
        place = Place(process.number, len(self._processes), self._directory)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                signal.set_wakeup_fd(-1)
                for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
                    signal.signal(number, signal.SIG_DFL)
                os.close(read_end)
                # The watchdog and readiness are the supervisor's business.
                for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
                    os.environ.pop(name, None)
                self._work(place, self._sockets, write_end)
                status = 0
            except BaseException as error:
                print(f"process {process.number} ends: {error!r}", file=sys.stderr, flush=True)
            finally:
                os._exit(status)
        os.close(write_end)
        os.set_blocking(read_end, False)
        process.pid, process.pipe, process.is_ready = pid, read_end, False
        process.beaten_at = time.monotonic()
        self._selector.register(read_end, selectors.EVENT_READ, process)

    def _wait(self, wake_up: int, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            if key.fd == wake_up:
                os.read(wake_up, 4096)
                continue
            process: _Process = key.data
            if os.read(key.fd, 4096):
                process.beaten_at = time.monotonic()
                process.is_ready = True
            else:
                self._selector.unregister(key.fd)

    def _reap(self) -> None:
        for process in self._processes:
            if not process.pid:
                continue
            pid, status = os.waitpid(process.pid, os.WNOHANG)
            if not pid:
                continue
            self._forget_pipe(process)
            if not self._is_stopping:
                code = os.waitstatus_to_exitcode(status)
                self._log.event("process ended", number=process.number, pid=pid, exit_code=code)
            process.pid, process.is_ready = 0, False
            process.start_at = time.monotonic() + _RESTART_AFTER_S

    def _forget_pipe(self, process: _Process) -> None:
        if process.pipe in self._selector.get_map():
            self._selector.unregister(process.pipe)
        os.close(process.pipe)
        process.pipe = -1

    def _kill_hanging(self) -> None:
        now = time.monotonic()
        for process in self._processes:
            limit = _HANGS_AFTER_S if process.is_ready else _STARTS_WITHIN_S
            if process.pid and now - process.beaten_at > limit:
                self._log.event("process hangs", number=process.number, pid=process.pid, silent_s=limit)
                os.kill(process.pid, signal.SIGKILL)
                process.beaten_at = now  # it is reaped in the next rounds

    def _tell_systemd(self) -> None:
        ready = sum(process.is_ready for process in self._processes)
        if ready == len(self._processes) and not self._was_ready:
            self._was_ready = True
            self._notifier.ready(f"{ready} processes listening")
        now = time.monotonic()
        # A process that hangs is replaced here; systemd's dog barks for a supervisor that cannot even do that.
        if all(now - process.beaten_at < _HANGS_AFTER_S + 5 for process in self._processes if process.pid):
            self._notifier.alive()

    def _end_all(self, wake_up: int) -> None:
        self._notifier.stopping("finishing answers")
        for process in self._processes:
            if process.pid:
                os.kill(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + self._drain_timeout_s + _KILL_AFTER_S
        while any(process.pid for process in self._processes):
            self._wait(wake_up, BEAT_S)
            self._reap()
            self._notifier.alive()
            if time.monotonic() > deadline:
                for process in self._processes:
                    if process.pid:
                        os.kill(process.pid, signal.SIGKILL)
                deadline = float("inf")
