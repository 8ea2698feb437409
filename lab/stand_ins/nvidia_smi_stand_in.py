#!/usr/bin/python3 -I
"""nvidia-smi, a stand-in of the lab: it reports the GPUs that /etc/llm-lab/gpus.csv describes.

The file is CSV; its first line names the columns as nvidia-smi names its query fields, for example

    index,uuid,name,compute_cap,memory.total,memory.used
    0,GPU-5d0a…,NVIDIA A100-PCIE-40GB,8.0,40960,0

`compute-apps.csv` beside it, in the same form, answers --query-compute-apps. Without gpus.csv there is no driver, and
the answer is the real one's: a message and exit status 9. A column `driver_version` stands for the loaded kernel
module; if it is not the version of the installed package, NVML's mismatch is reported, with status 18. On a host with
a pretend bus (pci.csv, see kernel_stand_in.py) the loaded module is the one in /proc/driver/nvidia/version.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import re
import sys
import time
from pathlib import Path

FOLDER = Path("/etc/llm-lab")
MODULE = Path("/proc/driver/nvidia/version")
VERSION_FILE = Path("/usr/share/nvidia/stand-in-version")
NO_DRIVER = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "
    "Make sure that the latest NVIDIA driver is installed and running.\n"
)
MISMATCH = "Failed to initialize NVML: Driver/library version mismatch"
UNITS = {"memory": "MiB", "utilization": "%", "power": "W", "used_memory": "MiB", "used_gpu_memory": "MiB"}
# What a healthy card answers where the file is silent.
DEFAULTS = {
    "count": "1", "memory.used": "0", "memory.reserved": "0", "utilization.gpu": "0", "utilization.memory": "0",
    "temperature.gpu": "35", "persistence_mode": "Enabled", "compute_mode": "Default", "pci.bus_id": "00000000:01:00.0",
    "mig.mode.current": "Disabled", "ecc.mode.current": "Enabled", "ecc.errors.uncorrected.volatile.total": "0",
    "ecc.errors.uncorrected.aggregate.total": "0", "remapped_rows.pending": "No", "remapped_rows.failure": "No",
}  # fmt: skip
KNOWN = {*DEFAULTS, "index", "name", "gpu_name", "uuid", "gpu_uuid", "compute_cap", "driver_version", "memory.total",
         "memory.free", "power.draw", "power.limit", "serial", "timestamp", "pstate"}  # fmt: skip


def rows(name: str) -> list[dict[str, str]]:
    """The lines of one of the files as dictionaries."""
    path = FOLDER / name
    if not path.is_file():
        return []
    with path.open(newline="") as stream:
        read = csv.DictReader(stream, skipinitialspace=True)
        return [{key: value.strip() for key, value in row.items()} for row in read]


def module_version() -> str | None:
    """The loaded module on a host with a pretend bus: "" while none is loaded; None where there is no such bus."""
    if not (FOLDER / "pci.csv").is_file():
        return None
    found = re.search(r"x86_64  (\S+)", MODULE.read_text()) if MODULE.is_file() else None
    return found[1] if found else ""


def package_version() -> str:
    """The version of the package that this file came with."""
    return VERSION_FILE.read_text().strip() if VERSION_FILE.is_file() else "0.0"


def value_of(gpu: dict[str, str], field: str, count: int) -> str:
    """One answer; what nobody said is [N/A], as on cards that lack a feature."""
    aliases = {"gpu_name": "name", "gpu_uuid": "uuid"}
    field = aliases.get(field, field)
    if field == "driver_version":
        return gpu.get(field) or package_version()
    if field == "count":
        return str(count)
    if field == "memory.free" and field not in gpu and "memory.total" in gpu:
        # The driver itself takes a part, which counts as neither used nor free.
        taken = [int(gpu.get(name) or DEFAULTS[name]) for name in ("memory.used", "memory.reserved")]
        return str(int(gpu["memory.total"]) - sum(taken))
    return gpu.get(field) or DEFAULTS.get(field, "[N/A]")


# Columns of `dmon` by letter: name, unit, and the query field, or a value where none is played.
DMON = {
    "p": (("pwr", "W", "power.draw"), ("gtemp", "C", "temperature.gpu"), ("mtemp", "C", "-")),
    "u": (
        ("sm", "%", "utilization.gpu"), ("mem", "%", "utilization.memory"),
        *((name, "%", "0") for name in ("enc", "dec", "jpg", "ofa")),
    ),
    "c": (("mclk", "MHz", "-"), ("pclk", "MHz", "-")),
    "v": (("pviol", "%", "0"), ("tviol", "bool", "0")),
    "m": (("fb", "MB", "memory.used"), ("bar1", "MB", "1"), ("ccpm", "MB", "0")),
    "e": (("sbecc", "errs", "0"), ("dbecc", "errs", "0"), ("pci", "errs", "0")),
    "t": (("rxpci", "MB/s", "0"), ("txpci", "MB/s", "0")),
}  # fmt: skip


def dmon(arguments: list[str]) -> int:
    """`nvidia-smi dmon [-s pucvmet] [-c COUNT]`: a line for each card, every second, until somebody ends it."""
    parser = argparse.ArgumentParser("nvidia-smi dmon", description="stand-in of the lab", allow_abbrev=False)
    parser.add_argument("-s", dest="shown", default="puc")
    parser.add_argument("-c", dest="count", type=int, default=0)
    options = parser.parse_args(arguments)
    columns = [column for letter in options.shown for column in DMON[letter]]
    print("# gpu " + "".join(f"{name:>7}" for name, _, _ in columns))
    print("# Idx " + "".join(f"{unit:>7}" for _, unit, _ in columns), flush=True)
    number = 0
    while not options.count or number < options.count:
        for index, gpu in enumerate(rows("gpus.csv")):
            values = [value_of(gpu, field, 1) if "." in field else field for _, _, field in columns]
            print(f"{index:>5} " + "".join(f"{value if value != '[N/A]' else '-':>7}" for value in values), flush=True)
        number += 1
        if number != options.count:
            time.sleep(1)
    return 0


def with_unit(field: str, value: str) -> str:
    unit = UNITS.get(field.split(".")[0], "")
    return f"{value} {unit}" if unit and value.replace(".", "").isdigit() else value


def table(header: list[str], lines: list[list[str]], form: set[str]) -> None:
    """Print CSV as nvidia-smi does: comma and blank, header with units unless told otherwise."""
    if "noheader" not in form:
        units = [UNITS.get(name.split(".")[0]) for name in header]
        print(", ".join(f"{name} [{unit}]" if unit else name for name, unit in zip(header, units, strict=True)))
    for line in lines:
        shown = line if "nounits" in form else [with_unit(*pair) for pair in zip(header, line, strict=True)]
        print(", ".join(shown))


def main(arguments: list[str]) -> int:
    """Answer one call, with `-l` again and again; the status is that of the real program."""
    if arguments[:1] == ["dmon"]:
        if (FOLDER / "gpus.csv").is_file() and module_version() != "":
            return dmon(arguments[1:])
        arguments = []  # without a driver every call says so
    if "-l" in arguments:
        at = arguments.index("-l")
        while (status := main([*arguments[:at], *arguments[at + 2 :]])) == 0:
            sys.stdout.flush()
            time.sleep(float(arguments[at + 1]))
        return status
    parser = argparse.ArgumentParser("nvidia-smi", description="stand-in of the lab", allow_abbrev=False)
    parser.add_argument("--query-gpu", metavar="FIELDS")
    parser.add_argument("--query-compute-apps", metavar="FIELDS")
    parser.add_argument("--format", default="")
    parser.add_argument("-i", "--id")
    parser.add_argument("-L", "--list-gpus", action="store_true")
    parser.add_argument("-pm", "--persistence-mode")
    parser.add_argument("--version", action="store_true")
    options = parser.parse_args(arguments)
    version = package_version()
    if options.version:
        print(f"NVIDIA-SMI version  : {version}\nDRIVER version      : {version}\nstand-in of the lab : yes")
        return 0
    module = module_version()
    if module == "" or not (FOLDER / "gpus.csv").is_file():
        print(NO_DRIVER)
        return 9
    gpus = [{"index": str(number), **gpu} for number, gpu in enumerate(rows("gpus.csv"))]
    if any((module or gpu.get("driver_version", version)) != version for gpu in gpus):
        print(MISMATCH)
        return 18
    count = len(gpus)
    if options.id is not None:
        gpus = [gpu for gpu in gpus if options.id in (gpu["index"], gpu.get("uuid"))]
        if not gpus:
            print("No devices were found")
            return 6
    form = {part.strip() for part in options.format.split(",")}
    if options.query_gpu:
        fields = [field.strip() for field in options.query_gpu.split(",")]
        for field in fields:
            if field not in KNOWN and not any(field in gpu for gpu in gpus):
                print(f'Field "{field}" is not a valid field to query.\n')
                return 2
        table(fields, [[value_of(gpu, field, count) for field in fields] for gpu in gpus], form)
    elif options.query_compute_apps:
        fields = [field.strip() for field in options.query_compute_apps.split(",")]
        table(fields, [[app.get(field, "[N/A]") for field in fields] for app in rows("compute-apps.csv")], form)
    elif options.list_gpus:
        for gpu in gpus:
            print(f"GPU {gpu['index']}: {gpu.get('name', 'NVIDIA GPU')} (UUID: {gpu.get('uuid', 'GPU-0')})")
    else:
        print(f"NVIDIA-SMI {version}   Driver Version: {version}   (stand-in of the lab)")
        for gpu in gpus:
            used, total = (value_of(gpu, field, count) for field in ("memory.used", "memory.total"))
            print(f"| {gpu['index']:>3}  {gpu.get('name', 'NVIDIA GPU'):30}  {used}MiB / {total}MiB |")
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
