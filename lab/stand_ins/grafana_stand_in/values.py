"""Numbers as Grafana writes them, and its colours. Units: those that the product's dashboards use."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

# The dark theme: named colours, and `palette-classic` in its order.
COLOURS = {
    "green": "#73BF69", "orange": "#FF9830", "red": "#F2495C", "blue": "#5794F2", "yellow": "#FADE2A", "text": "#9FA7B3",
}  # fmt: skip
PALETTE = ("#73BF69", "#F2CC0C", "#8AB8FF", "#FF780A", "#F2495C", "#5794F2", "#B877D9", "#705DA0", "#37872D", "#FADE2A")
SUFFIXES = {"reqps": "req/s", "cps": "c/s", "celsius": "°C"}
STEPPED = {"bytes": (1024, ("B", "KiB", "MiB", "GiB", "TiB")), "Bps": (1000, ("B/s", "kB/s", "MB/s", "GB/s")),
           "watt": (1000, ("W", "kW")), "hertz": (1000, ("Hz", "kHz", "MHz", "GHz")),
           "short": (1000, ("", "K", "Mil", "Bil"))}  # fmt: skip
SECONDS = ((86400, "days"), (3600, "hours"), (60, "mins"), (1, "s"), (1e-3, "ms"), (1e-6, "µs"))


def written(value: float, unit: str, decimals: int | None = None) -> str:
    """A value with its unit."""
    if unit == "percentunit":
        return f"{_rounded(value * 100, decimals)}%"
    if unit == "s":
        size, name = next((one for one in SECONDS if abs(value) >= one[0]), (1, "s"))
        return f"{_rounded(value / size, decimals)} {name}"
    if unit in STEPPED:
        factor, names = STEPPED[unit]
        power = 0
        while abs(value) >= factor and power < len(names) - 1:
            value, power = value / factor, power + 1
        return f"{_rounded(value, decimals)} {names[power]}".strip()
    suffix = unit.partition(":")[2] if unit.startswith("suffix:") else SUFFIXES.get(unit, "")
    return f"{_rounded(value, decimals)} {suffix}".strip()


def colour_of(value: float | None, steps: Sequence[Mapping[str, Any]]) -> str:
    """The colour of the last step that the value has reached."""
    reached = "green"
    for step in steps:
        if step["value"] is None or (value is not None and value >= step["value"]):
            reached = step["color"]
    return COLOURS.get(reached, reached)


def mapped(value: float, mappings: Sequence[Mapping[str, Any]]) -> tuple[str, str] | None:
    """What is written instead of the value, and in which colour."""
    for mapping in mappings:
        found = mapping["options"].get(f"{value:g}") if mapping["type"] == "value" else None
        if found:
            return found["text"], COLOURS.get(found.get("color", ""), COLOURS["text"])
    return None


def line_colours(names: Sequence[str], overrides: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of each line: that of the first override whose expression finds its name, else the palette's next."""
    found = []
    for number, name in enumerate(names):
        colour = PALETTE[number % len(PALETTE)]
        for override in overrides:
            if re.search(override["matcher"]["options"].strip("/"), name):
                (said,) = [one["value"] for one in override["properties"] if one["id"] == "color"]
                colour = COLOURS.get(said["fixedColor"], said["fixedColor"])
                break
        found.append(colour)
    return found


def _rounded(value: float, decimals: int | None) -> str:
    if decimals is not None:
        return f"{value:.{decimals}f}"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
