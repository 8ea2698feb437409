"""Prometheus, its tools and its exporters for tests on this machine: the distribution's real programs, unpacked, not installed.

Installing them would start services on this machine, on every address. Here nothing runs but what a test starts.
"""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path

from lab.mirror import cache, distribution_packages
from roles.monitoring_packages import DISTRIBUTION


def ensure() -> Path:
    """The folder with `promtool`, `prometheus`, `prometheus-node-exporter` and `prometheus-blackbox-exporter`.

    Raises CacheError where this machine's apt does not give them.
    """
    suite = distribution_packages.machine_suite()
    target = cache.root() / f"monitoring-tools-{cache.key_of(Path(__file__), suite, *DISTRIBUTION)}"
    return cache.build_once(target, partial(_make, suite)) / "usr" / "bin"


def _make(suite: str, target: Path) -> None:
    for file in distribution_packages.fetch(suite, DISTRIBUTION, target).values():
        done = subprocess.run(["dpkg-deb", "-x", str(file), str(target)], capture_output=True, text=True)
        if done.returncode != 0:
            raise cache.CacheError(f"dpkg-deb -x {file.name}: {done.stderr.strip()}")
        file.unlink()
