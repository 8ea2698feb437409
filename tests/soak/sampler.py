"""Runs beside the adapter, on its host: prints one line of JSON per interval. A program of its own, standard library only.

    python3 sampler.py --unit ollama-adapter.service --vllm http://127.0.0.1:8000 --interval 5
    python3 sampler.py --pid 4711 ...

A line has the resident memory of the main process and of all (bytes), the number of processes and of open files, and
vLLM's own count of running and waiting requests (null while it does not answer). Ends when nobody reads on.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
import urllib.request

PAGE = os.sysconf("SC_PAGE_SIZE")


def read(path: str) -> str:
    """The text of a file in /proc; "" when the process is gone."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def processes_of_unit(unit: str) -> tuple[int, list[int]]:
    """The main process of a unit (0: none), and all of them."""
    shown = subprocess.run(
        ["systemctl", "show", "--value", "--property=MainPID", unit], capture_output=True, text=True, check=False
    )
    main = int(shown.stdout.strip() or 0)
    return main, [pid for pid in pids() if f"/{unit}" in read(f"/proc/{pid}/cgroup")]


def processes_below(root: int) -> tuple[int, list[int]]:
    """A process and its descendants."""
    parents = {}
    for pid in pids():
        fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        if fields:
            parents[pid] = int(fields[1])
    found = [root] if root in parents else []
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return root, found


def resident(pid: int) -> int:
    fields = read(f"/proc/{pid}/statm").split()
    return int(fields[1]) * PAGE if fields else 0


def open_files(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def requests_in_vllm(url: str) -> tuple[float | None, float | None]:
    """Running and waiting, as its metrics say."""
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{url}/metrics", timeout=3) as answer:
            text = answer.read().decode()
    except (OSError, ValueError):
        return None, None
    numbers = []
    for name in ("running", "waiting"):
        values = re.findall(rf"^vllm:num_requests_{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        numbers.append(sum(map(float, values)) if values else None)
    return numbers[0], numbers[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--unit")
    what.add_argument("--pid", type=int)
    parser.add_argument("--vllm", required=True, metavar="URL")
    parser.add_argument("--interval", type=float, default=5.0, metavar="SECONDS")
    chosen = parser.parse_args()
    while True:
        main_pid, all_pids = processes_of_unit(chosen.unit) if chosen.unit else processes_below(chosen.pid)
        running, waiting = requests_in_vllm(chosen.vllm)
        sample = {
            "main_pid": main_pid,
            "main_rss": resident(main_pid) if main_pid else 0,
            "all_rss": sum(map(resident, all_pids)),
            "processes": len(all_pids),
            "open_files": sum(map(open_files, all_pids)),
            "running": running,
            "waiting": waiting,
        }
        print(json.dumps(sample), flush=True)
        time.sleep(chosen.interval)


if __name__ == "__main__":
    try:
        main()
    except (BrokenPipeError, KeyboardInterrupt):
        sys.exit(0)
