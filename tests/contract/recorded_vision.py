"""A server that answers as a real vLLM with the lab's miniature vision model did, and asks the real one where there is one.

It knows only the requests that were recorded: one that the adapter would word in another way is answered 599. With a real engine
behind it every answer is compared with the recorded one; APPROVE=1 records anew.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.contract.recorded import RECORDINGS
from tests.contract.stand_in_server import Received, StandInServer, head

FILE = RECORDINGS / "vllm-0.32.0-cpu-vision.jsonl"
APPROVE = os.environ.get("APPROVE") == "1"
_CHANGES = (
    (re.compile(r'"(id|request_id)": ?"[a-z]+-[0-9a-f]+"'), '"id":"<id>"'),
    (re.compile(r'"created": ?[0-9]+'), '"created":"<time>"'),
    (re.compile(r'"root": ?"[^"]+"'), '"root":"<directory>"'),
    (re.compile(r'"system_fingerprint": ?"[^"]+"'), '"system_fingerprint":"<build>"'),
    (re.compile(r'"([a-z_]+_ms|tokens_per_second)": ?[0-9.e-]+'), r'"\1":"<measured>"'),
    (re.compile(r"0x[0-9a-f]+"), "<address>"),
)
Row = dict[str, Any]


def said_by(row: Row) -> str:
    """An answer without what differs between two runs. Of a stream its text, end and counts: a busy vLLM sends tokens together."""
    if not row["content_type"].startswith("text/event-stream"):
        return without_times(row["body"])
    frames = [json.loads(line[6:]) for line in row["body"].splitlines() if line.startswith("data: {")]
    choices = [choice for frame in frames for choice in frame["choices"]]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    ends = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    usage: Row = next((frame["usage"] for frame in reversed(frames) if frame.get("usage")), {})
    return json.dumps([text, ends, usage.get("prompt_tokens"), usage.get("completion_tokens"), row["body"][-16:]])


def without_times(text: str) -> str:
    """An answer without what differs between two runs."""
    for pattern, instead in _CHANGES:
        text = pattern.sub(instead, text)
    return text


class RecordedVision(StandInServer):
    """See the module. `unlike` has a line for each answer of the real vLLM that is not the recorded one."""

    def __init__(self, real_url: str = "", file: Path = FILE) -> None:
        super().__init__()
        self._real_url = real_url
        self._file = file
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        self._known = {_key(row["request"]): row for row in map(json.loads, lines)}
        self._seen: dict[str, Row] = {}
        self.unlike: list[str] = []

    async def respond(self, request: Received, writer: asyncio.StreamWriter, is_first: bool) -> bool:
        asked: Row = {"method": request.method, "path": request.path}
        if request.body:
            asked["body"] = request.json
        known = self._known.get(_key(asked))
        row = await asyncio.to_thread(self._ask, asked, request.body) if self._real_url else known
        if row is None:
            row = {"status": 599, "content_type": "application/json", "body": json.dumps({"not recorded": asked})}
        elif self._real_url:
            self._compare(asked, row, known)
        body = row["body"].encode()
        writer.write(head(row["status"], row["content_type"], f"content-length: {len(body)}") + body)
        await writer.drain()
        return True

    def approve(self) -> None:
        """Have what the real vLLM answered be what is recorded."""
        rows = sorted(self._seen.values(), key=lambda row: _key(row["request"]))
        self._file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def _ask(self, asked: Row, body: bytes) -> Row:
        request = urllib.request.Request(f"{self._real_url}{asked['path']}", body or None, method=asked["method"])
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=240) as answer:
                status, kind, said = answer.status, answer.headers.get("content-type", ""), answer.read()
        except urllib.error.HTTPError as error:
            status, kind, said = error.code, error.headers.get("content-type", ""), error.read()
        return {"request": asked, "status": status, "content_type": kind, "body": said.decode()}

    def _compare(self, asked: Row, row: Row, known: Row | None) -> None:
        self._seen[_key(asked)] = row
        was, now = ((one["status"], said_by(one)) if one else None for one in (known, row))
        if was != now:
            self.unlike.append(f"{_key(asked)[:300]}\n  recorded: {was}\n  answered: {now}")


def _key(asked: Row) -> str:
    return json.dumps(asked, sort_keys=True)
