"""What a run promises, and whether it was kept. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tests.soak.accounting import TOLD, Outcome
from tests.soak.memory import JUDGED_FROM_S, MIB, RULE, Growth, growths
from tests.soak.soak import Result

SHOWN = 20


@dataclass(frozen=True)
class Promise:
    """A sentence; kept, broken, or not judged (None); and what it rests on."""

    sentence: str
    is_kept: bool | None
    detail: str


def promises(result: Result) -> list[Promise]:
    """All of them."""
    lost = [f"{one.request_id} ({one.kind}): {one.verdict.reason}" for one in result.of([Outcome.LOST])]
    faults = [f"{one.request_id} ({one.kind}): {text}" for one in result.entries for text in one.verdict.faults]
    silent = [f"{one.request_id} ({one.kind}): {one.verdict.reason}" for one in result.without_cause]
    made = {outcome: len(result.of([outcome])) for outcome in (Outcome.COMPLETED, Outcome.DROPPED)}
    told, broken_off = len(result.of(TOLD)), len(result.of([Outcome.ERROR_LINE]))
    ways = result.plan.vllm_restarts
    return [
        _none("No request is lost", lost),
        _none("Every answer has its request's id, and a 503 says when to come again", faults),
        _none("Only while something is restarted is a request told that it cannot be served", silent),
        _none("The adapter's log has one line for each request, with the status its client saw", result.log_problems),
        Promise(
            "It was put to the test: clients were served and went away, some were told, some in the middle of a stream",
            all(made.values()) and (told > 0 or not ways) and (broken_off > 0 or "kill" not in ways),
            f"{made[Outcome.COMPLETED]} completed, {made[Outcome.DROPPED]} dropped, {told} told, "
            f"{broken_off} of these in a stream",
        ),
        _recovery(result),
        _one_process(result),
        _flat(result),
        Promise(
            "vLLM has nothing left to do when the clients are gone",
            result.is_vllm_idle,
            "0 running, 0 waiting" if result.is_vllm_idle else "requests are left, or its metrics do not answer",
        ),
    ]


def are_kept(result: Result) -> bool:
    """Whether none is broken."""
    return all(promise.is_kept is not False for promise in promises(result))


def _none(sentence: str, found: list[str]) -> Promise:
    more = f" … and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return Promise(sentence, not found, "; ".join(found[:SHOWN]) + more if found else "without exception")


def _recovery(result: Result) -> Promise:
    details, is_kept = [], len(result.disturbances) == len(result.plan.vllm_restarts) + result.plan.restarts_adapter
    for one in result.disturbances:
        is_kept = is_kept and one.recovered_s is not None
        was_down = one.first_refused_s is not None
        served = (
            "never served again" if one.recovered_s is None else f"served after {one.recovered_s - one.started_s:.1f} s"
        )
        details.append(f"{one.what}: {served if was_down or one.what.startswith('adapter') else 'was never down'}")
    return Promise("After each restart service comes back by itself", is_kept, "; ".join(details) or "no restarts")


def _one_process(result: Result) -> Promise:
    pids = {sample.main_pid for sample in result.samples} - {0}
    text = "The adapter does not end but where it is restarted"
    return Promise(text, len(pids) <= 1 + result.plan.restarts_adapter, f"main processes seen: {len(pids)}")


def _flat(result: Result) -> Promise:
    found = growths(result.samples, result.duration_s)
    if result.duration_s < JUDGED_FROM_S:
        return Promise(
            "Memory and open files are flat", None, f"a run of {result.duration_s:.0f} s is too short to say"
        )
    if not found:
        return Promise("Memory and open files are flat", False, "not measured: no samples")
    details = "; ".join(map(_growth, found))
    return Promise("Memory and open files are flat", all(one.is_flat for one in found), f"{details} ({RULE})")


def _growth(one: Growth) -> str:
    if one.name == "open_files":
        return f"open files {one.early:.0f} → {one.late:.0f}"
    names = {"main_rss": "main process", "all_rss": "all processes"}
    return f"{names[one.name]} {one.early / MIB:.1f} → {one.late / MIB:.1f} MiB"
