"""Lines of files and logs as they may be shown: without what may be a secret, and not too long."""

from __future__ import annotations

import re

WIDTH = 140
# Whatever stands behind such a word, and what looks like a token by itself, is nobody's business in a mail from cron.
_NAMED = re.compile(
    r"(?i)((?:token|secret|passw(?:or)?d|passphrase|api[-_]?key|credential|authorization|bearer)\w*[\"']?\s*[:=\s]\s*)\S.*"
)
# In the prose of a log "token" stands for much else: only what is given to it.
_GIVEN = re.compile(_NAMED.pattern.replace(r"[:=\s]", "[:=]"))
_FLAG = re.compile(r"(?i)(--[\w-]*(?:token|secret|passw(?:or)?d|api[-_]?key|credential)[\w-]*\s+|\bbearer\s+)\S+")
_LOOKS_SECRET = re.compile(r"\b(?:hf_|sk-|ghp_)\w{4,}|(?<=://)[^/\s@]+@")


def hidden(line: str, width: int = WIDTH) -> str:
    """The line without what may be a secret, and not too long."""
    return _shown(_NAMED.sub(r"\1[hidden]", line), width)


def hidden_in_prose(line: str, width: int = WIDTH) -> str:
    """The same for a line of a log."""
    return _shown(_GIVEN.sub(r"\1[hidden]", _FLAG.sub(r"\1[hidden]", line)), width)


def _shown(line: str, width: int) -> str:
    line = _LOOKS_SECRET.sub("[hidden]", line)
    return line if len(line) <= width else f"{line[: width - 1]}…"
