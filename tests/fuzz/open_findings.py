"""Findings that are not repaired yet. Each has a test in test_fuzz_findings.py that is expected to fail, strictly."""

from __future__ import annotations

_UNCHECKED = "answers.AnswerStream._plain_line passes text on without checking that it is JSON in UTF-8"

# kind, as `findings.kind_of` gives it -> what is wrong, and where
OPEN: dict[str, str] = {
    "finding: not JSON": _UNCHECKED,
}
