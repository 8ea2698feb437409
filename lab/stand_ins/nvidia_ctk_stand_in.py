#!/usr/bin/python3 -I
"""nvidia-ctk, a stand-in of the lab: it edits Docker's daemon.json and writes a CDI specification.

As the real tool does, it changes its own entry of daemon.json and keeps every other key. The specification (JSON, which is YAML
too) mounts a small nvidia-smi, and for each card a file with its line of `nvidia-smi -L`: a container lists what was mounted.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from pathlib import Path

VERSION = "0.0.0-unpackaged"
GPUS = Path("/etc/llm-lab/gpus.csv")
VERSION_FILE = Path("/usr/share/nvidia/stand-in-version")  # of the driver's package
SMI = "/usr/share/nvidia/stand-in/bin/nvidia-smi-{version}"
CARDS = Path("/run/llm-lab/cards")
SPECIFICATIONS = (Path("/etc/cdi/nvidia.yaml"), Path("/var/run/cdi/nvidia.yaml"))


def log(message: str) -> None:
    print(f'time="stand-in" level=info msg={json.dumps(message)}', file=sys.stderr)


def replace(path: Path, text: str) -> None:
    """Write through a second file, so that Docker never reads half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


def configure(options: argparse.Namespace) -> int:
    """`runtime configure`: add the nvidia runtime to daemon.json."""
    if options.runtime != "docker":
        print(f"nvidia-ctk (stand-in): runtime {options.runtime!r} is not played here", file=sys.stderr)
        return 1
    path = Path(options.config)
    log(f"Loading config from {path}")
    try:
        settings = json.loads(path.read_text()) if path.is_file() and path.read_text().strip() else {}
    except ValueError as error:
        print(f"unable to load config for runtime docker: unable to read config: {error}", file=sys.stderr)
        return 1
    settings.setdefault("runtimes", {})["nvidia"] = {"args": [], "path": "nvidia-container-runtime"}
    if options.set_as_default:
        settings["default-runtime"] = "nvidia"
    if options.cdi_enabled:
        settings.setdefault("features", {})["cdi"] = True
    text = json.dumps(settings, indent=4) + "\n"
    if options.dry_run:
        print(text, end="")
        return 0
    replace(path, text)
    log(f"Wrote updated config to {path}")
    log("It is recommended that docker daemon be restarted.")
    return 0


def mount(host: str, container: str) -> dict[str, object]:
    return {"hostPath": host, "containerPath": container, "options": ["ro", "nosuid", "nodev", "rbind", "rprivate"]}


def specification() -> dict[str, object]:
    """The GPUs of this lab host: by index, by UUID, and `all`. Writes the line of each, which the devices mount."""
    with GPUS.open(newline="") as stream:
        gpus = [row for row in csv.DictReader(stream, skipinitialspace=True) if row.get("uuid")]
    CARDS.mkdir(parents=True, exist_ok=True)
    of_card = []
    for number, gpu in enumerate(gpus):
        line = CARDS / gpu["uuid"]
        line.write_text(f"GPU {number}: {gpu.get('name', 'NVIDIA GPU')} (UUID: {gpu['uuid']})\n")
        of_card.append(mount(str(line), str(CARDS / f"{number:02d}")))
    names = [(str(number), [one]) for number, one in enumerate(of_card)]
    names += [(gpu["uuid"], [one]) for gpu, one in zip(gpus, of_card, strict=True)]
    program = mount(SMI.format(version=VERSION_FILE.read_text().strip()), "/usr/bin/nvidia-smi")
    return {
        "cdiVersion": "0.5.0",
        "kind": "nvidia.com/gpu",
        "devices": [{"name": name, "containerEdits": {"mounts": those}} for name, those in [*names, ("all", of_card)]],
        "containerEdits": {"env": ["NVIDIA_VISIBLE_DEVICES=void"], "mounts": [program]},
    }


def generate(options: argparse.Namespace) -> int:
    """`cdi generate`: one device per GPU, without device nodes, as there are none."""
    if not GPUS.is_file() or not VERSION_FILE.is_file():
        print("failed to generate CDI spec: failed to initialize NVML: ERROR_LIBRARY_NOT_FOUND", file=sys.stderr)
        return 1
    text = json.dumps(specification(), indent=1) + "\n"
    if options.output:
        replace(Path(options.output), text)
        log(f"Generated CDI spec with version 0.5.0 in {options.output}")
    else:
        print(text, end="")
    return 0


def list_devices(options: argparse.Namespace) -> int:
    """`cdi list`: what the specifications on disk name."""
    found = [path for path in SPECIFICATIONS if path.is_file()]
    devices = [device for path in found[:1] for device in json.loads(path.read_text())["devices"]]
    names = [f"nvidia.com/gpu={device['name']}" for device in devices]
    log(f"Found {len(names)} CDI devices")
    print("\n".join(names))
    return 0


def main(arguments: list[str]) -> int:
    """Dispatch the subcommands that this project's roles use."""
    # Raw: the default formatter would join the two lines of --version.
    form = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser("nvidia-ctk", description="stand-in of the lab", formatter_class=form)
    parser.add_argument("-v", "--version", action="version",
                        version=f"NVIDIA Container Toolkit CLI version {VERSION}\nstand-in of the lab")  # fmt: skip
    commands = parser.add_subparsers(required=True, metavar="runtime|cdi")
    runtime = commands.add_parser("runtime").add_subparsers(required=True).add_parser("configure")
    runtime.add_argument("--runtime", default="docker")
    runtime.add_argument("--config", default="/etc/docker/daemon.json")
    runtime.add_argument("--set-as-default", "--nvidia-set-as-default", action="store_true")
    runtime.add_argument("--cdi.enabled", "--cdi.enable", dest="cdi_enabled", action="store_true")
    runtime.add_argument("--dry-run", action="store_true")
    runtime.set_defaults(run=configure)
    cdi = commands.add_parser("cdi").add_subparsers(required=True)
    spec = cdi.add_parser("generate")
    spec.add_argument("--output")
    spec.set_defaults(run=generate)
    cdi.add_parser("list").set_defaults(run=list_devices)
    options = parser.parse_args(arguments)
    status: int = options.run(options)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
