"""llm-phase as one file: a Python zip application of host/llm_phase, so that it is replaced as a whole or not at all."""

from __future__ import annotations

import io
import zipfile

from roles.pins import ROOT

SOURCES = ROOT / "roles" / "phase" / "host" / "llm_phase"
INTERPRETER = b"#!/usr/bin/python3 -I\n"
DATE = (2026, 1, 1, 0, 0, 0)  # the same sources give the same bytes
MAIN = "import sys\n\nfrom llm_phase.command import main\n\nsys.exit(main(sys.argv[1:]))\n"


def program() -> bytes:
    """The file's content."""
    buffer = io.BytesIO(INTERPRETER)
    buffer.seek(0, io.SEEK_END)
    with zipfile.ZipFile(buffer, "a") as archive:
        sources = {f"llm_phase/{file.name}": file.read_bytes() for file in sorted(SOURCES.glob("*.py"))}
        for name, content in {"__main__.py": MAIN.encode(), **sources}.items():
            archive.writestr(zipfile.ZipInfo(name, DATE), content)
    return buffer.getvalue()
