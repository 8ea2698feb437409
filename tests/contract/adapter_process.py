"""A running adapter: the real program in a process of its own, on a free port."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[2] / "files" / "adapter" / "src"
START_TIMEOUT_S = 60.0
# What is known about the model behind the adapter: all of it, so that the adapter does not ask for them in the middle of a test.
FACTS: dict[str, Any] = {
    "capabilities": ["completion"], "context_length": 2048, "embedding_length": 384, "size_bytes": 3_790_568,
    "family": "llama", "parameter_size": "947K", "quantization": "F32",
}  # fmt: skip


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of an adapter: this one, with the package's source found and no settings of the tester's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OLLAMA_", "LISTEN_", "NOTIFY_"))}
    return {**kept, "PYTHONPATH": str(SOURCE), "PYTHONUNBUFFERED": "1", **(extra or {})}


def toml(sections: Mapping[str, Mapping[str, Any] | list[Mapping[str, Any]]]) -> str:
    """Settings as a TOML file. JSON's texts, numbers, lists and truth values are TOML's too."""
    lines = []
    for name, tables in sections.items():
        for table in tables if isinstance(tables, list) else [tables]:
            lines.append(f"[[{name}]]" if isinstance(tables, list) else f"[{name}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


class AdapterProcess:
    """Starts on entry, ends on exit; `log` has the lines it printed."""

    def __init__(
        self,
        directory: Path,
        *,
        command: tuple[str, ...] = (),
        extra_environment: Mapping[str, str] | None = None,
        pass_fds: tuple[int, ...] = (),
        models: list[Mapping[str, Any]] | None = None,
        **sections: Mapping[str, Any],
    ) -> None:
        """:param sections: the settings; host and port have working values.
        :param models: the tables `[[models]]`."""
        server = {"host": "127.0.0.1", "port": 0, **sections.pop("server", {})}
        self.config = directory / "adapter.toml"
        self.config.write_text(toml({"server": server, **sections, "models": models or []}), encoding="utf-8")
        self._command = (*command, sys.executable, "-m", "ollama_adapter", "--config", str(self.config))
        self._environment = environment(extra_environment)
        self._pass_fds = pass_fds
        self.log: list[dict[str, Any]] = []
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.port = 0

    def __enter__(self) -> AdapterProcess:
        self.process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, text=True, env=self._environment, pass_fds=self._pass_fds
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = int(str(self.event("listening")["addresses"][0]).rpartition(":")[2])
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(START_TIMEOUT_S)
        self._reader.join(START_TIMEOUT_S)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def event(self, name: str, timeout_s: float = START_TIMEOUT_S) -> dict[str, Any]:
        """The next line of this kind in the log."""
        while True:
            line = self._events.get(timeout=timeout_s)
            assert line is not None, f"the adapter ended with {self.process.wait()} before it said {name!r}"
            if line["event"] == name:
                return line

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.terminate()

    def exit_code(self) -> int:
        """Wait for the end."""
        return self.process.wait(START_TIMEOUT_S)

    def memory_bytes(self) -> int:
        """Resident memory."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self) -> float:
        """Processor time used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for text in self.process.stdout:
            line = json.loads(text)
            self.log.append(line)
            self._events.put(line)
        self._events.put(None)


Start = Callable[..., AdapterProcess]  # the type of the fixture `start_adapter`
