#!/usr/bin/python3 -I
"""dcgm-exporter, a stand-in of the lab: it tells of the cards that /etc/llm-lab/gpus.csv describes.

Played are the two options that a host uses, the file of counters, `/metrics` and `/health`, and that an unknown field ends it.
Names, kinds and the form of a line: etc/default-counters.csv, README.md and METRICS.md of NVIDIA/dcgm-exporter 4.5; the number and
name of DCGM_FI_DEV_ROW_REMAP_PENDING: dcgm_fields (396). A field that a card does not have is left out, as by the real one.
Values stand still unless somebody changes the file: a column named after a field is its value.
"""

from __future__ import annotations

import argparse
import csv
import re
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER = Path("/etc/llm-lab")
VERSION_FILE = Path("/usr/share/nvidia/stand-in-version")
ROWS = ("ROW_REMAP_FAILURE", "ROW_REMAP_PENDING", "UNCORRECTABLE_REMAPPED_ROWS", "CORRECTABLE_REMAPPED_ROWS")
# Of an idle, healthy card.
VALUES = {
    "SM_CLOCK": 345, "MEM_CLOCK": 2619, "MEMORY_TEMP": 40, "GPU_TEMP": 35, "POWER_USAGE": 70.5,
    "TOTAL_ENERGY_CONSUMPTION": 123456789, "PCIE_REPLAY_COUNTER": 0, "GPU_UTIL": 0, "MEM_COPY_UTIL": 0, "ENC_UTIL": 0,
    "DEC_UTIL": 0, "XID_ERRORS": 0, "POWER_VIOLATION": 0, "THERMAL_VIOLATION": 0, **dict.fromkeys(ROWS, 0),
}  # fmt: skip
MEMORY = ("FB_FREE", "FB_USED")
LABELS = ("DCGM_FI_DRIVER_VERSION",)
KNOWN = {*(f"DCGM_FI_DEV_{name}" for name in (*VALUES, *MEMORY)), *LABELS}
KINDS = ("gauge", "counter", "label")
AMPERE = 8.0  # older cards retire pages, they remap no rows


def counters(text: str) -> list[tuple[str, str, str]]:
    """(field, kind, help) of each line of a file of counters. Raises ValueError for what the real one refuses."""
    found = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        field, kind, words = (part.strip() for part in line.split(",", 2))
        if field not in KNOWN or kind not in KINDS:
            raise ValueError(f"could not find DCGM field; err: {field}, {kind}")
        found.append((field, kind, words))
    return found


def gpus() -> list[dict[str, str]]:
    """The lines of gpus.csv; none without it."""
    path = FOLDER / "gpus.csv"
    if not path.is_file():
        return []
    with path.open(newline="") as stream:
        read = csv.DictReader(stream, skipinitialspace=True)
        return [{key: value.strip() for key, value in row.items()} for row in read]


def value(field: str, gpu: dict[str, str]) -> str | None:
    """One value; None where the card has no such thing."""
    name = field.removeprefix("DCGM_FI_DEV_")
    if field in gpu:
        return gpu[field]
    if name in ROWS and float(gpu.get("compute_cap") or AMPERE) < AMPERE:
        return None
    used = int(gpu.get("memory.used") or 0)
    if name == "FB_USED":
        return str(used)
    if name == "FB_FREE":
        return str(int(gpu.get("memory.total") or 0) - used)
    return str(VALUES[name])


def exposition(asked: list[tuple[str, str, str]], cards: list[dict[str, str]], host: str, driver: str) -> str:
    """The text of /metrics."""
    labels = {"DCGM_FI_DRIVER_VERSION": driver}
    lines = []
    for field, kind, words in asked:
        if kind == "label":
            continue
        lines += [f"# HELP {field} {words}", f"# TYPE {field} {kind}"]
        for number, gpu in enumerate(cards):
            told = {
                "gpu": str(number), "UUID": gpu.get("uuid", ""), "pci_bus_id": f"00000000:{0xA0 + number:02X}:00.0",
                "device": f"nvidia{number}", "modelName": gpu.get("name", ""), "Hostname": host,
                **{name: labels[name] for name, wanted, _ in asked if wanted == "label"},
            }  # fmt: skip
            if (seen := value(field, gpu)) is not None:
                pairs = ",".join(f'{key}="{text}"' for key, text in told.items())
                lines.append(f"{field}{{{pairs}}} {seen}")
    return "".join(f"{line}\n" for line in lines)


def serve(address: str, asked: list[tuple[str, str, str]]) -> None:
    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            driver = VERSION_FILE.read_text().strip() if VERSION_FILE.is_file() else ""
            known = {"/metrics": exposition(asked, gpus(), socket.gethostname(), driver), "/health": "OK"}
            body = known.get(self.path, "").encode()
            self.send_response(200 if self.path in known else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """As the real one: no line for each request."""

    host, _, port = address.rpartition(":")
    ThreadingHTTPServer((host or "0.0.0.0", int(port)), Answering).serve_forever()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("dcgm-exporter", description="stand-in of the lab", allow_abbrev=False)
    parser.add_argument("-f", "--collectors", default="/etc/dcgm-exporter/default-counters.csv")
    parser.add_argument("-a", "--address", default=":9400")
    options = parser.parse_args(arguments)
    try:
        asked = counters(Path(options.collectors).read_text())
    except (OSError, ValueError) as problem:
        print(f"level=fatal msg={problem}", file=sys.stderr)
        return 1
    if not gpus() or not re.search(r"\d", VERSION_FILE.read_text() if VERSION_FILE.is_file() else ""):
        print("level=fatal msg=Error getting device busid information: no driver (stand-in)", file=sys.stderr)
        return 1
    serve(options.address, asked)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
