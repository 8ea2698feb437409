"""The lab: real hosts on one machine, and the mirrors they install from.

In reading order: cli (what can be typed), lab (all hosts of a checkout), host (one of them), supervisor and boot (what
runs it), clone and base (its disk), network, cgroups and processes (its share of the kernel), naming (pure).
Needs nothing but Python's standard library, so that it runs before any virtual environment exists.
"""

from __future__ import annotations

from lab.errors import CannotRun, CommandFailed, HostNotReady, LabError, UnknownHost
from lab.host import Host
from lab.lab import Lab

__all__ = ["CannotRun", "CommandFailed", "Host", "HostNotReady", "Lab", "LabError", "UnknownHost"]
