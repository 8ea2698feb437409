#!/usr/bin/python3 -I
"""What plays the kernel's part of a GPU on a lab host: cards on the PCI bus, and a driver module that is loaded or not.

    kernel-stand-in boot      choose the kernel, show the cards, load what a real boot would load
    modprobe nvidia           (this file under that name) load the installed driver
    modinfo -F version nvidia the version of the module that DKMS has built
    modprobe -r nvidia        unload it; refused while a process of /etc/llm-lab/compute-apps.csv uses a card,
                              or the fabric manager or dcgm-exporter runs
    uname -r                  the kernel that this boot chose: the newest in /boot, as a boot loader would

/etc/llm-lab/pci.csv lists the bus (address,vendor,device,class,vpd). The loaded version shows itself in /proc/driver/nvidia/version
as with the real module. /sys/module and /proc/modules cannot be played: the lab's kernel may have neither.
On a host with files /boot/vmlinuz-… a module exists for the kernels whose headers are in /usr/src: DKMS builds as soon as it
has headers and driver, whichever comes last. Without such files the kernel is the lab's own, and a module exists for it.
Faults: /etc/llm-lab/faults holds words, one per line: `no-headers` (DKMS built nothing), `key-rejected` (Secure Boot).
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

SETTINGS = Path("/etc/llm-lab")
STATE = Path("/run/llm-lab/kernel")
PROC = STATE / "proc-driver"
BUS = STATE / "pci"
RELEASE = STATE / "release"
REAL_UNAME = "/usr/bin/uname.distrib"  # where dpkg-divert has put it
NVIDIA = ("nvidia", "nvidia-uvm", "nvidia_uvm", "nvidia-modeset", "nvidia_modeset", "nvidia-drm", "nvidia_drm")


def installed() -> tuple[str, bool] | None:
    """Version of the installed kernel package and whether its modules are the open ones."""
    status = "${db:Status-Status} ${Package} ${Version}\n"
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", status, "nvidia-kernel-open-dkms", "nvidia-kernel-dkms"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    for line in done.stdout.splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == "installed":
            return words[2].rpartition("-")[0], "open" in words[1]
    return None


def faults() -> set[str]:
    file = SETTINGS / "faults"
    return set(file.read_text().split()) if file.is_file() else set()


def kernels() -> list[str]:
    """Releases of the kernels in /boot, the newest last."""
    found = [file.name.removeprefix("vmlinuz-") for file in Path("/boot").glob("vmlinuz-*")]
    return sorted(found, key=lambda release: [int(number) for number in re.findall(r"\d+", release)])


def kernel() -> str:
    """The release of the running kernel, "" where none is played."""
    return RELEASE.read_text().strip() if RELEASE.is_file() else ""


def built(release: str) -> bool:
    """Whether DKMS has built the installed driver for a kernel; "" where none is played."""
    return "no-headers" not in faults() and (not release or Path(f"/usr/src/linux-headers-{release}").is_dir())


def loaded() -> str:
    """The version of the loaded module, "" without one."""
    file = PROC / "nvidia" / "version"
    found = re.search(r"x86_64  (\S+)", file.read_text()) if file.is_file() else None
    return found[1] if found else ""


def load() -> int:
    """Load the installed driver; a second time does nothing."""
    if loaded():
        return 0
    driver = installed()
    if driver is None or not built(kernel()):
        print(f"modprobe: FATAL: Module nvidia not found in directory /lib/modules/{kernel()}", file=sys.stderr)
        return 1
    if "key-rejected" in faults():
        print("modprobe: ERROR: could not insert 'nvidia': Key was rejected by service", file=sys.stderr)
        return 1
    version, is_open = driver
    kind = "Open Kernel Module for x86_64" if is_open else "Kernel Module for x86_64"
    (PROC / "nvidia").mkdir(parents=True, exist_ok=True)
    text = f"NVRM version: NVIDIA UNIX {kind}  {version}  Release Build  (stand-in of the lab)\n"
    (PROC / "nvidia" / "version").write_text(text)
    return 0


def unload() -> int:
    """Unload the driver, unless somebody computes, or the fabric manager or dcgm-exporter runs: both hold /dev/nvidia*."""
    apps = SETTINGS / "compute-apps.csv"
    busy = apps.is_file() and len(apps.read_text().splitlines()) > 1
    holders = ["nvidia-fabricmanager", "nvidia-dcgm-exporter"]
    held = subprocess.run(["systemctl", "is-active", "--quiet", *holders], check=False)  # 0: at least one of them
    if loaded() and (busy or held.returncode == 0):
        print("rmmod: ERROR: Module nvidia is in use", file=sys.stderr)
        return 1
    shutil.rmtree(PROC / "nvidia", ignore_errors=True)
    return 0


def tell_version(release: str) -> int:
    """What modinfo says of the version of a kernel's module; nothing is known of other fields."""
    driver = installed()
    if driver is None or not built(release):
        print("modinfo: ERROR: Module nvidia not found.", file=sys.stderr)
        return 1
    print(driver[0])
    return 0


def show_cards() -> None:
    """Put the cards on the PCI bus, beside the machine's own devices."""
    file = SETTINGS / "pci.csv"
    if not file.is_file():
        return
    shutil.rmtree(BUS, ignore_errors=True)
    BUS.mkdir(parents=True)
    with file.open(newline="") as stream:
        for row in csv.DictReader(stream):
            device = BUS / row["address"]
            device.mkdir()
            for name in ("vendor", "device", "class"):
                (device / name).write_text(row[name] + "\n")
            if row.get("vpd"):
                (device / "vpd").write_text(row["vpd"])
    mount("-t", "overlay", "overlay", "-o", f"lowerdir={BUS}:/sys/bus/pci/devices", "/sys/bus/pci/devices")


def choose_kernel() -> None:
    """Have the newest kernel in /boot run, where there is one."""
    if kernels():
        RELEASE.write_text(kernels()[-1] + "\n")
        mount("--bind", str(RELEASE), "/proc/sys/kernel/osrelease")


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def boot() -> int:
    """What happens before any service: the bus is there, and modules-load.d is read."""
    for target in ("/sys/bus/pci/devices", "/proc/driver", "/proc/sys/kernel/osrelease"):
        while subprocess.run(["mountpoint", "-q", target], check=False).returncode == 0:
            subprocess.run(["umount", target], check=True)
    shutil.rmtree(STATE, ignore_errors=True)
    PROC.mkdir(parents=True)
    mount("--bind", str(PROC), "/proc/driver")
    choose_kernel()
    show_cards()
    # Debian's modules.conf is a link that may point nowhere.
    files = [file for file in Path("/etc/modules-load.d").glob("*.conf") if file.is_file()]
    wanted = {line.strip() for file in files for line in file.read_text().splitlines()}
    if installed() and wanted & {"nvidia"}:
        load()
    return 0


def main(arguments: list[str]) -> int:
    """Dispatch by the name it was called by; what is not NVIDIA's is not played and succeeds, as built-in code would."""
    name = Path(arguments[0]).name
    words = arguments[1:]
    if name == "kernel-stand-in":
        return {"boot": boot, "load": load, "unload": unload}[words[0]]()
    if name == "uname":
        if words != ["-r"] or not kernel():
            os.execv(REAL_UNAME, ["uname", *words])
        print(kernel())
        return 0
    modules = [word for word in words if not word.startswith("-")]
    if name == "modinfo":
        release = words[words.index("-k") + 1] if "-k" in words else kernel()
        return tell_version(release) if "nvidia" in modules else 1
    if not set(modules) & set(NVIDIA):
        return 0
    if name == "rmmod" or {"-r", "--remove"} & set(words):
        return unload() if "nvidia" in modules else 0
    return load()


if __name__ == "__main__":
    sys.exit(main(sys.argv))
