"""What stays true of a host whatever happens to it, seen with other eyes than the product's: files, links, ports, locks."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from lab import Host
from tests.lab.vllm_probes import ask, wait_until

# On the host: what a boot would start, what is on record, what the phases need, who holds a lock.
LOOK = """
import fcntl, json, os
units, seen = "/etc/systemd/system", {}
wants = units + "/multi-user.target.wants"
try:
    seen["alias"] = os.path.basename(os.readlink(units + "/llm-phase.target"))
except OSError:
    seen["alias"] = None
seen["at_boot"] = sorted(name for name in os.listdir(wants) if name.startswith("llm-phase"))
for name, path in (("state", "/var/lib/llm/state.json"), ("phases", "/etc/llm/phases.json")):
    try:
        with open(path) as file:
            seen[name] = file.read()
    except OSError as problem:
        seen[name] = str(problem)
try:
    good = json.loads(seen["state"]).get("good")
except (ValueError, AttributeError):
    good = None
seen["good"] = {good: os.path.exists("/var/lib/llm/releases/%s/manifest.json" % good)} if good else {}
seen["missing"] = {}
for number, phase in json.loads(seen.pop("phases")).items():
    models = list(phase["models"].values())
    lost = [path for path in phase["files"] if not os.path.exists(path)]
    seen["missing"][number] = lost + (models if models and not any(map(os.path.exists, models)) else [])
seen["locked"] = []
for path in ("/run/llm/lock", "/run/llm/switch.lock"):
    try:
        with open(path, "r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        pass
    except BlockingIOError:
        seen["locked"].append(open(path).read().strip())
print(json.dumps(seen))
"""
FREE_AFTER_S = 30.0  # of the run that had the host
VISION_AFTER_S = 60.0  # of a boot


@dataclass(frozen=True)
class Seen:
    """A host at one moment."""

    alias: str | None  # the target of the phase that a boot starts
    at_boot: tuple[str, ...]
    state: str
    missing: dict[str, list[str]]  # by phase, files that it needs and that are not there
    locked: tuple[str, ...]
    good: dict[str, bool] = field(
        default_factory=dict
    )  # the last good release, where the record names one: is it there?

    @property
    def chosen(self) -> int | None:
        """The phase that a boot brings; None for none, or for what is no phase of ours."""
        whole = self.at_boot == ("llm-phase.target",)
        return {"llm-phase1.target": 1, "llm-phase2.target": 2}.get(self.alias or "") if whole else None


def look(host: Host) -> Seen:
    said: dict[str, Any] = json.loads(host.ssh(["python3", "-"], stdin=LOOK).stdout)
    return Seen(
        said["alias"], tuple(said["at_boot"]), said["state"], said["missing"], tuple(said["locked"]), said["good"]
    )


def broken_promises(seen: Seen) -> list[str]:
    """What should be true of a deployed host at every moment, and is not."""
    found = []
    if seen.chosen is None:
        found.append(f"a boot would bring {seen.at_boot} -> {seen.alias}, not exactly one phase")
    elif lost := seen.missing.get(str(seen.chosen), ["the phase"]):
        found.append(f"Phase {seen.chosen}, which a boot would bring, lacks {', '.join(lost[:3])}")
    found += [f"the last good release, {name}, is not on the disk" for name, there in seen.good.items() if not there]
    try:
        if json.loads(seen.state)["phase"] not in (1, 2):
            found.append(f"no phase is on record: {seen.state!r}")
    except (ValueError, KeyError, TypeError):
        found.append(f"the record is no record: {seen.state!r}")
    return found


def assert_promises_kept(host: Host) -> Seen:
    """Of a host that runs, with nobody at it: the promises, vision served, and the lock free in the end."""
    seen = look(host)
    assert broken_promises(seen) == []
    wait_until("vision is served", lambda: answers_vision(host), VISION_AFTER_S)
    end = time.monotonic() + FREE_AFTER_S
    while (seen := look(host)).locked:
        assert time.monotonic() < end, f"{host.name} stays locked: {seen.locked}"
        time.sleep(0.5)
    return seen


def answers_vision(host: Host) -> bool:
    try:
        return ask(host, 11435, "/api/tags", timeout_s=10)[0] == 200
    except (OSError, ValueError):
        return False
