"""The run: load in an open loop, standing streams, restarts on time, samples beside it; everything is counted."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random

from tests.soak.accounting import (
    TOLD,
    Entry,
    Observation,
    Outcome,
    Verdict,
    Window,
    judge,
    log_discrepancies,
    told_without_cause,
)
from tests.soak.client import Client
from tests.soak.load import PATIENT, Kind, Manner, Models, Request, kinds, long_kind, manner, probe_kind, witness_kind
from tests.soak.memory import MIB, Sample
from tests.soak.targets import Target

MAX_IN_FLIGHT = 64
PROBE_PAUSE_S = 0.5
WITNESSES = 2
TAIL_S = 10.0  # of load after the last recovery
RECOVERY_TIMEOUT_S = 900.0
LOG_TIMEOUT_S = IDLE_TIMEOUT_S = 60.0
RESTARTS = ("restart", "kill")


@dataclass(frozen=True)
class Plan:
    """What to do; everything but the host's own timing follows from it."""

    minutes: float = 30.0
    seed: int = 1
    rate: float = 4.0
    streams: int = 3
    hang_s: float = 120.0
    vllm_restarts: tuple[str, ...] = RESTARTS
    restarts_adapter: bool = False
    models: Models = field(default_factory=lambda: Models("llama2:7b", "llava:7b", "nomic-embed-text"))
    progress_s: float = 30.0

    @property
    def duration_s(self) -> float:
        return self.minutes * 60


@dataclass(frozen=True)
class Disturbance:
    """One restart: of what, how, when, when it was first refused and when served again (None: never)."""

    what: str
    started_s: float
    first_refused_s: float | None
    recovered_s: float | None

    @property
    def window(self) -> Window:
        return Window(self.started_s, float("inf") if self.recovered_s is None else self.recovered_s)


@dataclass
class Result:
    """Everything that was seen."""

    plan: Plan
    machine: str
    duration_s: float = 0.0
    entries: list[Entry] = field(default_factory=list)
    disturbances: list[Disturbance] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    log_problems: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    not_sent: int = 0
    retries: int = 0
    is_vllm_idle: bool = False

    @property
    def without_cause(self) -> list[Entry]:
        return told_without_cause(self.entries, [one.window for one in self.disturbances])

    def of(self, outcomes: Iterable[Outcome]) -> list[Entry]:
        """The requests with one of these outcomes."""
        wanted = tuple(outcomes)
        return [entry for entry in self.entries if entry.verdict.outcome in wanted]


class Soak:
    """One run against one target."""

    def __init__(self, target: Target, plan: Plan, report: Callable[[str], None]) -> None:
        self._target, self._plan, self._report = target, plan, report
        self._client = Client(target.address, target.port, plan.hang_s)
        self._result = Result(plan, target.describe())
        self._prefix = f"soak-{secrets.token_hex(4)}-"
        self._count = 0
        self._began = time.monotonic()
        self._in_flight = 0
        self._is_over = asyncio.Event()

    @property
    def _now(self) -> float:
        return time.monotonic() - self._began

    async def run(self) -> Result:
        """Do all of it. Raises what the target raises when a restart cannot be asked for."""
        sampler = await asyncio.create_subprocess_exec(*self._target.sampler(), stdout=asyncio.subprocess.PIPE)
        sampling = asyncio.create_task(self._sample(sampler))
        try:
            chosen = await self._available_kinds()
            self._began = time.monotonic()
            self._result.samples.clear()
            await self._load(chosen)
            self._result.duration_s = self._now
            self._client.close()
            self._result.is_vllm_idle = await self._becomes_idle()
            self._result.log_problems = await self._log_problems()
        finally:
            self._client.close()
            if sampler.returncode is None:
                sampler.terminate()
            await sampler.wait()
            sampling.cancel()
            await asyncio.gather(sampling, return_exceptions=True)
        self._result.retries = self._client.retries
        return self._result

    async def _load(self, chosen: list[Kind]) -> None:
        loops = [self._open_loop(chosen), *(self._stream(number) for number in range(self._plan.streams))]
        tasks = [asyncio.create_task(loop) for loop in (*loops, self._progress())]
        disturbing = asyncio.create_task(self._disturb())
        try:
            done, _ = await asyncio.wait([disturbing, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done:  # only the restarts may be through before the end
                task.result()
        finally:
            self._is_over.set()
            if not disturbing.done():
                disturbing.cancel()
            await asyncio.gather(disturbing, return_exceptions=True)
        await asyncio.gather(*tasks)

    # Sending

    async def _send(self, request: Request, how: Manner, begun: Callable[[], None] = lambda: None) -> Entry:
        """Send one request and enter what became of it. `begun` is called when its answer begins."""
        self._count += 1
        request_id = f"{self._prefix}{self._count}"
        started_s = self._now
        self._in_flight += 1
        try:
            seen = await self._client.send(request, how, request_id, begun)
        finally:
            self._in_flight -= 1
        verdict = judge(request.shape, request.expected, request_id, seen)
        return self._enter(request, request_id, started_s, seen, verdict)

    def _enter(self, request: Request, request_id: str, started_s: float, seen: Observation, verdict: Verdict) -> Entry:
        entry = Entry(request_id, request.kind, started_s, self._now, seen.status, verdict)
        self._result.entries.append(entry)
        if verdict.outcome is Outcome.LOST or verdict.faults:
            self._report(f"{request_id} ({request.kind}): {verdict.outcome.value} {verdict.reason} {verdict.faults}")
        return entry

    async def _available_kinds(self) -> list[Kind]:
        """The kinds that this host can answer, found by asking for each that not every host has."""
        every = kinds(self._plan.models)
        missing = set()
        for need in ("vision", "v1"):
            for kind in (kind for kind in every if kind.needs == need):
                entry = await self._send(kind.request(Random(0)), PATIENT)
                if entry.verdict.outcome is Outcome.REFUSED and entry.status in (404, 501):
                    missing.add(kind.name)
        self._result.entries.clear()
        self._prefix = f"soak-{secrets.token_hex(4)}-"
        self._result.left_out = sorted(missing)
        return [kind for kind in every if kind.name not in missing]

    async def _open_loop(self, chosen: list[Kind]) -> None:
        """Requests at random times with a steady rate, however long the answers take: bounded, then left out."""
        random = Random(f"load {self._plan.seed}")
        weights = [kind.weight for kind in chosen]
        sending: set[asyncio.Task[Entry]] = set()
        while not await self._is_over_in(random.expovariate(self._plan.rate)):
            request, how = random.choices(chosen, weights)[0].request(random), manner(random)
            if self._in_flight >= MAX_IN_FLIGHT:
                self._result.not_sent += 1
                continue
            task = asyncio.create_task(self._send(request, how))
            sending.add(task)
            for done in [task for task in sending if task.done()]:
                sending.remove(done)
                done.result()
        await asyncio.gather(*sending)

    async def _stream(self, number: int) -> None:
        """One long answer after the other; every third is left in the middle."""
        random = Random(f"stream {number} {self._plan.seed}")
        kind = long_kind(self._plan.models)
        while not await self._is_over_in(random.uniform(0, 2)):
            how = PATIENT
            if random.random() < 1 / 3:
                how = Manner(drop_after_bytes=random.randrange(1, 60_000), resets=random.random() < 0.5, reuses=False)
            await self._send(kind.request(random), how)

    async def _is_over_in(self, seconds: float) -> bool:
        """Wait; True as soon as the run is over."""
        try:
            await asyncio.wait_for(self._is_over.wait(), seconds)
        except asyncio.TimeoutError:
            return False
        return True

    # Restarts

    async def _disturb(self) -> None:
        """All restarts, each at its time; returns when the run has taken its time and all is well again."""
        duration_s, parts = self._plan.duration_s, len(self._plan.vllm_restarts) + 1
        if self._plan.restarts_adapter:
            await self._until(duration_s / 10)
            await self._restart_adapter()
        for number, way in enumerate(self._plan.vllm_restarts, start=1):
            await self._until(number * duration_s / parts)
            await self._restart_vllm(way)
        await self._until(max(duration_s, self._now + TAIL_S))

    async def _until(self, at_s: float) -> None:
        await asyncio.sleep(max(0.0, at_s - self._now))

    async def _restart_adapter(self) -> None:
        started_s = self._now
        self._report("restarting the adapter")
        await asyncio.to_thread(self._target.restart_adapter)
        entry = await self._send(probe_kind(self._plan.models).request(Random(0)), PATIENT)
        is_served = entry.verdict.outcome is Outcome.COMPLETED
        self._add(Disturbance("adapter: restart", started_s, None, self._now if is_served else None))

    async def _restart_vllm(self, way: str) -> None:
        """Restart it and ask for text until it was refused and then served; nobody helps it in between."""
        started_s, first_refused_s, recovered_s = self._now, None, None
        self._report(f"vLLM: {way}")
        witnesses = await self._start_witnesses()
        act = self._target.kill_vllm if way == "kill" else self._target.restart_vllm
        acting = asyncio.create_task(asyncio.to_thread(act))
        probe = probe_kind(self._plan.models)
        while recovered_s is None and self._now - started_s < RECOVERY_TIMEOUT_S:
            entry = await self._send(probe.request(Random(0)), PATIENT)
            if entry.verdict.outcome in TOLD and first_refused_s is None:
                first_refused_s = entry.ended_s
            elif entry.verdict.outcome is Outcome.COMPLETED and first_refused_s is not None:
                recovered_s = entry.ended_s
            await asyncio.sleep(PROBE_PAUSE_S)
        await asyncio.gather(acting, *witnesses)
        self._add(Disturbance(f"vLLM: {way}", started_s, first_refused_s, recovered_s))

    async def _start_witnesses(self) -> list[asyncio.Task[Entry]]:
        """Streams that vLLM has begun to answer and that last some seconds."""
        kind = witness_kind(self._plan.models)
        begun = [asyncio.Event() for _ in range(WITNESSES)]
        tasks = [
            asyncio.create_task(self._send(kind.request(Random(0)), Manner(reuses=False), event.set)) for event in begun
        ]
        # An answer that is over has begun; one that was refused never begins.
        while not all(event.is_set() or task.done() for event, task in zip(begun, tasks, strict=True)):
            await asyncio.sleep(0.05)
        return tasks

    def _add(self, one: Disturbance) -> None:
        self._result.disturbances.append(one)
        took = (
            "not served again"
            if one.recovered_s is None
            else f"served again after {one.recovered_s - one.started_s:.1f} s"
        )
        self._report(f"{one.what}: {took}")

    # Looking

    async def _sample(self, sampler: asyncio.subprocess.Process) -> None:
        assert sampler.stdout is not None
        async for line in sampler.stdout:
            self._result.samples.append(Sample(at_s=self._now, **json.loads(line)))

    async def _progress(self) -> None:
        while not await self._is_over_in(self._plan.progress_s):
            self._report(progress(self._result, self._in_flight))

    async def _becomes_idle(self) -> bool:
        """Whether vLLM has nothing left to do soon after the last client is gone."""
        since_s = self._now

        def looks_idle() -> bool:
            last = self._result.samples[-1] if self._result.samples else None
            return last is not None and last.at_s > since_s + 1 and last.running == 0 and last.waiting == 0

        return await _within(IDLE_TIMEOUT_S, looks_idle)

    async def _log_problems(self) -> list[str]:
        """What the adapter's log lacks; the journal may be a moment behind."""
        problems: list[str] = []
        deadline = time.monotonic() + LOG_TIMEOUT_S
        while True:
            lines = await asyncio.to_thread(self._target.log_lines)
            problems = log_discrepancies(lines, self._result.entries, self._prefix)
            if not problems or time.monotonic() > deadline:
                return problems
            await asyncio.sleep(2)


async def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.2)
    return True


def progress(result: Result, in_flight: int) -> str:
    """One line for whoever watches."""
    parts = [f"sent {len(result.entries) + in_flight}"]
    parts += [f"{outcome.value} {len(result.of([outcome]))}" for outcome in Outcome]
    parts.append(f"in flight {in_flight}")
    if result.samples:
        last = result.samples[-1]
        running = "down" if last.running is None else f"{last.running:.0f} running"
        parts.append(f"adapter {last.all_rss / MIB:.1f} MiB, {last.open_files} files, vLLM {running}")
    return " · ".join(parts)


def run(target: Target, plan: Plan, report: Callable[[str], None]) -> Result:
    """Run the soak to its end."""
    return asyncio.run(_run(target, plan, report))


async def _run(target: Target, plan: Plan, report: Callable[[str], None]) -> Result:
    return await Soak(target, plan, report).run()
