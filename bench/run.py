"""One run: starts everything, measures in rounds with the targets taking turns, keeps every sample."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import environment, facts
from bench.calibration import Endpoint, WrongAnswer
from bench.load import Stuck, quiet
from bench.measures import MEMORY_MEASURES, ROUND_MEASURES, Effort, Figures, Measure, Subject, measured
from bench.targets import TARGETS, Absent, Place, Running, Target, free_port, start_mock, started
from lab.locked_venv import CannotInstall
from lab.progress import Report


@dataclass(frozen=True)
class Choice:
    """What a run takes part in."""

    targets: Sequence[str]
    measures: Sequence[str]
    effort: Effort


@dataclass
class Results:
    """Facts, and one sample for each measurement."""

    facts: dict[str, Any]
    samples: list[dict[str, Any]] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """As it is kept."""
        return {**self.facts, "absent": self.absent, "samples": self.samples}


def split_cores(available: Sequence[int]) -> tuple[frozenset[int], frozenset[int]]:
    """The cores of load and upstream, and those of the target.

    The target has the last one to itself; load and upstream share what is left, two at most. With one core all share it.
    """
    if len(available) == 1:
        return frozenset(available), frozenset(available)
    return frozenset(available[:-1][:2]), frozenset(available[-1:])


class Run:
    """See the module."""

    def __init__(self, choice: Choice, report: Report) -> None:
        self._choice = choice
        self._report = report
        self._load_cores, self._cores = split_cores(sorted(os.sched_getaffinity(0)))
        self._directory = Path(tempfile.mkdtemp(prefix="bench-"))
        self._running: dict[str, tuple[Running, Endpoint]] = {}
        nginx = ""
        if "nginx" in choice.targets:
            try:
                nginx = environment.nginx(report)
            except CannotInstall as error:
                report(str(error))
        self.results = Results(facts.gather(sorted(self._load_cores), sorted(self._cores), nginx))

    def do(self) -> Results:
        """Measure.

        :raises Absent: the mock upstream does not start.
        """
        started_s, affinity = time.monotonic(), os.sched_getaffinity(0)
        os.sched_setaffinity(0, self._load_cores)
        try:
            with ExitStack() as stack:
                mock, mock_port = start_mock(self._directory / "mock", self._load_cores)
                stack.callback(mock.stop)
                loop = new_event_loop()
                stack.callback(loop.close)
                self._rounds(loop, mock, mock_port)
                self._memory(loop, mock, mock_port)
        finally:
            os.sched_setaffinity(0, affinity)
            shutil.rmtree(self._directory, ignore_errors=True)
        self.results.facts["seconds"] = round(time.monotonic() - started_s)
        self.results.facts["effort"] = {
            name: dict(value) if isinstance(value, dict) else value for name, value in vars(self._choice.effort).items()
        }
        return self.results

    def _chosen(self, measures: Sequence[Measure]) -> list[Measure]:
        return [measure for measure in measures if measure.name in self._choice.measures]

    def _targets(self) -> list[Target]:
        return [t for t in TARGETS if t.name in self._choice.targets and t.name not in self.results.absent]

    def _place(self, target: Target, mock_port: int, purpose: str) -> Place:
        directory = self._directory / f"{target.name}-{purpose}"
        return Place(directory, mock_port, target.endpoint(free_port()), self._cores, self._report)

    def _rounds(self, loop: asyncio.AbstractEventLoop, mock: Running, mock_port: int) -> None:
        measures = self._chosen(ROUND_MEASURES)
        if not measures:
            return
        with ExitStack() as stack:
            for target in self._targets():
                if target.command is None:
                    continue
                place = self._place(target, mock_port, "rounds")
                self._report(f"starting {target.title}")
                try:
                    running = stack.enter_context(started(target, place))
                except Absent as error:
                    self._absent(target, str(error))
                    continue
                running.pause(True)
                self._running[target.name] = running, place.endpoint
            for number in range(1, self._choice.effort.rounds + 1):
                for measure in measures:
                    self._report(f"round {number} of {self._choice.effort.rounds}: {measure.title}")
                    for target in self._targets():
                        self._sample(loop, measure, target, number, mock, mock_port)

    def _sample(
        self,
        loop: asyncio.AbstractEventLoop,
        measure: Measure,
        target: Target,
        number: int,
        mock: Running,
        mock_port: int,
    ) -> None:
        running, endpoint = self._running.get(target.name, (None, target.endpoint(mock_port)))
        subject = Subject(endpoint, running, mock, self._choice.effort, is_adapter=target.name == "adapter")
        if running is not None:
            running.pause(False)
        try:
            figures: Figures = loop.run_until_complete(measured(measure, subject))
            if running is not None and not loop.run_until_complete(quiet(running.cpu_ns)):
                raise Stuck("it was still busy two minutes after the load had ended")
        except (WrongAnswer, Stuck, OSError) as error:
            figures = {"failed": str(error)}
            self._report(f"  {target.title}: {measure.name} failed: {error}")
        finally:
            if running is not None:
                running.pause(True)
        self.results.samples.append(
            {"measure": measure.name, "target": target.name, "round": number, "figures": figures}
        )

    def _memory(self, loop: asyncio.AbstractEventLoop, mock: Running, mock_port: int) -> None:
        measures = self._chosen(MEMORY_MEASURES)
        for target in self._targets():
            if target.command is None or not measures:
                continue
            place = self._place(target, mock_port, "memory")
            try:
                with started(target, place) as running:
                    self._running[target.name] = running, place.endpoint
                    for measure in measures:
                        self._report(f"{measure.title}: {target.title}")
                        self._sample(loop, measure, target, 1, mock, mock_port)
            except Absent as error:
                self._absent(target, str(error))

    def _absent(self, target: Target, reason: str) -> None:
        self._report(f"{target.title} is absent: {reason}")
        self.results.absent[target.name] = reason


def new_event_loop() -> asyncio.AbstractEventLoop:
    """The loop of the load generator."""
    import uvloop  # not at the top: options and tables work without it

    return uvloop.new_event_loop()
