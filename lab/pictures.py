"""The pictures of the README, made from the lab: `make pictures`, or `python -m lab.pictures NAME…` when the demo is up.

verify-report        docs/images/verify-report.png: the page of `make verify` on the demo's hosts; one listens where it should not
dashboard-overview   docs/images/dashboard-overview.png: a host's own monitoring after ten minutes of traffic
bench-host           bench/host/results/lab-adapter.*: the benchmark for operators, on hosts of its own (minutes; needs quiet)
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from lab import Lab, LabError, screenshot
from lab.demo import PHASE1
from lab.progress import Report, to_stderr
from lab.pyinfra_run import ROOT

IMAGES = ROOT / "docs" / "images"
# A process that somebody forgot: what the page says of a host that is not as promised is worth more than all being well.
FORGOTTEN = "llm-lab-forgotten"
FORGOTTEN_PORT = 9000


class PictureError(Exception):
    """A step failed; the text says which, and what to do."""


def verify_report(lab: Lab, report: Report) -> None:
    """Verify the demo's hosts, with one fault, and take a picture of the page. Raises PictureError or LabError."""
    host = lab.host(PHASE1)
    host.ssh(f"systemctl stop {FORGOTTEN}", check=False)
    host.ssh(f"systemd-run --quiet --collect --unit={FORGOTTEN} python3 -m http.server {FORGOTTEN_PORT}")
    try:
        _run([sys.executable, "-m", "tests.verify", "--inventory", "lab/inventory"], {}, expected=1)
    finally:
        host.ssh(f"systemctl stop {FORGOTTEN}")
    page = screenshot.take(str(ROOT / "reports" / "verify" / "report.html"), screenshot.View(width=1000, height=1080))
    _write(IMAGES / "verify-report.png", page, report)


def dashboard_overview(lab: Lab, report: Report) -> None:
    """Run the lab test of the dashboards with as much traffic as a picture needs. Raises PictureError or LabError."""
    del lab  # the test has hosts of its own
    with tempfile.TemporaryDirectory(prefix="llm-lab-dashboard-") as folder:
        kept = Path(folder) / "overview.html"
        more = {"LLM_LAB_TEST_SUFFIX": "pic", "LLM_DASHBOARD_KEEP": str(kept)}
        _run([sys.executable, "-m", "pytest", "-q", "tests/lab/test_grafana.py", "-k", "traffic"], more, expected=0)
        page = screenshot.take(str(kept), screenshot.View(width=1600, is_full_page=True))
    _write(IMAGES / "dashboard-overview.png", page, report)


def bench_host(lab: Lab, report: Report) -> None:
    """Run the benchmark's own lab test for as long as a picture needs, and keep what it wrote. Raises PictureError."""
    del lab  # the test has hosts of its own
    results = ROOT / "bench" / "host" / "results"
    more = {"LLM_LAB_TEST_SUFFIX": "pic", "LLM_BENCH_HOST_KEEP": str(results)}
    _run([sys.executable, "-m", "pytest", "-q", "tests/lab/test_bench_host.py"], more, expected=0)
    report(f"     {(results / 'lab-adapter.svg').relative_to(ROOT)}")


PICTURES: dict[str, Callable[[Lab, Report], None]] = {
    "verify-report": verify_report,
    "dashboard-overview": dashboard_overview,
    "bench-host": bench_host,
}


def _run(words: list[str], more: dict[str, str], expected: int) -> None:
    done = subprocess.run(words, cwd=ROOT, env={**os.environ, **more}, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != expected:
        raise PictureError(
            f"{' '.join(words[1:])} ended with {done.returncode}, not {expected}; see above\nfirst:  make demo"
        )


def _write(path: Path, picture: bytes, report: Report) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture)
    report(f"     {path.relative_to(ROOT)}, {len(picture) // 1024 + 1} KiB")


def main(arguments: list[str]) -> int:
    """Exit status as of a command."""
    parser = argparse.ArgumentParser(
        prog="python -m lab.pictures", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(PICTURES)} (all)")
    names = parser.parse_args(arguments).names or list(PICTURES)
    if unknown := [name for name in names if name not in PICTURES]:
        parser.error(f"no such picture: {', '.join(unknown)}; there are {', '.join(PICTURES)}")
    lab, report = Lab.for_checkout(), to_stderr()
    try:
        for name in names:
            report(name)
            PICTURES[name](lab, report)
    except (PictureError, LabError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
