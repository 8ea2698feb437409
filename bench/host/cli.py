"""The command line's options. No I/O."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from bench.cli import names, positive
from bench.host.apis import OLLAMA, OPENAI
from bench.host.prompts import WORKLOADS, Lengths
from bench.host.summary import Cell
from bench.host.targets import MODEL, Target
from bench.host.wire import base_of

RESULTS = Path(__file__).with_name("results")
MODES = ("stream", "whole")
_DESCRIPTION = """\
Measures what a host's servers give their clients: the time to the first text, between tokens and to the end; tokens and
requests a second; errors by kind. Changes nothing on the host. Every target is optional; all that are named are asked in
turn, and compared if they serve the same model.
"""
_EPILOG = """\
examples:
  python -m bench.host --host gpu-01                           what clients get in Phase 2: the adapter on 11434
  python -m bench.host --host gpu-01 --dry                     what would be sent, and to whom; sends nothing
  python -m bench.host --host gpu-01 --phase1 http://gpu-02:11434      beside another host that is in Phase 1
  python -m bench.host --phase1 http://gpu-01:11434 --name before      one host, first in Phase 1 …
  python -m bench.host --host gpu-01 --beside bench/host/results/before.json     … then in Phase 2, in one table
  ssh -L 8000:127.0.0.1:8000 root@gpu-01                       vLLM listens on the host's loopback only; in another terminal:
  python -m bench.host --host gpu-01 --vllm http://127.0.0.1:8000 --one-model      what the adapter adds; the prefix cache's hits
  python -m bench.host --host gpu-01 --concurrency 1,8,64 --requests 200 --max-seconds 3600
  make bench-host HOST=gpu-01 BENCH_HOST="--requests 50"       the same by make

workloads (--workloads):
  guide             {guide}
  mix               {mix}
  prefix-cold       {cold}
  prefix-repeated   {repeated}
  The two prefix workloads are streamed only. What caching brings is the first text of the one over that of the other.

how it counts:
  first text        to the first piece with text in it, not to the head of the answer; streamed answers only
  between tokens    from the first text to the end, divided by the server's own count of tokens less one
  percentiles       nearest rank; with fewer than 100 answers the 99th is the largest
  tokens            eval_count or usage, as the server says; pieces are never counted for tokens
  errors            refused, unreachable, unknown-name, tls, timeout, closed (before the answer), broken-stream (inside it),
                    not-http, http-503 and so on, error-line (in a stream), bad-answer

models: each target is asked for its model. Where name, family, parameters, quantisation or context differ, nothing is
measured unless --compare-unlike is there, and then every table says so. The adapter and its vLLM call one model by two
names: --one-model is your word that they do.

exit code: 0 measured; 1 a target could not be measured, or gave no right answer; 2 a wrong option;
           3 unlike models; 130 stopped by Ctrl-C (what there is was written, marked as partial)
""".format(
    guide=WORKLOADS["guide"], mix=WORKLOADS["mix"], cold=WORKLOADS["prefix-cold"], repeated=WORKLOADS["prefix-repeated"]
)


def counts(text: str) -> list[int]:
    """A comma-separated list of numbers from 1 on. Raises argparse.ArgumentTypeError."""
    return sorted({positive(part.strip()) for part in text.split(",")})


def seconds(text: str) -> float:
    """A number above 0. Raises argparse.ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(
        prog="python -m bench.host", description=_DESCRIPTION, epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add, default = options.add_argument, "(default: %(default)s)"
    add("--host", metavar="HOST", help="short for --adapter http://HOST:11434")
    add("--adapter", metavar="URL", help="Ollama's API in Phase 2")
    add("--phase1", metavar="URL", help="Ollama's API in Phase 1")
    add("--vllm", metavar="URL", help="vLLM itself, by OpenAI's API")
    add("--beside", metavar="JSON", type=Path, help="put an earlier run's targets into the same tables")
    add("--model", metavar="NAME", default="", help=f"of the Ollama APIs (default: {MODEL}, or the only one)")
    add("--vllm-model", metavar="NAME", default="", help="of vLLM (default: the one it serves)")
    add(
        "--workloads",
        type=names(tuple(WORKLOADS)),
        metavar="LIST",
        default=list(WORKLOADS),
        help="of those below (all)",
    )
    add("--concurrency", type=counts, metavar="LIST", default=[1, 4, 16], help="requests at once (default: 1,4,16)")
    add("--modes", type=names(MODES), metavar="LIST", default=list(MODES), help="stream, whole (both)")
    add("--requests", type=positive, metavar="N", default=20, help=f"of each combination, to each target {default}")
    add("--max-seconds", type=seconds, metavar="S", default=900.0, help=f"of the whole run {default}")
    add("--timeout", type=seconds, metavar="S", default=120.0, help=f"of one request {default}")
    lengths = Lengths()
    add(
        "--longest-prompt", type=positive, metavar="WORDS", default=lengths.longest_prompt, help=f"of the mix {default}"
    )
    add("--longest-answer", type=positive, metavar="TOKENS", default=lengths.longest_answer, help=f"of any {default}")
    add(
        "--prefix-words",
        type=positive,
        metavar="WORDS",
        default=lengths.prefix,
        help=f"of the long beginnings {default}",
    )
    add("--seed", type=int, default=1, help=f"lengths and words follow from it {default}")
    add("--salt", default="", help="for the very words of an earlier run; else a new one, so that no cache knows them")
    add(
        "--one-model",
        action="store_true",
        help="their names are those of one model; parameters, quantisation and so on are compared all the same",
    )
    add("--compare-unlike", action="store_true", help="measure although the models differ; every table is marked")
    add("--output", type=Path, metavar="DIRECTORY", default=RESULTS, help="where results go (bench/host/results)")
    add("--name", default="", help="of the files (default: date and time)")
    add("--render", metavar="JSON", type=Path, help="make table, page and plot of an earlier run again, instead")
    add("--dry", action="store_true", help="show what would be sent, and send nothing")
    return options


def targets(options: argparse.Namespace) -> list[Target]:
    """The named targets; keys from the environment: BENCH_KEY for Ollama's API, BENCH_VLLM_KEY for vLLM.

    :raises ValueError: a URL is none, or --host and --adapter are both there.
    """
    if options.host and options.adapter:
        raise ValueError("--host and --adapter name the same target; give one")
    host = f"[{options.host}]" if options.host and ":" in options.host else options.host
    adapter = options.adapter or (f"http://{host}:11434" if host else "")
    key, vllm_key = os.environ.get("BENCH_KEY", ""), os.environ.get("BENCH_VLLM_KEY", "")
    found = []
    for name, api, url, model, secret in (
        ("phase1", OLLAMA, options.phase1, options.model, key),
        ("adapter", OLLAMA, adapter, options.model, key),
        ("vllm", OPENAI, options.vllm, options.vllm_model, vllm_key),
    ):
        if url:
            found.append(Target(name, api, base_of(url), model, secret))
    return found


def cells(workloads: Sequence[str], concurrency: Sequence[int], modes: Sequence[str]) -> tuple[Cell, ...]:
    """Every combination; the prefix workloads are streamed only."""
    return tuple(
        Cell(workload, count, mode == "stream")
        for workload in workloads
        for count in concurrency
        for mode in modes
        if mode == "stream" or not workload.startswith("prefix")
    )
