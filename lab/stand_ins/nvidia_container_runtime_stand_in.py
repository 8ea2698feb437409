#!/usr/bin/python3 -I
"""nvidia-container-runtime, a stand-in of the lab: runc, with the cards of NVIDIA_VISIBLE_DEVICES mounted, as CDI would.

What it mounts it takes from `nvidia-ctk cdi generate`, so that both ways into a container know the same cards.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

NOTHING = ("", "void", "none")


def wanted(environment: list[str]) -> list[str]:
    """The devices that a container asks for: "all", indices or UUIDs; none for one that came by CDI."""
    values = dict(entry.split("=", 1) for entry in environment if "=" in entry)
    named = values.get("NVIDIA_VISIBLE_DEVICES", "")
    return [] if named in NOTHING else named.split(",")


def mounts(specification: dict[str, Any], names: list[str]) -> list[dict[str, Any]]:
    """OCI mounts for the named devices, with what every container gets. Raises KeyError for an unknown device."""
    devices = {device["name"]: device["containerEdits"] for device in specification["devices"]}
    edits = [specification["containerEdits"], *(devices[name] for name in names)]
    return [
        {"destination": one["containerPath"], "source": one["hostPath"], "type": "bind", "options": one["options"]}
        for edit in edits
        for one in edit["mounts"]
    ]


def bundle(arguments: list[str]) -> Path | None:
    """The bundle of `create`; None for every other command."""
    if "create" not in arguments:
        return None
    for option in ("--bundle", "-b"):
        if option in arguments:
            return Path(arguments[arguments.index(option) + 1])
    return Path.cwd()


def add_cards(config: Path) -> None:
    content = json.loads(config.read_text())
    names = wanted(content["process"].get("env") or [])
    if names:
        told = subprocess.run(["nvidia-ctk", "cdi", "generate"], capture_output=True, text=True, check=True).stdout
        content.setdefault("mounts", []).extend(mounts(json.loads(told), names))
        config.write_text(json.dumps(content))


def main(arguments: list[str]) -> None:
    folder = bundle(arguments)
    if folder is not None:
        add_cards(folder / "config.json")
    os.execvp("runc", ["runc", *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
