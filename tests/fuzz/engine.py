"""Runs one target on many inputs: guided by coverage with atheris where that is installed, by plain chance elsewhere.

    python -m tests.fuzz.engine front --seconds 60 --seed 1 --out DIRECTORY

is what `python -m tests.fuzz` starts: a process of its own per target, because libFuzzer ends the process it runs in.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz.findings import Finding, Findings

HANG_S = 20


def has_atheris() -> bool:
    """Whether coverage can guide."""
    return importlib.util.find_spec("atheris") is not None


def try_input(run: Callable[[bytes], None], data: bytes, findings: Findings) -> None:
    """Run one input; whatever it raises is a finding."""
    try:
        run(data)
    except Exception as error:
        findings.add(data, error)


class Alarm:
    """Turns an input that takes too long into a finding."""

    def __enter__(self) -> None:
        signal.signal(signal.SIGALRM, self._ring)
        signal.alarm(HANG_S)

    def __exit__(self, *_: object) -> None:
        signal.alarm(0)

    @staticmethod
    def _ring(number: int, frame: FrameType | None) -> None:
        raise Finding(f"a hang: more than {HANG_S} s")


def run_by_chance(target: str, findings: Findings, *, seconds: float, seed: int, executions: int = 0) -> dict[str, Any]:
    """Run until the time is over, or for a number of executions."""
    from tests.fuzz.mutation import inputs
    from tests.fuzz.targets import TARGETS

    started = time.monotonic()
    count = 0
    for count, data in enumerate(inputs(target, random.Random(seed)), 1):
        with Alarm():
            try_input(TARGETS[target], data, findings)
        if (executions and count >= executions) or time.monotonic() - started > seconds:
            break
    return {"executions": count}


def run_guided(target: str, findings: Findings, *, seconds: float, seed: int, artifacts: Path) -> None:
    """Run libFuzzer. It ends the process; what it did stands in its final lines on standard error."""
    atheris = importlib.import_module("atheris")  # not everywhere, so mypy must not look for it
    from tests.fuzz.corpus import WORDS, seeds

    with atheris.instrument_imports(include=["ollama_adapter"]):
        from tests.fuzz.targets import TARGETS
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        corpus = Path(directory, "corpus")
        corpus.mkdir()
        for number, data in enumerate(seeds(target)):
            (corpus / f"{number:04}").write_bytes(data)
        words = Path(directory, "words")
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in WORDS), encoding="ascii")
        options = {
            "max_total_time": int(seconds), "seed": seed, "max_len": 16_384, "timeout": HANG_S, "rss_limit_mb": 4096,
            "print_final_stats": 1, "verbosity": 1, "dict": words, "artifact_prefix": f"{artifacts}/{target}-",
        }  # fmt: skip
        arguments = [sys.argv[0], *(f"-{name}={value}" for name, value in options.items()), str(corpus)]
        atheris.Setup(arguments, lambda data: try_input(TARGETS[target], data, findings))
        atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.engine", description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--by-chance", action="store_true")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    findings = Findings(options.out, options.target)
    if has_atheris() and not options.by_chance:
        run_guided(options.target, findings, seconds=options.seconds, seed=options.seed, artifacts=options.out)
    print(json.dumps(run_by_chance(options.target, findings, seconds=options.seconds, seed=options.seed)))
    return 1 if findings.kinds else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
