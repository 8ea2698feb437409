"""Where the soak runs: a host of the lab, or two processes of this machine for development."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Protocol

from lab import Host
from tests.contract.adapter_process import AdapterProcess

ADAPTER, VLLM = "ollama-adapter.service", "vllm.service"
ADAPTER_PORT, VLLM_PORT = 11434, 8000
SAMPLER = Path(__file__).with_name("sampler.py")
START_TIMEOUT_S = 900.0  # a load takes 15 s on two idle cores; the machine may be many times busier


class Target(Protocol):
    """What can be asked of the place, and done to it. All of it blocks."""

    address: str
    port: int
    can_restart_adapter: bool

    def describe(self) -> str:
        """The machine, for the report."""

    def sampler(self) -> list[str]:
        """The command that prints samples."""

    def restart_vllm(self) -> None:
        """Stop it in an orderly way, start it again, and return when the start is over."""

    def kill_vllm(self) -> None:
        """Kill all of it at once; it comes back as it does in production."""

    def restart_adapter(self) -> None:
        """Stop it in an orderly way, start it again, and return when it is up."""

    def log_lines(self) -> list[str]:
        """What the adapter has printed since this object was made."""


class LabTarget:
    """A deployed host of the lab."""

    port = ADAPTER_PORT
    can_restart_adapter = True

    def __init__(self, host: Host) -> None:
        self._host = host
        self.address = host.address
        self._mark = host.ssh("journalctl -n 0 --show-cursor").stdout.rpartition("cursor: ")[2].strip()

    def describe(self) -> str:
        """Operating system, and the adapter's release: its name has a hash of its source."""
        system = "/etc/os-release; echo $PRETTY_NAME; nproc; awk '/MemTotal/ {print $2}' /proc/meminfo"
        said = self._host.ssh(f"readlink -f /opt/llm/adapter/current; . {system}").stdout
        release, system, cores, memory_kb = said.split("\n")[:4]
        where = f"{system} as a systemd-nspawn host {self._host.name}"
        return f"{where}, {cores} cores, {int(memory_kb) / 2**20:.0f} GiB, adapter {Path(release).name}, vLLM on CPU"

    def sampler(self) -> list[str]:
        words = ["python3", "-u", "-c", SAMPLER.read_text(encoding="utf-8"), "--unit", ADAPTER]
        remote = shlex.join([*words, "--vllm", f"http://127.0.0.1:{VLLM_PORT}"])
        return ["ssh", *self._host.ssh_options, f"root@{self.address}", "--", remote]

    def restart_vllm(self) -> None:
        self._host.ssh(["systemctl", "restart", VLLM], timeout=START_TIMEOUT_S)

    def kill_vllm(self) -> None:
        self._host.ssh(["systemctl", "kill", "--signal=KILL", VLLM])

    def restart_adapter(self) -> None:
        self._host.ssh(["systemctl", "restart", ADAPTER], timeout=START_TIMEOUT_S)

    def log_lines(self) -> list[str]:
        words = ["journalctl", "-u", ADAPTER, "-o", "cat", "--after-cursor", self._mark]
        return self._host.ssh(words, timeout=300).stdout.splitlines()


class LocalTarget:
    """The checkout's adapter and a vLLM from a virtual environment, as processes of this machine."""

    address = "127.0.0.1"
    can_restart_adapter = False  # there is no systemd to keep the socket

    def __init__(self, adapter: AdapterProcess, vllm: VllmProcess) -> None:
        self._adapter, self._vllm = adapter, vllm
        self.port = adapter.port

    def describe(self) -> str:
        return f"local processes, {os.cpu_count()} cores, vLLM on CPU"

    def sampler(self) -> list[str]:
        words = [sys.executable, "-u", str(SAMPLER), "--pid", str(self._adapter.process.pid)]
        return [*words, "--vllm", f"http://127.0.0.1:{self._vllm.port}"]

    def restart_vllm(self) -> None:
        self._vllm.stop(signal.SIGINT)
        self._vllm.start()

    def kill_vllm(self) -> None:
        self._vllm.stop(signal.SIGKILL)
        self._vllm.start()

    def restart_adapter(self) -> None:
        raise NotImplementedError("only systemd keeps the socket while the adapter restarts: use a host of the lab")

    def log_lines(self) -> list[str]:
        return [json.dumps(line) for line in self._adapter.log]


class VllmProcess:
    """`vllm serve` as the lab runs it."""

    ENVIRONMENT: ClassVar[dict[str, str]] = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_MAX_STOP_STRINGS": "64",
    }  # fmt: skip

    def __init__(self, environment: Path, model: Path, port: int, log: Path) -> None:
        self.port = port
        self._log = log
        flags = (
            f"--served-model-name llm --host 127.0.0.1 --port {port} --dtype float32 --max-model-len 2048 --enforce-eager "
            "--kv-cache-memory-bytes 64M --enable-per-request-metrics --shutdown-timeout 60"
        )
        self._command = [str(environment / "bin" / "vllm"), "serve", str(model), *flags.split()]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it is healthy. Raises RuntimeError when it ends or takes too long."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                env={**os.environ, **self.ENVIRONMENT},
            )  # fmt: skip
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), opener.open(f"http://127.0.0.1:{self.port}/health", timeout=2):
                return
            time.sleep(0.5)
        raise RuntimeError(f"vLLM does not start: see {self._log}")

    def stop(self, number: signal.Signals) -> None:
        """Send a signal to its main process, wait for the end, and kill what is left of its session."""
        if self._process is None:
            return
        if number is not signal.SIGKILL:
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(90)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None


@contextlib.contextmanager
def local(environment: Path, model: Path, port: int) -> Iterator[LocalTarget]:
    """Start both processes; end them on leaving."""
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        vllm = VllmProcess(environment, model, port, Path(directory, "vllm.log"))
        try:
            vllm.start()
            settings = {"url": f"http://127.0.0.1:{port}", "context_length": 2048}
            with AdapterProcess(Path(directory), vllm=settings) as adapter:
                yield LocalTarget(adapter, vllm)
        finally:
            vllm.stop(signal.SIGINT)
