#!/usr/bin/env python3
"""capture.py > tests/captures/NAME.json - what a real machine with a card says, for the tests of the parsers.

Run it as root on a GPU host, in a checkout of this repository; it changes nothing. What is asked is what the programs in
roles/ ask, word for word (tests/unit/test_captures.py compares). Serial numbers are left out; everything else is as printed.
"""

from __future__ import annotations

import datetime
import glob
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CSV = "--format=csv,noheader,nounits"
CARDS = "index,uuid,pci.bus_id,name,memory.total,mig.mode.current"
COMMANDS = {
    "smi": "nvidia-smi",
    "smi -L": "nvidia-smi -L",
    "smi -q": "nvidia-smi -q",
    "smi -q -x": "nvidia-smi -q -x",
    "smi --version": "nvidia-smi --version",
    "resolve-gpus": f"nvidia-smi --query-gpu={CARDS} {CSV}",
    "make-room memory": f"nvidia-smi --query-gpu=uuid,memory.total,memory.free {CSV}",
    "make-room apps": f"nvidia-smi --query-compute-apps=gpu_uuid,pid,process_name,used_gpu_memory {CSV}",
    "with header": "nvidia-smi --query-gpu=index,uuid,memory.total,memory.used,persistence_mode,power.draw --format=csv",
    "unknown field": "nvidia-smi --query-gpu=index,no.such.field --format=csv,noheader",
    "unknown card": "nvidia-smi -i 99",
    "mig instances": "nvidia-smi mig -lgi",
    # In a mount namespace of its own, with another /dev: what a service sees that lacks a device node.
    "smi with an empty dev": "unshare -m sh -c 'mount -t tmpfs none /dev; exec nvidia-smi'",
    "smi with the control node only": (
        "unshare -m sh -c 'mkdir -p /tmp/.nodes; mount -t tmpfs none /tmp/.nodes; touch /tmp/.nodes/nvidiactl; "
        "mount --bind /dev/nvidiactl /tmp/.nodes/nvidiactl; mount --rbind /tmp/.nodes /dev; exec nvidia-smi -L'"
    ),
    "device nodes": "ls -lR /dev/nvidia* /dev/char 2>/dev/null | grep -i -E 'nvidia|195,' ; true",
    "modinfo": "modinfo nvidia",
    "kernel messages": "dmesg | grep -i -E 'nvrm|nvidia' | tail -n 40",
    "pci": "for d in /sys/bus/pci/devices/*; do echo ${d##*/} $(cat $d/vendor $d/device $d/class); done",
    "uname": "uname -a",
}
FILES = (
    "/proc/driver/nvidia/version", "/proc/driver/nvidia/params", "/proc/driver/nvidia/gpus/*/information",
    "/proc/devices", "/proc/modules", "/proc/version",
    "/sys/module/nvidia/version", "/etc/os-release",
)  # fmt: skip


def run(command: str) -> dict[str, object]:
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, errors="replace", timeout=120)
    return {"command": command, "status": done.returncode, "out": done.stdout, "err": done.stderr}


def read(path: str) -> str | None:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return None


def without_serials(text: str) -> str:
    return re.sub(r"((?i:serial)[^:>\n]*[:>]\s*)\d+", r"\g<1>0", text)


def main() -> None:
    evidence = subprocess.run(["python3", str(ROOT / "roles/facts/host/evidence.py")], capture_output=True, text=True)
    files = {path: read(path) for pattern in FILES for path in sorted(glob.glob(pattern)) if Path(path).is_file()}
    captured = {
        "captured": datetime.date.today().isoformat(),
        "evidence": json.loads(evidence.stdout),
        "commands": {name: run(command) for name, command in COMMANDS.items()},
        "files": files,
    }
    sys.stdout.write(without_serials(json.dumps(captured, indent=1, sort_keys=True)) + "\n")


if __name__ == "__main__":
    main()
