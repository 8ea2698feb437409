"""vLLM on a host of the lab as systemd, the kernel and its clients see it. Nothing here is shared with the roles."""

from __future__ import annotations

import json
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeVar

from lab import Host

Seen = TypeVar("Seen")
UNIT = "vllm.service"
CONFIGURATION = "/etc/llm/vllm.yaml"
KEPT = "/root/vllm.yaml"
RECORD = f"/run/llm/started-with/{UNIT}.json"
DROP_IN = f"/run/systemd/system/{UNIT}.d/test.conf"
PATIENCE_S = 400  # a load takes 15 s on two idle cores; the tests' machine may be twenty times busier
# vLLM and its engine name themselves; what starts them (record-start, llm-ready) is in the unit's cgroup for a moment too.
API, ENGINE = "vllm", "VLLM::EngineCor"


def wait_until(what: str, look: Callable[[], Seen], timeout_s: float = PATIENCE_S) -> Seen:
    """Look until there is something to see and return it. Raises AssertionError with what was awaited."""
    deadline = time.monotonic() + timeout_s
    while not (seen := look()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:.0f} s (last seen: {seen!r})"
        time.sleep(0.2)
    return seen


class Vllm:
    """The unit of one Phase-2 host."""

    def __init__(self, host: Host) -> None:
        self.host = host

    # As systemd sees it

    def ctl(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.host.ssh(["systemctl", *words, UNIT], check=check, timeout=PATIENCE_S)

    def shown(self, name: str) -> str:
        return self.ctl("show", "--value", f"--property={name}").stdout.strip()

    @property
    def restarts(self) -> int:
        return int(self.shown("NRestarts"))

    def wait_for_state(self, state: str) -> None:
        wait_until(f"{UNIT} is {state}", lambda: self.shown("ActiveState") == state)

    def mark(self) -> str:
        """A place in the journal, for `journal`."""
        return self.host.ssh("journalctl -n 0 --show-cursor").stdout.rpartition("cursor: ")[2].strip()

    def journal(self, since: str) -> str:
        """What systemd and the service said about the unit since a mark."""
        return self.host.ssh(["journalctl", "-u", UNIT, "-o", "cat", "--after-cursor", since]).stdout

    def drop_in(self, text: str) -> None:
        """Change the unit until `restore`."""
        self.host.ssh(
            f"mkdir -p {DROP_IN.rpartition('/')[0]} && cat > {DROP_IN} && systemctl daemon-reload", stdin=text
        )

    def configure(self, key: str, value: str) -> None:
        """Change one line of vLLM's configuration, as somebody with an editor would, until `restore`."""
        self.host.ssh(f"cp -pn {CONFIGURATION} {KEPT}; sed -i 's|^{key}: .*|{key}: {value}|' {CONFIGURATION}")

    def restore(self) -> None:
        """Undo `drop_in` and `configure`, forget failures, and have it serve."""
        self.host.ssh(f"rm -rf {DROP_IN.rpartition('/')[0]}; systemctl daemon-reload")
        changed = self.host.ssh(f"test -e {KEPT} && ! cmp -s {KEPT} {CONFIGURATION}", check=False).returncode == 0
        if changed:
            self.ctl("stop")
            self.host.ssh(["cp", "-p", KEPT, CONFIGURATION])
        self.host.ssh(["rm", "-f", KEPT])
        self.ctl("reset-failed", check=False)
        self.ctl("start")

    # As the kernel sees it

    def processes(self) -> dict[int, str]:
        """Name by pid of everything in the unit's cgroup."""
        look = f"for c in $(grep -ls '/{UNIT}' /proc/[0-9]*/cgroup); do d=${{c%/cgroup}}; echo ${{d#/proc/}} $(cat $d/comm); done"
        lines = self.host.ssh(f"{look}; true").stdout.splitlines()
        return {int(pid): name for pid, _, name in (line.partition(" ") for line in lines) if name}

    def pid_of(self, name: str) -> int:
        found = [pid for pid, other in self.processes().items() if other == name]
        assert len(found) == 1, f"{name}: {found} of {self.processes()}"
        return found[0]

    def signal(self, name: str, signal: str) -> None:
        self.host.ssh(["kill", f"-{signal}", str(self.pid_of(name))])

    # As its users see it

    def serves(self) -> bool:
        """Health, the model in the list and one token: by the host's own probe, once, without waiting."""
        probe = "/usr/local/lib/llm/llm-ready vllm --port 8000 --model llm"
        return self.host.ssh(probe, check=False).returncode == 0

    def file(self, path: str) -> str | None:
        read = self.host.ssh(["cat", path], check=False)
        return read.stdout if read.returncode == 0 else None


def ask(host: Host, port: int, path: str, body: object = None, timeout_s: float = 30) -> tuple[int, Any]:
    """Status and JSON of an answer. Raises OSError when none comes, ValueError when it is no JSON."""
    request = urllib.request.Request(
        f"http://{host.address}:{port}{path}",
        data=json.dumps(body).encode() if body is not None else None,
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout_s) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@dataclass
class Clients:
    """Clients of the adapter and of Ollama Vision who keep asking while something happens to vLLM."""

    host: Host
    text: list[tuple[int, Any]] = field(default_factory=list)
    vision: list[int] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    _enough: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Clients:
        self._threads = [threading.Thread(target=self._keep, args=(ask_one,)) for ask_one in (self._text, self._vision)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def refusals(self) -> list[str]:
        """The reasons given with each 503."""
        return [str(body.get("error")) for status, body in list(self.text) if status == 503]

    def _keep(self, ask_one: Callable[[], None]) -> None:
        while not self._enough.wait(0.5):
            try:
                ask_one()
            except (OSError, ValueError) as error:
                self.broken.append(f"{ask_one.__name__}: {error!r}")

    def _text(self) -> None:
        body = {"model": "llama2:7b", "prompt": "Hello", "stream": False, "options": {"num_predict": 4}}
        self.text.append(ask(self.host, 11434, "/api/generate", body))

    def _vision(self) -> None:
        status, answer = ask(self.host, 11435, "/api/embed", {"model": "nomic-embed-text", "input": "Hello"})
        self.vision.append(status if answer["embeddings"] else 0)


# Runs on the host. Stops the unit itself, between two tokens that it received: so the stop is in mid-stream for certain.
_STREAM = """
import http.client, json, subprocess, sys, time
tokens, choices, patience_s = map(int, sys.argv[1:])
body = {"model": "llm", "prompt": "Hello", "stream": True, "max_tokens": tokens, "ignore_eos": True, "n": choices}
seen = {"events": 0, "at_stop": None, "state_at_stop": None, "finish": [], "done": False, "broken": None}
connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=patience_s)
try:
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    for line in connection.getresponse():
        if not line.startswith(b"data: "):
            continue
        if line.strip() == b"data: [DONE]":
            seen["done"] = True
            break
        event = json.loads(line[6:])
        seen["events"] += 1
        seen["finish"] += [c["finish_reason"] for c in event.get("choices", []) if c["finish_reason"]]
        seen["broken"] = event.get("error") or seen["broken"]
        if seen["events"] == 20:
            subprocess.run(["systemctl", "stop", "--no-block", "vllm.service"], check=True)
            show = ["systemctl", "show", "--value", "-p", "SubState", "vllm.service"]
            seen["state_at_stop"] = subprocess.run(show, capture_output=True, text=True).stdout.strip()
            stopped = time.monotonic()
except (OSError, http.client.HTTPException) as error:
    seen["broken"] = repr(error)
seen["after_stop_s"] = round(time.monotonic() - stopped, 1)
print(json.dumps(seen))
"""


def stop_in_mid_stream(host: Host, tokens: int, choices: int = 1) -> dict[str, Any]:
    """Stop the unit after the 20th event of a streamed completion, and read on. What the client saw until the end."""
    words = ["python3", "-", str(tokens), str(choices), str(PATIENCE_S)]
    return dict(json.loads(host.ssh(words, stdin=_STREAM, timeout=PATIENCE_S + 60).stdout))
