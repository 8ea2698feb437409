"""What a PromQL expression reads, as far as a test must know: names of metrics, and labels that it selects by. No I/O."""

from __future__ import annotations

import re

# Words of the language itself that are no names of metrics, and not followed by a parenthesis.
WORDS = {
    "and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset", "inf", "nan", "start",
    "end", "atan2",
}  # fmt: skip
NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
OF_LABELS = r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)"
STRING = r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\''


def without_variables(expression: str) -> str:
    """The expression with something in the place of a dashboard's variables: five minutes for a time, anything for a value."""
    timed = re.sub(r"\$\{?__(rate_interval|interval|range)\}?", "5m", expression)
    return re.sub(r"\$\{\w+(:\w+)?\}|\$\w+", ".*", timed)


def metric_names(expression: str) -> set[str]:
    """Names of the metrics that it reads."""
    bare = re.sub(STRING, '""', expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", re.sub(OF_LABELS, " ", bare))
    bare = re.sub(r"\boffset\s+\w+", " ", bare)
    found = re.findall(rf"(?<![\w:.])({NAME})(?![\w:])(?!\s*\()", bare)
    return {name for name in found if name.lower() not in WORDS}


def selected_labels(expression: str) -> set[tuple[str, str]]:
    """(metric, label) of everything that stands in braces behind a name."""
    selectors = re.findall(rf"({NAME})\s*\{{((?:{STRING}|[^}}])*)\}}", expression)
    return {
        (name, label)
        for name, inside in selectors
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", re.sub(STRING, '""', inside))
    }
