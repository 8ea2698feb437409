"""The mirror as a process: one per state directory, started in the background, found again, stopped.

The state directory holds `mirror.json` (who runs, since when, what it serves and where), `mirror.log` (access log and
errors) and `faults.json` (see `lab.mirror.faults`). A recorded process counts as running only if the process with that
number started at the recorded moment, so a number that was given away again is never taken for the mirror.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.mirror import apt_site, cache, store
from lab.mirror.sites import Content, Ports

RECORD, LOG, CONTENT = "mirror.json", "mirror.log", "content.json"
READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0


class MirrorError(RuntimeError):
    """The mirror could not be started; the text has the cause and the end of its log."""


@dataclass(frozen=True)
class Mirrors:
    """Where a running mirror is reached; every address is what a host's settings take."""

    address: str
    python_index_url: str
    hub_endpoint: str
    ollama_releases: str
    ollama_registry: str
    grafana_releases: str
    apt_base: str
    cuda_repositories: str
    container_toolkit_repository: str
    docker_repositories: str
    apt_key_fingerprint: str
    pid: int


def urls(address: str, ports: Ports, *, apt_key_fingerprint: str, pid: int) -> Mirrors:
    """The addresses of a mirror that listens on these ports."""
    host = f"[{address}]" if ":" in address else address
    files = f"http://{host}:{ports.files}"
    return Mirrors(
        address=address,
        python_index_url=f"{files}/simple/",
        hub_endpoint=f"http://{host}:{ports.hub}",
        ollama_releases=f"{files}/ollama/releases/download",
        ollama_registry=f"http://{host}:{ports.registry}",
        grafana_releases=f"{files}/grafana/release",
        apt_base=f"{files}/apt",
        cuda_repositories=f"{files}/apt/cuda/repos",
        container_toolkit_repository=f"{files}/apt/libnvidia-container",
        docker_repositories=f"{files}/docker/linux",
        apt_key_fingerprint=apt_key_fingerprint,
        pid=pid,
    )


def ensure_running(
    address: str, state_dir: Path, *, ports: Ports | None = None, content: Content | None = None
) -> Mirrors:
    """The running mirror of this state directory, started (or restarted, if it serves something else) where needed.

    Without `content` everything is prepared in the cache first. Returns when all sites answer. Raises MirrorError if
    the address or a port cannot be had, CacheError if the content cannot be made.
    """
    state_dir = state_dir.resolve()
    state_dir.mkdir(parents=True, exist_ok=True)
    wanted = (content or store.prepare()).to_json()
    with cache.locked(state_dir / RECORD):
        record = _running(state_dir)
        if record and record["content"] == wanted and record["urls"]["address"] == address and _asked(record, ports):
            return _mirrors(record)
        if record:
            _end(record["pid"], record["started"])
        return _start(address, state_dir, ports or Ports(), wanted)


def status(state_dir: Path) -> Mirrors | None:
    """The running mirror of this state directory, or None."""
    record = _running(state_dir)
    return _mirrors(record) if record else None


def stop(state_dir: Path) -> bool:
    """Stop the mirror of this state directory. Was there one?"""
    if not state_dir.is_dir():
        return False
    with cache.locked(state_dir / RECORD):
        record = _running(state_dir)
        if record:
            _end(record["pid"], record["started"])
        (state_dir / RECORD).unlink(missing_ok=True)
    return record is not None


def write_record(state_dir: Path, mirrors: Mirrors, ports: Ports, content: Content) -> None:
    """Called by the serving process once it listens: this is what makes it known."""
    record = {
        "pid": mirrors.pid,
        "started": start_time(mirrors.pid),
        "content": content.to_json(),
        "ports": asdict(ports),
        "urls": asdict(mirrors),
    }
    temporary = state_dir / f".{RECORD}.tmp"
    temporary.write_text(json.dumps(record, indent=2))
    temporary.replace(state_dir / RECORD)


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot (field 22 of /proc/PID/stat); None if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the command's name in parentheses and may contain blanks.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


def _mirrors(record: dict[str, Any]) -> Mirrors:
    return Mirrors(**record["urls"])


def _running(state_dir: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads((state_dir / RECORD).read_text())
    except (OSError, ValueError):
        return None
    return record if start_time(record["pid"]) == record["started"] else None


def _asked(record: dict[str, Any], ports: Ports | None) -> bool:
    """Does the running mirror have the ports that are asked for? Any will do where none are, or 0 is."""
    known = record["ports"]
    return ports is None or all(port in (0, known[name]) for name, port in asdict(ports).items())


def _start(address: str, state_dir: Path, ports: Ports, content: str) -> Mirrors:
    (state_dir / RECORD).unlink(missing_ok=True)
    (state_dir / CONTENT).write_text(content)
    log = state_dir / LOG
    listed = ",".join(map(str, (ports.files, ports.hub, ports.registry)))
    command = [
        sys.executable, "-m", "lab.mirror", "serve", "--bind", address, "--state", str(state_dir),
        "--ports", listed, "--content", str(state_dir / CONTENT),
    ]  # fmt: skip
    with log.open("ab") as stream, open(os.devnull, "rb") as nothing:
        begun = stream.tell()
        # Not subprocess.Popen, which expects to see its child end: this one outlives its parent.
        files = [
            (os.POSIX_SPAWN_DUP2, nothing.fileno(), 0),
            *((os.POSIX_SPAWN_DUP2, stream.fileno(), n) for n in (1, 2)),
        ]
        environment = {**os.environ, "PYTHONPATH": str(store.REPOSITORY_ROOT)}
        pid = os.posix_spawn(sys.executable, command, environment, file_actions=files, setsid=True)
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        record = _running(state_dir)
        if record and record["pid"] == pid and _answers(_mirrors(record)):
            return _mirrors(record)
        ended, state = os.waitpid(pid, os.WNOHANG)
        if ended:
            said = log.read_bytes()[begun:].decode(errors="replace").strip()
            raise MirrorError(f"the mirror on {address} ended with status {os.waitstatus_to_exitcode(state)}:\n{said}")
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise MirrorError(f"the mirror on {address} did not answer within {READY_TIMEOUT_S:.0f} s; see {log}")


def _answers(mirrors: Mirrors) -> bool:
    # No proxy of the machine may stand between: the addresses are the lab's own.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for site in (mirrors.python_index_url, f"{mirrors.hub_endpoint}/", f"{mirrors.ollama_registry}/v2/"):
        try:
            opener.open(site, timeout=5).close()
        except urllib.error.HTTPError as error:
            error.close()  # an answer all the same
        except OSError:
            return False
    return True


def _end(pid: int, started: int) -> None:
    """SIGTERM, then SIGKILL; only while the process is still the one that was recorded."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + STOP_TIMEOUT_S
        if start_time(pid) != started:
            return
        os.kill(pid, number)
        while time.monotonic() < deadline:
            # Reaps the child of this process; somebody else's is watched in /proc.
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            if start_time(pid) != started:
                return
            time.sleep(0.02)


def key_fingerprint(content: Content) -> str:
    """The fingerprint of the key that signed the served apt repositories; empty if none are served."""
    return apt_site.fingerprint(content.apt.parent) if content.apt else ""
