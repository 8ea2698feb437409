"""The results as Markdown. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.figures import Spread, digits
from bench.summary import ADAPTER, DIRECT, TITLES, Row, Samples, goals, is_limited_by_load, remarks, rows


def markdown(results: Mapping[str, Any]) -> str:
    """The whole page."""
    samples: Samples = results["samples"]
    found = rows(samples)
    shown = [target for target in TITLES if any(target in row.spreads for row in found)]
    parts = [
        "# Results\n",
        "Made by `make bench`; raw samples beside this file, method and limits in [the manual](../README.md).\n",
        _facts(results),
        "## What was to be reached\n",
        _goals(samples),
        "## Figures\n",
        "Median of the rounds, lowest and highest in brackets. CPU is that of the target's processes. First tokens: what "
        "the target adds to the direct run of its round; the direct column has the whole time.\n",
        _figures(samples, found, shown),
        "## Compared with this adapter\n",
        "Each target's figure divided by the adapter's of the same round: median, lowest and highest.\n",
        _ratios(found, [target for target in shown if target not in (ADAPTER, DIRECT)]),
        "## The mock upstream and the load\n",
        _ceiling(samples),
    ]
    notes = remarks(samples) + [f"{TITLES[name]} is absent: {_short(why)}" for name, why in results["absent"].items()]
    if notes:
        parts += ["## Remarks\n", "\n".join(f"- {note}" for note in notes) + "\n"]
    return "\n".join(part for part in parts if part)


# The rows of the summary.
_SUMMARY = (
    "short.cpu_us", "short-stream.cpu_us", "paced.cpu_us", "burst.cpu_us", "first-1.p50_ms", "first-32.p50_ms",
    "first-128.p50_ms", "joining-128.p50_ms", "short.per_s", "idle.memory_per_1000_streams_mib",
)  # fmt: skip


def summary(results: Mapping[str, Any]) -> str:
    """The few figures that the project's README shows: medians, and how many times the adapter's they are."""
    found = {row.metric.key: row for row in rows(results["samples"])}
    shown = [target for target in TITLES if any(target in row.spreads for row in found.values())]
    lines = []
    for row in (found[key] for key in _SUMMARY if key in found):
        cells = []
        for target in shown:
            one, ratio = row.spreads.get(target), row.ratios.get(target)
            times = f" ({digits(ratio.median)}×)" if ratio is not None else ""
            cells.append(f"{digits(one.median)}{times}" if one is not None else "–")
        lines.append(f"| {row.metric.title}, {row.metric.unit} | {' | '.join(cells)} |")
    machine = results["machine"]
    text = (
        f"{results['date'][:10]}, {machine['cpu']}, {machine['cores']} cores, commit {results['commit'] or 'unknown'}."
    )
    return f"{_table(['', *(TITLES[target] for target in shown)], lines)}\n{text}\n"


def cell(one: Spread | None, mark: str = "") -> str:
    """A median with its spread."""
    if one is None:
        return "–"
    if one.count == 1:
        return f"{mark}{digits(one.median)}"
    return f"{mark}{digits(one.median)} ({digits(one.low)}–{digits(one.high)})"


def _facts(results: Mapping[str, Any]) -> str:
    machine, versions = results["machine"], results["versions"]
    kind = "virtual machine" if machine["is_virtual"] else "machine"
    load = ", ".join(f"{value:.2f}" for value in machine["load_average_before"])
    busy_s, stolen_s = (
        sum(sample["figures"].get(name, 0) for sample in results["samples"]) / 100
        for name in ("machine_busy_ticks", "stolen_ticks")
    )
    lines = [
        f"- {results['date']}, commit {results['commit'] or 'unknown'}, {results['effort']['rounds']} rounds, "
        f"{results['seconds']} s",
        f"- {kind}: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, Linux {machine['kernel']}",
        f"- load average before: {load}; while measuring the hypervisor took {stolen_s:.1f} s, all processes {busy_s:.0f} s",
        f"- the target on core {_list(machine['cores_of_the_target'])}, mock upstream and load generator on core "
        f"{_list(machine['cores_of_load_and_upstream'])}",
        "- " + ", ".join(f"{name} {version}" for name, version in versions.items() if version),
    ]
    return "\n".join(lines) + "\n"


def _goals(samples: Samples) -> str:
    lines = [
        f"| {goal.title} | {goal.wanted} | {cell(goal.found)} | {'yes' if goal.is_reached else '**no**'} |"
        for goal in goals(samples)
    ]
    return _table(["", "wanted", "found", "reached"], lines) if lines else "Nothing of it was measured.\n"


def _figures(samples: Samples, found: Sequence[Row], shown: Sequence[str]) -> str:
    lines = []
    for row in found:
        cells = [
            cell(row.spreads.get(target), "≥ " if is_limited_by_load(samples, target, row.metric) else "")
            for target in shown
        ]
        lines.append(f"| {row.metric.title}, {row.metric.unit} | {' | '.join(cells)} |")
    return _table(["", *(TITLES[target] for target in shown)], lines)


def _ratios(found: Sequence[Row], shown: Sequence[str]) -> str:
    lines = [
        f"| {row.metric.title} | {' | '.join(cell(row.ratios.get(target)) for target in shown)} |"
        for row in found
        if row.ratios
    ]
    return _table(["", *(TITLES[target] for target in shown)], lines) if lines else ""


def _ceiling(samples: Samples) -> str:
    lines = []
    for sample in samples:
        figures = sample["figures"]
        if sample["target"] == DIRECT and "upstream_busy" in figures:
            lines.append(
                f"| {sample['measure']} | {sample['round']} | {digits(figures['per_s'])} | "
                f"{digits(figures['upstream_cpu_us'])} | {figures['upstream_busy']:.0%} | "
                f"{figures['generator_busy']:.0%} |"
            )
    if not lines:
        return ""
    text = (
        "The direct run is the ceiling: nothing behind this mock and before this load generator can be faster. They share "
        "a core where the machine has two. `≥` marks rates that they limit, not the target: its core was not full.\n"
    )
    head = ["direct run", "round", "units per second", "CPU of the mock per unit, µs", "mock", "load generator"]
    return text + "\n" + _table(head, lines)


def _table(head: Sequence[str], lines: Sequence[str]) -> str:
    rule = "|".join([" --- ", *[" ---: "] * (len(head) - 1)])
    return "\n".join([f"| {' | '.join(head)} |", f"|{rule}|", *lines]) + "\n"


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _short(reason: str) -> str:
    return " ".join(reason.split())[-400:].replace("|", "\\|")
