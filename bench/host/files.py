"""The results as files: JSON with every request, CSV with a line for each cell, the page, the picture."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.host.chart import svg
from bench.host.page import page
from bench.host.summary import METRICS, SHARES
from bench.readable_json import dumped

SCHEMA = 1
COLUMNS = (
    "target", "model", "workload", "concurrency", "stream", "requests", "ok", "cut_off", "errors", "uncounted", "wall_s",
    "requests_per_s", "tokens_per_s", "prompt_tokens", "answer_tokens", "prefix_hit_rate",
    *(f"{metric}_p{share}" for metric in METRICS for share in SHARES), "is_partial", "is_unlike",
)  # fmt: skip


def table(results: Mapping[str, Any]) -> str:
    """CSV; what is not known is empty, errors are `kind=count` with spaces between."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in results["rows"]:
        more = {
            "model": results["targets"][row["target"]]["identity"]["name"],
            "errors": " ".join(f"{kind}={count}" for kind, count in row["errors"].items()),
            "is_unlike": results["is_unlike"],
        }
        writer.writerow({name: (row | more)[name] for name in COLUMNS})
    return out.getvalue()


def write(results: Mapping[str, Any], directory: Path, name: str) -> list[Path]:
    """Write all four; the paths. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    found = []
    for suffix, text in (
        ("json", dumped(results, "answers")),  # a line for each request
        ("csv", table(results)),
        ("html", page(results)),
        ("svg", svg(results)),
    ):
        path = directory / f"{name}.{suffix}"
        path.write_text(text, encoding="utf-8")
        found.append(path)
    return found


def read(path: Path) -> dict[str, Any]:
    """The results of an earlier run.

    :raises ValueError: the file is none of ours. :raises OSError: it cannot be read.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    if not isinstance(found, dict) or found.get("schema") != SCHEMA or "answers" not in found:
        raise ValueError(f"{path} was not written by this program (schema {SCHEMA})")
    return found
