"""docs/on-call.md as an engineer at night reads it: the commands of each section. No I/O."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "on-call.md"
PROGRAMS = (
    "pyinfra ",
    "llm-phase",
    "systemctl ",
    "journalctl ",
    "cat ",
    "curl ",
    "uname ",
    "dkms ",
    "nvidia-smi",
    "rm ",
    "/usr/",
)


def commands_by_section(page: str) -> dict[str, list[str]]:
    """The commands below each `### ` heading, in order, each once: indented lines and what stands between backticks.

    Other words between backticks (settings, messages) begin with no program. An indented line may say behind two spaces what
    it is for; the explanation is not part of the command.
    """
    found: dict[str, list[str]] = {}
    for part in page.split("\n### ")[1:]:
        title, _, body = part.partition("\n")
        typed = [re.split(r"\s{2,}", line.strip())[0] for line in body.splitlines() if line.startswith("    ")]
        words = [*typed, *re.findall(r"`([^`\n]+)`", body)]
        found[title.strip()] = list(dict.fromkeys(word for word in words if word.startswith(PROGRAMS)))
    return found
