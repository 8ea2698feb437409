"""Findings that are not repaired yet. Each has a test in test_fuzz_findings.py that is expected to fail, strictly."""

from __future__ import annotations

# kind, as `findings.kind_of` gives it -> what is wrong, and where
OPEN: dict[str, str] = {}
