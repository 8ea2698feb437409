"""`python -m bench.host`: ask the targets who they are, measure, write."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bench.facts import commit, machine
from bench.host import cli, files
from bench.host.apis import request_of
from bench.host.claims import compared
from bench.host.drive import Measured, Plan, Stop, has_success, measure
from bench.host.identity import Identity, differences
from bench.host.progress import Progress
from bench.host.prompts import Lengths
from bench.host.summary import rounded
from bench.host.tables import text
from bench.host.targets import MODEL, Absent, Target, identified

METHOD = "percentiles by nearest rank; first text by its arrival; tokens by the servers' own counts (eval_count, usage)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return the exit code."""
    parser = cli.parser()
    options = parser.parse_args(arguments)
    try:
        if options.render:
            _write(files.read(options.render), options.render.parent, options.render.stem)
            return 0
        targets = cli.targets(options)
        earlier = files.read(options.beside) if options.beside else None
    except (ValueError, OSError) as error:
        parser.error(str(error))
    if not targets:
        parser.error("name a target: --host HOST, --phase1 URL or --vllm URL (examples: --help)")
    twice = [target.name for target in targets if earlier and target.name in earlier["targets"]]
    if twice:
        parser.error(f"--beside {options.beside} has a target {twice[0]} too; measure another one, or leave it out")
    lengths = Lengths(options.longest_prompt, options.longest_answer, options.prefix_words)
    plan = Plan(
        cli.cells(options.workloads, options.concurrency, options.modes), options.requests, options.max_seconds,
        options.timeout, lengths, options.seed, options.salt or secrets.token_hex(4),
    )  # fmt: skip
    if not plan.cells:
        parser.error("nothing to measure: the prefix workloads are streamed only (--modes stream)")
    if options.dry:
        print(dry(plan, targets))
        return 0
    try:
        return asyncio.run(_run(options, plan, targets, earlier))
    except KeyboardInterrupt:
        print("\ninterrupted twice; nothing was written", file=sys.stderr)
        return 130


def dry(plan: Plan, targets: Sequence[Target]) -> str:
    """What would be sent."""
    lines = []
    for target in targets:
        path = request_of(target.api, "", plan.asks(plan.cells[0], target.name)[0])[0]
        lines.append(
            f"{target.name}: POST {target.base.url}{path}, model {target.model or f'{MODEL}, or the only one'}"
        )
    lines.append(
        f"\nat most {plan.max_seconds:g} s, {plan.timeout_s:g} s a request; seed {plan.seed}, salt {plan.salt}"
    )
    sums = 0
    for cell in plan.cells:
        asks = plan.asks(cell, targets[0].name)
        sums += len(asks)
        words = sum(len(ask.prompt.split()) for ask in asks)
        lines.append(
            f"  {len(asks):>4} × {cell.key}: {words} words in all, at most {sum(a.answer_tokens for a in asks)} tokens back"
        )
    lines.append(f"{sums} requests to each target, {sums * len(targets)} in all. The first of each kind:")
    for workload in dict.fromkeys(cell.workload for cell in plan.cells):
        cell = next(cell for cell in plan.cells if cell.workload == workload)
        body = request_of(targets[0].api, targets[0].model or MODEL, plan.asks(cell, targets[0].name)[0])[1].decode()
        lines.append(f"  {workload}: {body[:300]}{'…' if len(body) > 300 else ''}")
    return "\n".join(lines)


async def _run(options: Namespace, plan: Plan, targets: list[Target], earlier: dict[str, Any] | None) -> int:
    stop = Stop(plan.max_seconds)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _stopped, loop, stop, number)
    said = await asyncio.gather(*map(identified, targets), return_exceptions=True)
    found: dict[str, Identity] = {}
    absent: dict[str, str] = {}
    for target, one in zip(targets, said, strict=True):
        if isinstance(one, Identity):
            found[target.name] = one
        elif isinstance(one, Absent):
            absent[target.name] = str(one)
            print(f"cannot measure {one}", file=sys.stderr)
        else:
            raise one
    if not found:
        return 1
    earlier_models = {
        name: Identity.read(one["identity"]) for name, one in (earlier["targets"] if earlier else {}).items()
    }
    against = differences(earlier_models | found, options.one_model)
    if against:
        print("UNLIKE MODELS: a comparison would be one of models, not of servers", file=sys.stderr)
        print("\n".join(f"  {difference}" for difference in against), file=sys.stderr)
        if not options.compare_unlike:
            print(
                "  next: name targets of one model; or say --one-model if only their names differ, as those of the adapter and\n"
                "        its vLLM do; or add --compare-unlike, which marks every table",
                file=sys.stderr,
            )
            return 3
    present = [target for target in targets if target.name in found]
    load = os.getloadavg()  # before the run adds to it
    progress = Progress()
    measured = await measure(plan, present, {name: one.name for name, one in found.items()}, stop, progress)
    progress.close()
    results = assembled(plan, present, found, absent, against, measured, load)
    if earlier:
        _put_beside(results, earlier)
    results["is_one_model"] = options.one_model
    results["comparison"] = [asdict(line) for line in compared(results["rows"])]
    try:
        _write(results, options.output, options.name or f"{datetime.now(timezone.utc):%Y-%m-%d-%H%M%S}")
    except OSError as error:
        print(f"cannot write the results: {error}\n  next: name another directory with --output", file=sys.stderr)
        return 1
    if measured.stopped.startswith("stopped"):
        return 130
    return 0 if not absent and all(has_success(measured, target.name) for target in present) else 1


def _write(results: dict[str, Any], directory: Path, name: str) -> None:
    print(text(results))
    for path in files.write(results, directory, name):
        print(path)


def _stopped(loop: asyncio.AbstractEventLoop, stop: Stop, number: signal.Signals) -> None:
    """Ends the run in an orderly way; the same signal again ends the program."""
    stop.now(f"stopped by {'Ctrl-C' if number == signal.SIGINT else number.name}")
    loop.remove_signal_handler(number)
    print("\nstopping; what there is will be written. Again: at once", file=sys.stderr)


def assembled(
    plan: Plan, targets: Sequence[Target], found: dict[str, Identity], absent: dict[str, str], against: Sequence[str],
    measured: Measured, load: tuple[float, float, float],
) -> dict[str, Any]:  # fmt: skip
    """The results as they are written, but for the comparison."""
    return {
        "schema": files.SCHEMA,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(load),
        "method": METHOD,
        "plan": {**asdict(plan), "cells": [cell.key for cell in plan.cells]},
        "targets": {
            target.name: {
                "url": target.base.url, "api": target.api, "identity": asdict(found[target.name]),
                "warm_up": measured.warm_up.get(target.name, ""),
            }
            for target in targets
        },
        "absent": absent,
        "differences": list(against),
        "is_unlike": bool(against),
        "is_partial": bool(measured.stopped),
        "stopped": measured.stopped,
        "missing": measured.missing,
        "seconds": round(measured.seconds, 1),
        "own_busy": round(measured.own_busy, 3),
        "rows": [rounded(row) for row in measured.rows],
        "answers": [rounded(asdict(answer)) for answer in measured.answers],
    }  # fmt: skip


def _put_beside(results: dict[str, Any], earlier: dict[str, Any]) -> None:
    """Add an earlier run's targets; what was partial then is partial now."""
    results["targets"] = {**earlier["targets"], **results["targets"]}
    for name in ("rows", "answers", "missing"):
        results[name] = [*earlier[name], *results[name]]
    results["is_partial"] |= earlier["is_partial"]
    results["stopped"] = "; ".join(filter(None, (earlier["stopped"], results["stopped"])))
    results["earlier"] = {name: earlier[name] for name in ("date", "commit", "machine", "plan")}


if __name__ == "__main__":
    sys.exit(main())
