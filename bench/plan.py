"""What the mock upstream is asked to do. The request's prompt says it, because a prompt passes through every proxy."""

from __future__ import annotations

from dataclasses import dataclass

BURST = "burst"  # everything at once
SPREAD = "spread"  # one token an interval, each stream at its own phase
STEPS = "steps"  # one token an interval, all streams together, as an engine steps its batch
SILENT = "silent"  # the first token, then nothing more
PACES = (BURST, SPREAD, STEPS, SILENT)
_MARK = "bench/"


class BadPlan(ValueError):
    """A prompt without a plan in it."""


@dataclass(frozen=True)
class Plan:
    """One answer: so many tokens, in this manner."""

    tokens: int
    pace: str = BURST
    interval_ms: int = 0

    @property
    def prompt(self) -> str:
        """The prompt that asks for it."""
        return f"Please tell me about the harbour. {_MARK}{self.tokens}/{self.pace}/{self.interval_ms}/"


def plan_in(body: bytes) -> bytes:
    """The part of a request's body that holds the plan: cheap, and good as a key.

    :raises BadPlan: there is none.
    """
    start = body.find(_MARK.encode())
    if start < 0:
        raise BadPlan("the prompt has no plan")
    return body[start : start + 48].split(b'"', 1)[0]


def parse(found: bytes) -> Plan:
    """The plan in what `plan_in` found.

    :raises BadPlan: it is not one.
    """
    fields = found.decode("ascii", "replace").split("/")
    if len(fields) < 5 or not fields[1].isdigit() or fields[2] not in PACES or not fields[3].isdigit():
        raise BadPlan(f"{found!r} is not a plan")
    plan = Plan(int(fields[1]), fields[2], int(fields[3]))
    if plan.tokens < 1 or (plan.pace in (SPREAD, STEPS)) != (plan.interval_ms > 0):
        raise BadPlan(f"{found!r} is not a plan")
    return plan
