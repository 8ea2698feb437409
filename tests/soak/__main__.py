"""The soak: bounded load on a served host for half an hour, with restarts in it and clients that go away, every request
accounted for.

  python -m tests.soak --host demo-phase2                    thirty minutes on the demo's host (`make demo` makes it)
  python -m tests.soak --host demo-phase2 --adapter-restart  and the adapter is restarted too, after a tenth of the time
  python -m tests.soak --local VENV --model DIR --minutes 3 --out /tmp/soak
                                                             for development: adapter and vLLM as processes of this machine
                                                             (python -m lab.model DIR writes the miniature model)

What is done
  A steady, random mix of requests: generate and chat, streamed and whole, short and of hundreds of tokens, JSON, tools,
  show, tags, ps, embeddings passed on to Ollama Vision, /v1/chat/completions where the adapter has it; and a few long
  streams that are always there. A quarter of the clients goes away, before or inside the answer, half of these by RST;
  some read slowly. At each of the times that part the run evenly vLLM is restarted: first by `systemctl restart` (it
  drains), then by SIGKILL (streams break, systemd starts it again). The same seed asks for the same things.

How it is judged
  completed               the answer is whole: valid JSON, the final object with done (or [DONE]); or an error that the
                          request deserves, such as 404 for an unknown model
  refused with a reason   an error status and {"error": ...}
  error line              the stream's last line is {"error": ...}
  dropped by the client   as planned
  LOST                    everything else: no connection, a connection that ends before or inside an answer, a stream
                          without its last line, bad JSON, nothing for --hang seconds
  The promise is broken, and the exit status 1, when a request is lost; when one is refused or broken off while nothing is
  being restarted; when its X-Request-Id does not come back, or a 503 has no Retry-After; when the adapter's log has not
  exactly one line for each id, with the same status; when text is not served again after a restart; when the adapter
  ends by itself; when memory or open files grow (medians of the second and the last fifth; not judged under nine
  minutes); when vLLM's count of running requests is not 0 after the last client is gone.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from lab import Lab, LabError
from tests.soak.load import Models
from tests.soak.promises import are_kept, promises
from tests.soak.report import write
from tests.soak.soak import RESTARTS, Plan, run
from tests.soak.targets import LabTarget, Target, local

DEFAULTS = Plan()


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="python -m tests.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    where = top.add_mutually_exclusive_group(required=True)
    where.add_argument("--host", metavar="NAME", help="a host of this checkout's lab, in Phase 2")
    where.add_argument("--local", metavar="VENV", type=Path, help="a virtual environment with vLLM's CPU build")
    top.add_argument(
        "--suffix",
        default=os.environ.get("LLM_LAB_SUFFIX", ""),
        help="the lab beside the demo's (default: LLM_LAB_SUFFIX)",
    )
    top.add_argument("--model", metavar="DIR", type=Path, help="with --local: what vLLM serves")
    top.add_argument("--vllm-port", metavar="N", type=int, default=18_090, help="with --local (default: %(default)s)")
    top.add_argument("--minutes", type=float, default=DEFAULTS.minutes, help="default: %(default)s")
    top.add_argument("--seed", type=int, default=DEFAULTS.seed, help="default: %(default)s")
    top.add_argument("--rate", type=float, default=DEFAULTS.rate, help="requests a second (default: %(default)s)")
    top.add_argument("--streams", type=int, default=DEFAULTS.streams, help="standing streams (default: %(default)s)")
    top.add_argument("--hang", type=float, default=DEFAULTS.hang_s, metavar="SECONDS", help="default: %(default)s")
    top.add_argument(
        "--vllm-restarts", default=",".join(RESTARTS), metavar="WAYS",
        help="restart or kill, with commas between; as many as there are (default: %(default)s)",
    )  # fmt: skip
    top.add_argument("--adapter-restart", action="store_true", help="restart the adapter too; not with --local")
    for name, default in (("text", "llama2:7b"), ("vision", "llava:7b"), ("embedding", "nomic-embed-text")):
        top.add_argument(f"--{name}-model", default=default, metavar="NAME", help="default: %(default)s")
    top.add_argument(
        "--out", type=Path, default=Path(__file__).parent, metavar="DIR",
        help="where RESULTS.md and result.json go (default: tests/soak)",
    )  # fmt: skip
    return top


def plan_of(chosen: argparse.Namespace, top: argparse.ArgumentParser) -> Plan:
    """The plan; ends the program where the command line makes none."""
    ways = tuple(filter(None, chosen.vllm_restarts.split(",")))
    if wrong := [way for way in ways if way not in RESTARTS]:
        top.error(f"--vllm-restarts: {wrong[0]!r} is neither restart nor kill")
    if chosen.local and not chosen.model:
        top.error("--local needs --model")
    if chosen.local and chosen.adapter_restart:
        top.error("--adapter-restart: without systemd nobody keeps the socket meanwhile; use --host")
    if min(chosen.minutes, chosen.rate, chosen.hang) <= 0 or chosen.streams < 0:
        top.error("--minutes, --rate and --hang are above 0, --streams is not below")
    return Plan(
        minutes=chosen.minutes, seed=chosen.seed, rate=chosen.rate, streams=chosen.streams, hang_s=chosen.hang,
        vllm_restarts=ways, restarts_adapter=chosen.adapter_restart,
        models=Models(chosen.text_model, chosen.vision_model, chosen.embedding_model),
    )  # fmt: skip


def report(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> int:
    top = parser()
    chosen = top.parse_args(arguments)
    plan = plan_of(chosen, top)
    try:
        with ExitStack() as stack:
            target: Target
            if chosen.local:
                report("starting vLLM and the adapter")
                target = stack.enter_context(local(chosen.local, chosen.model, chosen.vllm_port))
            else:
                target = LabTarget(Lab.for_checkout(suffix=chosen.suffix, report=report).host(chosen.host))
            result = run(target, plan, report)
    except (LabError, OSError, RuntimeError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; nothing was written", file=sys.stderr)
        return 130
    write(result, chosen.out)
    for promise in promises(result):
        state = {True: "kept", False: "BROKEN", None: "not judged"}[promise.is_kept]
        print(f"{state:>10}  {promise.sentence}: {promise.detail}")
    print(f"\n{chosen.out / 'RESULTS.md'}")
    return 0 if are_kept(result) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
