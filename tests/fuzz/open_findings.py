"""Findings that are not repaired yet. Each has a test in test_fuzz_findings.py that is expected to fail, strictly."""

from __future__ import annotations

_SPLITTING = "routes._redirect puts line breaks of an unescaped path into Location"
_UPGRADE = "upstream._Connection.data_received does not expect 101 (HttpParserUpgrade is no HttpParserError)"
_UNCHECKED = "answers.AnswerStream._plain_line passes text on without checking that it is JSON in UTF-8"

# kind, as `findings.kind_of` gives it -> what is wrong, and where
OPEN: dict[str, str] = {
    "finding: a header that a client made up": _SPLITTING,
    "finding: an answer is not HTTP": _SPLITTING,
    "finding: bytes after the last answer": _SPLITTING,
    "HttpParserUpgrade in data_received of upstream.py": _UPGRADE,
    "finding: the adapter wrote to stderr, httptools.parser.errors.HttpParserUpgrade 69": _UPGRADE,
    "finding: not JSON": _UNCHECKED,
}
