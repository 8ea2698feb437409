"""What is told of a verification: lines for people, one line for monitoring, JUnit XML, and a page. Pure."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tests.verify.records import Check, HostResult, Verdict

# As the guidelines for monitoring plugins have it.
STATUS: dict[Verdict, int] = {"ok": 0, "warning": 1, "critical": 2, "unknown": 3}
_WORSE: tuple[Verdict, ...] = ("ok", "warning", "unknown", "critical")
MOST = 200  # characters of a reason in the line for monitoring


@dataclass(frozen=True)
class Run:
    """One verification of an inventory. `extent`: "quick" or "full"; `when` with its time zone; `checkout`: its commit."""

    inventory: str
    extent: str
    window: str
    when: str
    seconds: float
    checkout: str
    hosts: Sequence[HostResult]

    @property
    def worst(self) -> Verdict:
        """Of all hosts; what is known to be wrong is worse than what is not known. Without a host nothing is known."""
        return max((one.verdict for one in self.hosts), key=_WORSE.index, default="unknown")

    @property
    def headline(self) -> str:
        good = sum(one.verdict == "ok" for one in self.hosts)
        return f"{good} of {len(self.hosts)} host{'s' * (len(self.hosts) != 1)} as promised"


def in_words(one: HostResult) -> str:
    """A host for people: how many of its sentences are true, then each that is not, with its reason."""
    counts = f"{one.count('passed')} true, {one.count('failed')} not, {one.count('skipped')} not asked"
    lines = [f"{one.host}: {one.verdict} ({counts}, {one.seconds:.1f} s)"]
    lines += [_indented(one.unknown_because)] if one.unknown_because else []
    for check in one.failed:
        lines += [f"  {'warning' if check.is_warning else 'FAILED'}  {check.sentence}", _indented(check.reason, 10)]
    return "\n".join(lines)


def _indented(text: str, width: int = 2) -> str:
    return "\n".join(" " * width + line for line in text.splitlines())


def for_monitoring(run: Run) -> tuple[str, int]:
    """One line as plugins of monitoring print it, with figures behind the bar, and the exit status: 0, 1, 2 or 3."""
    reasons = []
    for one in run.hosts:
        if failed := one.failed:
            more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
            reasons.append(f"{one.host}: {failed[0].sentence}: NOT SO{more}")
        elif one.verdict == "unknown":
            reasons.append(one.unknown_because or f"{one.host}: nothing was asked")
    passed, failed_count = (sum(one.count(outcome) for one in run.hosts) for outcome in ("passed", "failed"))
    said = "; ".join(" ".join(reason.split())[:MOST] for reason in reasons).replace("|", "/")
    figures = f"hosts={len(run.hosts)} passed={passed} failed={failed_count} time={run.seconds:.1f}s"
    return f"VERIFY {run.worst.upper()} - {run.headline}{': ' + said if said else ''} | {figures}", STATUS[run.worst]


def junit(run: Run) -> str:
    """JUnit XML: a suite for each host, a case for each check; what nobody can tell is an error, what is not so a failure."""
    root = ElementTree.Element("testsuites", name="verify", time=f"{run.seconds:.3f}")
    for one in run.hosts:
        suite = ElementTree.SubElement(root, "testsuite", name=clean(one.host), time=f"{one.seconds:.3f}")
        properties = ElementTree.SubElement(suite, "properties")
        for name, value in {"inventory": run.inventory, "checkout": run.checkout, **one.about}.items():
            ElementTree.SubElement(properties, "property", name=clean(name), value=clean(value))
        counts = {"failure": 0, "error": 0, "skipped": 0}
        cases = [*one.checks]
        if one.trouble:
            cases.append(Check("Verification", "The host could be verified", "failed", one.trouble, is_unknown=True))
        for check in cases:
            case = ElementTree.SubElement(
                suite, "testcase",
                classname=clean(f"{one.host}.{check.topic}"), name=clean(check.sentence), time=f"{check.seconds:.3f}",
            )  # fmt: skip
            if check.outcome != "passed":
                kind = "skipped" if check.outcome == "skipped" else "error" if check.is_unknown else "failure"
                counts[kind] += 1
                first, *_ = check.reason.splitlines() or [""]
                ElementTree.SubElement(case, kind, message=clean(first)).text = clean(check.reason)
        suite.attrib |= {
            "tests": str(len(cases)), "failures": str(counts["failure"]),
            "errors": str(counts["error"]), "skipped": str(counts["skipped"]), "timestamp": run.when,
        }  # fmt: skip
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def clean(text: str) -> str:
    """Without the characters that XML has no way to write: a journal may hold colours and nulls."""
    return "".join(
        one if one in "\t\n\r" or 0x20 <= ord(one) < 0xD800 or 0xE000 <= ord(one) < 0xFFFE or ord(one) > 0xFFFF else "�"
        for one in text
    )


def page(run: Run) -> str:
    """One HTML file that needs no other: a line for each host, then what is not so, then every sentence by its topic."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    hosts = [
        {
            "host": one.host, "verdict": one.verdict, "about": one.about, "seconds": one.seconds, "count": one.count,
            "unknown_because": one.unknown_because, "failed": one.failed, "topics": _by_topic(one),
        }
        for one in run.hosts
    ]  # fmt: skip
    return environment.get_template("report.html").render(
        {
            "hosts": hosts, "worst": run.worst, "headline": run.headline, "when": run.when, "inventory": run.inventory,
            "extent": run.extent, "window": run.window, "seconds": run.seconds, "checkout": run.checkout,
        }
    )  # fmt: skip


@dataclass(frozen=True)
class Topic:
    """The sentences of one topic. `summary` is what a person reads before they open it."""

    name: str
    checks: Sequence[Check]

    @property
    def verdict(self) -> str:
        """As of a host; "" when nothing of it was asked."""
        bad = [check for check in self.checks if check.outcome == "failed"]
        if any(not check.is_warning and not check.is_unknown for check in bad):
            return "critical"
        if bad:
            return "unknown" if any(check.is_unknown for check in bad) else "warning"
        return "ok" if any(check.outcome == "passed" for check in self.checks) else ""

    @property
    def summary(self) -> str:
        counts = {
            "true": sum(check.outcome == "passed" for check in self.checks),
            "NOT true": sum(check.outcome == "failed" and not check.is_unknown for check in self.checks),
            "unknown": sum(check.is_unknown for check in self.checks),
            "not asked": sum(check.outcome == "skipped" for check in self.checks),
        }
        return ", ".join(f"{count} {word}" for word, count in counts.items() if count)


def _by_topic(one: HostResult) -> list[Topic]:
    """Topics by name; those of which nothing was asked come last."""
    topics: dict[str, list[Check]] = {}
    for check in one.checks:
        topics.setdefault(check.topic, []).append(check)
    found = [Topic(name, checks) for name, checks in topics.items()]
    return sorted(found, key=lambda topic: (not topic.verdict, topic.name.casefold()))
