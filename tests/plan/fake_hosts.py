"""Hosts that exist only as answers: pyinfra's own @fake connector with what a survey and the mirrors would say.

A scenario is a survey (what `roles/facts/host/survey.py` prints) plus the mirrors' answers; no machine is involved.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from roles.pins import pins
from tests.fake_models import LLAMA_2_7B, Model
from tests.plan.fake_machines import ONE_H100, Machine

GB = 10**9
FOLDERS = ("/opt/llm", "/var/lib/llm/hub", "/var/lib/ollama-text", "/var/lib/ollama-vision")
FRESH: dict[str, Any] = {
    "uid": 0, "init": "systemd", "os": "ubuntu", "codename": "noble", "os_version": "24.04", "arch": "x86_64",
    "python": "3.12.3", "memory_bytes": 256 * GB,
    "folders": {folder: {"mount": 1, "free": 500 * GB} for folder in FOLDERS},
    "present": [], "listeners": [], "model": None,
}  # fmt: skip
BOOKWORM = FRESH | {"os": "debian", "codename": "bookworm", "os_version": "12", "python": "3.11.2"}


def holder(port: int, command: str, unit: str = "", address: str = "0.0.0.0") -> dict[str, Any]:
    """A listener as the survey reports it."""
    return {"address": address, "port": port, "pid": 812, "command": command, "unit": unit}


def answers(**changed: dict[str, Any]) -> list[dict[str, Any]]:
    """What the mirrors say when all is well; `changed` replaces fields of an answer by name (`_` stands for `-`)."""
    sums = f"{'a' * 64}  ./{pins().ollama.archive}\n"
    texts = {
        "ollama-sums": sums,
        "ollama-archive": "",
        "hub": json.dumps({"sha": "f" * 40, "siblings": [{"rfilename": "model.safetensors", "size": LLAMA_2_7B[1]}]}),
        "hub-file": json.dumps(LLAMA_2_7B[0]),
        "grafana-archive": "",
        "hub-vision": json.dumps({"sha": "e" * 40, "siblings": [{"rfilename": "model.safetensors", "size": 16 * GB}]}),
        "hub-vision-file": '{"vision_config": {}}',
        "docker": "",
        "cuda": "",
        "toolkit": "",
        "index": "",
        "torch-0": 'href="torch-2.13.0%2Bcpu-cp311-cp311-manylinux_2_28_x86_64.whl"',
        **{
            f"registry:{name}": json.dumps({"layers": [{"size": 4 * GB}]})
            for name in ("llava:7b", "nomic-embed-text", "llama3.2", "llama2:7b")
        },
    }
    plain = {"status": 200, "headers": {}, "error": ""}
    given = {
        name: {"name": name, "url": f"http://mirror/{name}", **plain, "text": text} for name, text in texts.items()
    }
    for name, change in changed.items():
        given[name.replace("_", "-")].update(change)
    return list(given.values())


def answers_with(model: Model, **changed: dict[str, Any]) -> list[dict[str, Any]]:
    """The same from a hub that has this model under the name that is asked for."""
    config, size = model
    listed = json.dumps({"sha": "f" * 40, "siblings": [{"rfilename": "model.safetensors", "size": size}]})
    return answers(**{"hub": {"text": listed}, "hub_file": {"text": json.dumps(config)}, **changed})


def fake_host(
    survey: dict[str, Any] = FRESH,
    mirrors: list[dict[str, Any]] | None = None,
    machine: Machine = ONE_H100,
    **data: Any,
) -> dict[str, Any]:
    """Host data of a fake host that answers like this; further keywords are its settings."""
    said = copy.deepcopy(survey)
    release = f"ID={said['os']}\nVERSION_ID={said['os_version']}\nVERSION_CODENAME={said['codename']}\nNAME={said['os'].title()}"
    return {
        "fake_delay": 0,
        "fake_delay_jitter": 0,
        "fake_responses": {
            "Look at a host and print what is there": json.dumps(said),
            "Gather evidence about the machine": json.dumps(machine.evidence()),
            "for d in /sys/bus/pci/devices/": machine.pci,
            "Ask URLs as the host sees them": json.dumps(mirrors if mirrors is not None else answers()),
            "/etc/os-release": release,
            "uname -s": "Linux",
            "useradd": "/usr/sbin/useradd",
        },
        **data,
    }


def in_phase(host: dict[str, Any], phase: int, lacking: tuple[str, ...] = ()) -> dict[str, Any]:
    """The same host once deployed, as its llm-phase tells it. :param lacking: files of Phase 1 that are not on its disk."""
    status = {
        "serving": phase,
        "recorded": phase,
        "next_boot": [phase],
        "proved": {"ollama-vision.service": True},
        "complete": {"1": list(lacking), "2": []},
    }
    played = {**host["fake_responses"], "/usr/local/bin/llm-phase --json": json.dumps(status)}
    return {**host, "fake_responses": played}


def write_inventory(folder: Path, fake: dict[str, dict[str, Any]], ssh: dict[str, dict[str, Any]]) -> None:
    """An inventory directory with these hosts in one group; those in `ssh` are reached by ssh, or not."""
    folder.mkdir(exist_ok=True)
    entries = [*((f"@fake/{name}", data) for name, data in fake.items()), *ssh.items()]
    (folder / "hosts.py").write_text(f"gpu = {entries!r}\n", encoding="utf-8")
