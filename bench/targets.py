"""What is compared: how each is started, which API it speaks. Each runs alone on its core, as one process."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import environment, processes
from bench.calibration import Api, Endpoint, WrongAnswer, calibrate
from bench.frames import SERVED_MODEL
from bench.plan import Plan
from lab.locked_venv import CannotInstall
from lab.progress import Report

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 15.0


class Absent(Exception):
    """A target that cannot be measured here; the text says why."""


@dataclass(frozen=True)
class Place:
    """Where a target is started."""

    directory: Path  # for its files and its log; its own
    upstream_port: int
    endpoint: Endpoint
    cores: frozenset[int]
    report: Report


@dataclass(frozen=True)
class Command:
    """A program and its environment."""

    argv: list[str]
    extra_environment: dict[str, str]


@dataclass(frozen=True)
class Target:
    """One of the things that are compared."""

    name: str
    title: str
    api: Api
    command: Callable[[Place], Command] | None  # None: the upstream itself
    needs_key: bool = False

    def endpoint(self, port: int) -> Endpoint:
        """Where it is asked, with a key of this run if it needs one."""
        return Endpoint(self.api, port, f"sk-{secrets.token_hex(32)}" if self.needs_key else "")


def _needs(*modules: str) -> None:
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise Absent(f"not installed in {sys.prefix}: {', '.join(missing)}")


def adapter_command(place: Place, source: Path | None = None) -> Command:
    """This project's adapter, with a small configuration.

    :param source: the directory that has the package; by default the checkout's.
    """
    _needs("httptools", "msgspec", "uvloop")
    source = source or Path(os.environ.get("BENCH_ADAPTER_SOURCE") or ROOT / "files" / "adapter" / "src")
    config = place.directory / "adapter.toml"
    config.write_text(
        f'[server]\nhost = "127.0.0.1"\nport = {place.endpoint.port}\n\n'
        f'[vllm]\nurl = "http://127.0.0.1:{place.upstream_port}"\nserved_model = "{SERVED_MODEL}"\n'
        'aliases = ["llama3.2"]\n',
        encoding="utf-8",
    )
    argv = [sys.executable, "-m", "ollama_adapter", "--config", str(config)]
    return Command(argv, {"PYTHONPATH": str(source.resolve())})


def _fastapi_command(place: Place) -> Command:
    _needs("fastapi", "httpx", "uvicorn", "uvloop", "httptools")
    argv = [sys.executable, "-m", "uvicorn", "bench.fastapi_bridge:app", "--host", "127.0.0.1"]
    upstream = f"http://127.0.0.1:{place.upstream_port}"
    return Command([*argv, "--port", str(place.endpoint.port)], {"BENCH_UPSTREAM": upstream, "PYTHONPATH": str(ROOT)})


def _litellm_command(place: Place) -> Command:
    _needs("litellm", "fastapi", "uvicorn")
    program = Path(sys.prefix) / "bin" / "litellm"
    if not program.is_file():
        raise Absent(f"{program} is missing")
    config = place.directory / "litellm.yaml"
    model = {
        "model_name": SERVED_MODEL,
        "litellm_params": {
            "model": f"openai/{SERVED_MODEL}",
            "api_base": f"http://127.0.0.1:{place.upstream_port}/v1",
            "api_key": "none",
        },
    }
    # JSON is YAML. No database, no callbacks, no health checks: as little as LiteLLM can do.
    settings = {"model_list": [model], "litellm_settings": {"telemetry": False}}
    config.write_text(json.dumps(settings), encoding="utf-8")
    argv = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(place.endpoint.port)]
    # The price list in the package is used; LiteLLM would fetch a newer one from the network.
    settings_environment = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "LITELLM_MASTER_KEY": place.endpoint.key,  # without one it does not start
    }
    return Command([*argv, "--num_workers", "1"], settings_environment)


def nginx_configuration(place: Place, user: str) -> str:
    """A reverse proxy that passes everything on as it comes, over kept connections."""
    directory = place.directory
    temporary = "\n  ".join(
        f"{name}_temp_path {directory}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""\
{f"user {user};" if user else ""}
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
events {{ worker_connections 8192; }}
http {{
  access_log {directory}/access.log;
  {temporary}
  keepalive_requests 100000000;
  upstream vllm {{
    server 127.0.0.1:{place.upstream_port};
    keepalive 1024;
    keepalive_requests 100000000;
  }}
  server {{
    listen 127.0.0.1:{place.endpoint.port} backlog=4096;
    client_max_body_size 256m;
    location / {{
      proxy_pass http://vllm;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 1h;
    }}
  }}
}}
"""


def _nginx_command(place: Place) -> Command:
    try:
        program = environment.nginx(place.report)
    except CannotInstall as error:
        raise Absent(str(error)) from error
    config = place.directory / "nginx.conf"
    config.write_text(nginx_configuration(place, "root" if os.geteuid() == 0 else ""), encoding="utf-8")
    log = place.directory / "error.log"
    return Command([program, "-p", str(place.directory), "-c", str(config), "-e", str(log)], {})


TARGETS = (
    Target("direct", "direct", "openai", None),
    Target("adapter", "this adapter", "ollama", adapter_command),
    Target("fastapi", "FastAPI + httpx", "ollama", _fastapi_command),
    Target("litellm", "LiteLLM proxy", "openai", _litellm_command, needs_key=True),
    Target("nginx", "nginx", "openai", _nginx_command),
)


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pinned(cores: frozenset[int]) -> list[str]:
    """What goes before a command that may only use these cores."""
    return ["taskset", "--cpu-list", ",".join(map(str, sorted(cores)))]


class Running:
    """A started process with its children, in a session of its own."""

    def __init__(self, command: Command, cores: frozenset[int], log: Path) -> None:
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*pinned(cores), *command.argv],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=log.parent,
                env=_environment(command.extra_environment),
                start_new_session=True,
            )
        self.pids = [self._process.pid]

    @property
    def has_ended(self) -> bool:
        """Whether it is gone."""
        return self._process.poll() is not None

    def last_words(self) -> str:
        """The end of its log."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-1500:].strip()

    def look(self) -> None:
        """Learn which children it has by now."""
        self.pids = processes.tree(self._process.pid)

    def cpu_ns(self) -> int:
        """Processor time of all its processes."""
        return sum(processes.cpu_ns(pid) for pid in self.pids)

    def memory_bytes(self) -> int:
        """Resident memory of all its processes."""
        return processes.memory_bytes(self.pids)

    def pause(self, is_paused: bool) -> None:
        """Stop it, or let it go on: what is not being measured must not use the core."""
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP if is_paused else signal.SIGCONT)

    def stop(self) -> None:
        """End it, gently first."""
        self.pause(False)
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(STOP_TIMEOUT_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # its session: children that outlived it


def _environment(extra: dict[str, str]) -> dict[str, str]:
    """This process's environment without proxies (all traffic is on the loopback) and settings of the targets."""
    dropped = (
        "OLLAMA_",
        "LITELLM_",
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "all_proxy",
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", **extra}


def start_mock(directory: Path, cores: frozenset[int]) -> tuple[Running, int]:
    """Start the mock upstream.

    :return: it, and its port.
    :raises Absent: it does not start.
    """
    port = free_port()
    directory.mkdir(parents=True, exist_ok=True)
    command = Command([sys.executable, "-m", "bench.mock", "--port", str(port)], {"PYTHONPATH": str(ROOT)})
    running = Running(command, cores, directory / "mock.log")
    try:
        wait_until_right(running, Endpoint("openai", port))
    except BaseException:
        running.stop()
        raise
    return running, port


@contextlib.contextmanager
def started(target: Target, place: Place) -> Iterator[Running]:
    """A target that answers rightly.

    :raises Absent: it cannot be installed, does not start, or answers something else.
    """
    if target.command is None:
        raise Absent("there is nothing to start")
    place.directory.mkdir(parents=True, exist_ok=True)
    running = Running(target.command(place), place.cores, place.directory / "output.log")
    try:
        wait_until_right(running, place.endpoint)
        running.look()
        yield running
    finally:
        running.stop()


def wait_until_right(running: Running, endpoint: Endpoint) -> None:
    """Wait until a short answer is right.

    :raises Absent: it ends, or gives no right answer in time.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    problem = ""
    while time.monotonic() < deadline:
        if running.has_ended:
            raise Absent(f"it ended while it was starting: {running.last_words()}")
        try:
            calibrate(endpoint, Plan(1), stream=False)
            return
        except (OSError, WrongAnswer) as error:
            problem = str(error)
        time.sleep(0.1)
    raise Absent(f"no right answer within {START_TIMEOUT_S:g} s: {problem}; {running.last_words()}")
