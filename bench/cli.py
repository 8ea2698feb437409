"""The command line's options. No I/O; needs nothing but python3."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

TARGET_NAMES = ("direct", "adapter", "fastapi", "litellm", "nginx")
MEASURE_NAMES = (
    "short", "short-stream", "paced", "steps", "burst", "first-1", "first-32", "first-128", "joining-128", "idle", "growth",
)  # fmt: skip
RESULTS = Path(__file__).with_name("results")
README = Path(__file__).parents[1] / "README.md"  # of the project; has a summary

_DESCRIPTION = """\
Measures what a proxy before vLLM costs: this adapter beside FastAPI + httpx, LiteLLM's proxy and nginx, in one run on
one machine, with a mock upstream that is faster than any of them.
"""
_EPILOG = """\
examples:
  python3 -m bench                             everything, about a quarter of an hour; keep the machine quiet
  python3 -m bench --quick                     a look whether everything works, about two minutes; the figures are rough
  python3 -m bench --only adapter,nginx --measures short,paced --rounds 9
  python3 -m bench --profile                   where the adapter's processor time goes (py-spy)
  python3 -m bench --render bench/results/2026-11-24-amd-epyc-2c.json    table and plot of an earlier run

measures:
  short, short-stream   one-token requests in a closed loop of 32 connections, whole and streamed
  paced, steps          128 streams of 50 tokens a second: each at its own time, or all together as an engine steps
  burst                 streams of 512 tokens that come at once, on 8 connections
  first-1, -32, -128    time to the first token when so many streams begin at once
  joining-128           time to the first token of a stream that begins while 128 others run as in `paced`
  idle, growth          memory of 1,000 silent streams; memory over 100,000 requests

The first run installs what is compared into $LLM_LAB_CACHE/bench (default /var/cache/llm-lab/bench), not into this
machine. Set BENCH_ADAPTER_SOURCE to measure the adapter of another directory (its src).
exit code: 0 measured, 1 something failed, 2 a wrong option
"""


def names(allowed: Sequence[str]) -> Callable[[str], list[str]]:
    """A parser of a comma-separated list of names.

    It raises argparse.ArgumentTypeError for a name that is not allowed.
    """

    def parse(text: str) -> list[str]:
        found = [name.strip() for name in text.split(",") if name.strip()]
        unknown = [name for name in found if name not in allowed]
        if unknown or not found:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown) or 'nothing'}: choose from {', '.join(allowed)}")
        return found

    return parse


def positive(text: str) -> int:
    """A number from 1 on.

    :raises argparse.ArgumentTypeError: it is something else.
    """
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(
        prog="python3 -m bench",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    targets, measures = names(TARGET_NAMES), names(MEASURE_NAMES)
    options.add_argument("--quick", action="store_true", help="a smoke run: one short round of everything")
    options.add_argument(
        "--only", type=targets, metavar="TARGETS", default=list(TARGET_NAMES),
        help=f"of {', '.join(TARGET_NAMES)}; direct is always measured",
    )  # fmt: skip
    options.add_argument(
        "--measures", type=measures, metavar="MEASURES", default=list(MEASURE_NAMES),
        help="of those below",
    )  # fmt: skip
    options.add_argument("--rounds", type=positive, metavar="N", help="how often each is measured (5; with --quick 1)")
    options.add_argument("--output", type=Path, metavar="DIRECTORY", help="where results go (bench/results; with --quick "
                         "nowhere, the table is printed)")  # fmt: skip
    options.add_argument("--here", action="store_true", help="use this Python as it is; what it lacks is absent")
    options.add_argument("--install", action="store_true", help="install what is compared, and do no more")
    options.add_argument("--profile", action="store_true", help="show where the adapter's processor time goes, instead")
    options.add_argument("--render", type=Path, metavar="JSON", help="make table and plot from an earlier run, instead")
    return options
