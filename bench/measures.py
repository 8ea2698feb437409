"""What is measured, with how much of it; and one measurement of one target."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import perf_counter_ns, process_time_ns
from typing import Any

from bench import load, processes
from bench.calibration import Endpoint, calibrate
from bench.figures import quantile, slope
from bench.load import Question, Tally
from bench.plan import BURST, SILENT, SPREAD, STEPS, Plan
from bench.targets import Running

FIRST_TOKEN_STREAMS = (1, 32, 128)
PACED_STREAMS, PACED_INTERVAL_MS = 128, 20
BURST_TOKENS = 512
Figures = dict[str, Any]


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    rounds: int
    loop_s: float
    paced_s: float
    first_tokens: Mapping[int, int]  # streams -> waves
    idle_streams: int
    growth_requests: int
    growth_limit_s: float  # for the targets other than the adapter


FULL = Effort(5, 4.0, 6.0, {1: 300, 32: 30, 128: 12}, 1000, 100_000, 60.0)
QUICK = Effort(1, 0.5, 1.0, {1: 30, 32: 3, 128: 2}, 100, 1000, 3.0)


@dataclass
class Subject:
    """A target under test, and where the load and the upstream run."""

    endpoint: Endpoint
    running: Running | None  # None: the upstream itself
    mock: Running
    effort: Effort
    is_adapter: bool = False

    def question(self, plan: Plan, *, stream: bool) -> Question:
        """A request to the target, and the answer that is right.

        :raises WrongAnswer: the target answers something else.
        """
        measured = plan if plan.pace == BURST else Plan(plan.tokens)  # the same pieces, without the waiting
        expected = calibrate(self.endpoint, measured, stream=stream)
        return Question(self.endpoint.port, self.endpoint.request(plan, stream=stream), expected)


class Meter:
    """Reads processor time at the beginning and at the end of a run."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._readings: list[tuple[int, int, int, int, tuple[int, int], tuple[int, int]]] = []
        if subject.running is not None:
            subject.running.look()

    def __call__(self) -> None:
        """Read."""
        running = self._subject.running
        self._readings.append(
            (
                perf_counter_ns(),
                running.cpu_ns() if running else 0,
                self._subject.mock.cpu_ns(),
                process_time_ns(),
                processes.user_and_system_ticks(running.pids) if running else (0, 0),
                processes.machine_ticks(),
            )
        )

    def figures(self, units: int, tally: Tally) -> Figures:
        """Processor time per unit, and who was busy. A direct run has the upstream's own cost only."""
        before, after = self._readings
        seconds = (after[0] - before[0]) / 1e9
        figures: Figures = {
            "units": units,
            "per_s": units / seconds,
            "upstream_cpu_us": (after[2] - before[2]) / 1e3 / max(units, 1),
            "upstream_busy": (after[2] - before[2]) / 1e9 / seconds,
            "generator_busy": (after[3] - before[3]) / 1e9 / seconds,
            "machine_busy_ticks": after[5][0] - before[5][0],
            "stolen_ticks": after[5][1] - before[5][1],
            "wrong": tally.wrong,
            "problems": tally.problems,
        }
        if self._subject.running is not None:
            figures["cpu_us"] = (after[1] - before[1]) / 1e3 / max(units, 1)
            figures["busy"] = (after[1] - before[1]) / 1e9 / seconds
            figures["system_share"] = processes.system_share(before[4], after[4])
        return figures


async def short(subject: Subject, *, stream: bool, connections: int = 32) -> Figures:
    """One-token requests in a closed loop."""
    meter = Meter(subject)
    question = subject.question(Plan(1), stream=stream)
    tally = await load.closed_loop(question, connections, subject.effort.loop_s, meter)
    return meter.figures(tally.answers, tally)


async def burst(subject: Subject) -> Figures:
    """Streams whose tokens come as fast as they are taken: many events in one read."""
    meter = Meter(subject)
    question = subject.question(Plan(BURST_TOKENS), stream=True)
    tally = await load.closed_loop(question, 8, subject.effort.loop_s, meter)
    # By what has arrived, not by whole answers, of which a slow target completes few.
    return meter.figures(round(tally.marks * BURST_TOKENS / question.expected.marks), tally)


async def paced(subject: Subject, pace: str) -> Figures:
    """128 streams of 50 tokens a second."""
    effort, meter = subject.effort, Meter(subject)
    lead_s = min(effort.paced_s / 2, 2.0)
    # Longer than what is measured, because not all streams begin at once; not much, because a target that cannot keep up
    # goes on with what is left.
    tokens = int((2 * lead_s + effort.paced_s) * 1000 / PACED_INTERVAL_MS)
    question = subject.question(Plan(tokens, pace, PACED_INTERVAL_MS), stream=True)
    run = await load.paced(question, PACED_STREAMS, lead_s, effort.paced_s, meter)
    figures = meter.figures(run.tokens, run.tally)
    if run.gaps_ms:
        figures |= {"gap_p50_ms": quantile(run.gaps_ms, 0.5), "gap_p99_ms": quantile(run.gaps_ms, 0.99)}
    return figures


async def first_token(subject: Subject, streams: int) -> Figures:
    """Streams that begin together; how long their first tokens take."""
    question = subject.question(Plan(2), stream=True)
    latencies, tally = await load.waves(question, streams, subject.effort.first_tokens[streams])
    figures: Figures = {"wrong": tally.wrong, "problems": tally.problems, "units": len(latencies)}
    if latencies:
        figures |= {"p50_ms": quantile(latencies, 0.5), "p99_ms": quantile(latencies, 0.99)}
    return figures


async def joining(subject: Subject) -> Figures:
    """The first token of a stream that begins while 128 others run."""
    effort = subject.effort
    lead_s = min(effort.paced_s / 2, 2.0)
    tokens = int((2 * lead_s + effort.paced_s) * 1000 / PACED_INTERVAL_MS)
    others = subject.question(Plan(tokens, SPREAD, PACED_INTERVAL_MS), stream=True)
    run = await load.joining(others, PACED_STREAMS, subject.question(Plan(2), stream=True), lead_s, effort.paced_s)
    figures: Figures = {"wrong": run.tally.wrong, "problems": run.tally.problems, "units": len(run.gaps_ms)}
    if run.gaps_ms:
        figures |= {"p50_ms": quantile(run.gaps_ms, 0.5), "p99_ms": quantile(run.gaps_ms, 0.99)}
    return figures


async def idle_memory(subject: Subject) -> Figures:
    """Memory of a process that has just started, and what open streams add to it."""
    running, streams = subject.running, subject.effort.idle_streams
    if running is None:
        return {}
    running.look()
    question = subject.question(Plan(2, SILENT), stream=True)
    await load.count_down(subject.question(Plan(1), stream=True), 4, 100, 30.0)
    before = running.memory_bytes()
    begun, during = await load.idle_streams(question, streams, running.memory_bytes)
    added = (during - before) / begun * 1000 / 2**20
    figures = {"memory_mib": before / 2**20, "memory_per_1000_streams_mib": added, "units": begun, "wrong": 0}
    return figures | ({"wanted": streams} if begun < streams else {})


async def growth(subject: Subject) -> Figures:
    """Memory over many requests, streamed and not; the first tenth is the warm-up."""
    running, effort = subject.running, subject.effort
    if running is None:
        return {}
    slices = 20
    size = effort.growth_requests // slices
    questions = [subject.question(Plan(8), stream=True), subject.question(Plan(8), stream=False)]
    limit_s = 3600.0 if subject.is_adapter else effort.growth_limit_s
    started, tally, points = perf_counter_ns(), Tally(), list[tuple[float, float]]()
    for number in range(slices):
        left_s = limit_s - (perf_counter_ns() - started) / 1e9
        if left_s <= 0:
            break
        part = await load.count_down(questions[number % 2], 32, size, left_s)
        tally.answers, tally.wrong = tally.answers + part.answers, tally.wrong + part.wrong
        tally.problems += part.problems
        points.append((float(tally.answers), running.memory_bytes() / 2**20))
    warmed = points[2:] or points[-1:]
    return {
        "units": tally.answers,
        "wrong": tally.wrong,
        "problems": tally.problems[:3],
        "points": points,
        "growth_mib": warmed[-1][1] - warmed[0][1],
        "growth_mib_per_100k": slope(warmed) * 100_000,
    }


@dataclass(frozen=True)
class Measure:
    """Something that is measured."""

    name: str
    title: str
    run: Callable[[Subject], Awaitable[Figures]]


ROUND_MEASURES = (
    Measure("short", "one-token requests, whole answers", lambda s: short(s, stream=False)),
    Measure("short-stream", "one-token requests, streamed", lambda s: short(s, stream=True)),
    Measure("paced", "128 streams of 50 tokens a second, each at its own time", lambda s: paced(s, SPREAD)),
    Measure("steps", "128 streams of 50 tokens a second, all together", lambda s: paced(s, STEPS)),
    Measure("burst", "streams of 512 tokens as fast as they are taken", burst),
    Measure("first-1", "first token, one stream", lambda s: first_token(s, 1)),
    Measure("first-32", "first token, 32 streams at once", lambda s: first_token(s, 32)),
    Measure("first-128", "first token, 128 streams at once", lambda s: first_token(s, 128)),
    Measure("joining-128", "first token of a stream that joins 128 running ones", joining),
)
MEMORY_MEASURES = (
    Measure("idle", "memory of idle streams", idle_memory),
    Measure("growth", "memory over many requests", growth),
)


async def measured(measure: Measure, subject: Subject) -> Figures:
    """Run one, with the load generator's garbage collector out of the way."""
    gc.collect()
    gc.disable()
    try:
        return await measure.run(subject)
    finally:
        gc.enable()
