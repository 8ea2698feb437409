"""The version of a loaded NVIDIA driver, as the kernel tells it in either of its files."""

from __future__ import annotations

import re


def driver_version(text: str) -> str:
    """The version in /sys/module/nvidia/version or /proc/driver/nvidia/version, "" where there is none.

    The first holds "580.178.04" alone, the second "NVRM version: NVIDIA UNIX … Kernel Module for x86_64  580.178.04  Release …".
    """
    found = re.search(r"\b(\d{3}\.\d+(?:\.\d+)?)\b", text)
    return found[1] if found else ""
