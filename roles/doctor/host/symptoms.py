"""Gather what a host says about itself, its services, their last lines and answers; change nothing, judge nothing.

Runs on the host: `python3 -c <this> '<json>'` with "units", "folders" (paths), "variables" (names shown of containers) and
"questions" (name, url, body or "", token_file or "", seconds). Prints one JSON object; roles/doctor/symptoms.py reads it. Needs
python3 (3.9 or newer). Every part ends by itself: some 30 seconds at most, a megabyte at most. One question asks vLLM for a token,
as a client would; Ollama is not asked for any, or it would load a model.
"""

import concurrent.futures
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

PROPERTIES = (
    "Id", "LoadState", "ActiveState", "SubState", "Result", "NRestarts", "ExecMainStatus", "MainPID", "UnitFileState",
    "InactiveExitTimestampMonotonic", "ActiveEnterTimestampMonotonic", "StateChangeTimestampMonotonic",
)  # fmt: skip
LINES, MOST_LINE, MOST_JOURNAL, MOST_ANSWER = 400, 700, 120_000, 400_000
RECENT = re.compile(r"Out of memory: Killed|oom-kill:")
LASTING = re.compile(r"I/O error|Remounting filesystem read-only")
COMPILERS = ("gcc", "cc", "clang")
NO_SMI = "no nvidia-smi"


def run(*command, seconds=10):
    """Status and both outputs; 127 where there is no such program, 124 where it did not end."""
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=seconds, env=environment
        )
    except subprocess.TimeoutExpired:
        return 124, "", f"no answer within {seconds} s"
    except OSError as problem:
        return 127, "", str(problem)
    return done.returncode, done.stdout, done.stderr


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(200_000)
    except OSError:
        return ""


def units(names):
    """By name, what systemd says of each."""
    _, said, _ = run("systemctl", "show", "--property=" + ",".join(PROPERTIES), "--", *names)
    blocks = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in said.split("\n\n")]
    return {block["Id"]: block for block in blocks if block.get("Id")}


def entry(line):
    """Seconds since 1970, priority and text of one line of the journal's JSON; None for anything else."""
    try:
        found = json.loads(line)
        text = found["MESSAGE"]
        if isinstance(text, list):  # bytes that are no UTF-8
            text = bytes(text).decode(errors="replace")
        return [int(found["__REALTIME_TIMESTAMP"]) / 1e6, int(found.get("PRIORITY", 6)), text[:MOST_LINE]]
    except (ValueError, KeyError, TypeError):  # None for a message that was too long for the journal's JSON
        return None


def journal(unit):
    """Its last lines, oldest first."""
    _, said, _ = run("journalctl", "-q", "--no-pager", "-n", str(LINES), "-o", "json", "-u", unit)
    found = [one for one in map(entry, said.splitlines()) if one]
    size = 0
    for number in range(len(found) - 1, -1, -1):
        size += len(found[number][2])
        if size > MOST_JOURNAL:
            return found[number + 1 :]
    return found


def kernel():
    """The last hour's lines about memory, and this boot's about disks and cards."""
    found = []
    for pattern, words in ((RECENT, ("--since", "-1h")), (LASTING, ())):
        status, said, _ = run("journalctl", "-q", "-k", "-b", "-n", "20000", "--no-pager", "-o", "cat", *words)
        if status:
            _, said, _ = run("dmesg")
        found += [line[:MOST_LINE] for line in said.splitlines() if pattern.search(line)][-20:]
    return found


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def beginning(answer, end):
    """Its first bytes, as far as they come in time."""
    data = b""
    while len(data) < MOST_ANSWER and time.monotonic() < end:
        part = answer.read1(65_536)
        if not part:
            break
        data += part
    return data[:MOST_ANSWER]


def has_the_port(url, command):
    """Whether the sockets that listen there are of this program, or kept by systemd for a unit."""
    port = url.split("/")[2].rpartition(":")[2]
    _, said, _ = run("ss", "-Hltnp", "sport = :" + port)
    return bool(said.strip()) and all(f'"{command[:15]}' in line or '"systemd"' in line for line in said.splitlines())


def asked(question):
    """What came back for a URL of this host: status (0: nothing), the beginning of the text, seconds."""
    begin = time.monotonic()
    body = question["body"].encode() if question["body"] else None
    request = urllib.request.Request(question["url"], data=body, headers={"Content-Type": "application/json"})
    token = read(question["token_file"]).strip() if question["token_file"] else ""
    if token and has_the_port(question["url"], question["listener"]):
        request.add_unredirected_header("Authorization", "Bearer " + token)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirect)
    status, text, problem = 0, "", ""
    try:
        try:
            answer = opener.open(request, timeout=question["seconds"])
        except urllib.error.HTTPError as refusal:
            answer = refusal
        with answer:
            status = answer.status
            text = beginning(answer, begin + question["seconds"]).decode(errors="replace")
    except (OSError, ValueError) as failure:
        problem = str(getattr(failure, "reason", failure)) or type(failure).__name__
    except Exception as failure:  # http.client's own, such as a status line that is none
        problem = f"{type(failure).__name__}: {failure}"
    return {"status": status, "text": text, "error": problem, "seconds": round(time.monotonic() - begin, 3)}


def folder(path):
    """The file system below it: device, bytes, free for anybody, free inodes, read-only or not."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    seen = os.statvfs(path)
    return {
        "device": os.stat(path).st_dev,
        "total": seen.f_blocks * seen.f_frsize,
        "free": seen.f_bavail * seen.f_frsize,
        "inodes": seen.f_files,
        "inodes_free": seen.f_favail,
        "read_only": bool(seen.f_flag & os.ST_RDONLY),
    }


def memory():
    found = dict(re.findall(r"(\w+):\s+(\d+) kB", read("/proc/meminfo")))
    return {key: int(found.get(name, 0)) * 1024 for key, name in (("total", "MemTotal"), ("available", "MemAvailable"))}


def addresses():
    """The host's own addresses and names, without those that only it reaches."""
    _, said, _ = run("hostname", "-I")
    return sorted({*said.split(), socket.gethostname(), socket.getfqdn()})


def synchronised():
    status, said, _ = run("timedatectl", "show", "--property=NTPSynchronized", "--value")
    return {"yes": True, "no": False}.get(said.strip()) if status == 0 else None


def wants_cards(found):
    host = found.get("HostConfig") or {}
    variables = (found.get("Config") or {}).get("Env") or []
    devices = [
        str(one) for request in host.get("DeviceRequests") or [] for one in (request.get("DeviceIDs") or ["gpu"])
    ]
    by_runtime = host.get("Runtime") == "nvidia" and any(
        one.startswith("NVIDIA_VISIBLE_DEVICES=") and not one.endswith(("=void", "=none", "=")) for one in variables
    )
    return bool(devices) or by_runtime


def containers(names):
    """Running containers: name, health, restarts, extra hosts, the named variables, and what a card's own list says in them."""
    status, said, problem = run("docker", "ps", "-q", "--no-trunc")
    ids = said.split()[:100]
    if status or not ids:
        return []
    _, said, _ = run("docker", "inspect", *ids, seconds=15)
    try:
        seen = json.loads(said)
    except ValueError:
        return []
    found = []
    for one in seen:
        pairs = (text.split("=", 1) for text in (one.get("Config") or {}).get("Env") or [] if "=" in text)
        state, host = one.get("State") or {}, one.get("HostConfig") or {}
        found.append(
            {
                "name": (one.get("Name") or "").lstrip("/"),
                "labels": {
                    key.rpartition(".")[2]: value
                    for key, value in ((one.get("Config") or {}).get("Labels") or {}).items()
                    if key in ("com.docker.compose.project", "com.docker.compose.service")
                },
                "health": (state.get("Health") or {}).get("Status", ""),
                "restarts": one.get("RestartCount", 0),
                "network": host.get("NetworkMode", ""),
                "extra_hosts": host.get("ExtraHosts") or [],
                "variables": {key: value for key, value in pairs if key in names},
                "wants_cards": wants_cards(one),
                "cards": "",
            }
        )
    with_cards = [one for one in found if one["wants_cards"]][:8]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        listings = list(pool.map(cards_seen_by, with_cards))
    for number, one in enumerate(with_cards):
        status, said, problem = listings[number]
        one["cards"] = NO_SMI if status in (126, 127) else " ".join((said + " " + problem).split())[:MOST_LINE]
    return found


def cards_seen_by(one):
    return run("docker", "exec", one["name"], "nvidia-smi", "-L", seconds=10)


def main():
    wanted = json.loads(sys.argv[1])
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = {one["name"]: pool.submit(asked, one) for one in wanted["questions"]}
        journals = {unit: pool.submit(journal, unit) for unit in wanted["units"]}
        parts = {
            "units": pool.submit(units, wanted["units"]),
            "kernel": pool.submit(kernel),
            "synchronised": pool.submit(synchronised),
            "containers": pool.submit(containers, wanted["variables"]),
        }
        found = {
            "now": time.time(),
            "monotonic": time.monotonic(),
            "folders": {path: folder(path) for path in wanted["folders"]},
            "memory": memory(),
            "addresses": addresses(),
            "compiler": next((path for path in map(shutil.which, COMPILERS) if path), ""),
            "answers": {name: part.result() for name, part in answers.items()},
            "journal": {unit: part.result() for unit, part in journals.items()},
            **{name: part.result() for name, part in parts.items()},
        }
    print(json.dumps(found))


main()
