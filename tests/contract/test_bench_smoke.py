"""The benchmark itself works: it measures the upstream directly and through a real adapter. No time is judged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 300


def test_a_quick_run_gets_right_answers_and_leaves_figures_table_and_plot(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "bench", "--here", "--quick", "--only", "adapter", "--output", str(tmp_path),
        "--measures", "short,short-stream,paced,burst,first-32,idle",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    (raw,) = tmp_path.glob("*.json")
    results = json.loads(raw.read_text(encoding="utf-8"))
    figures = {(one["target"], one["measure"]): one["figures"] for one in results["samples"]}

    assert results["absent"] == {}
    assert [one for one in figures.values() if "failed" in one or one.get("wrong")] == []
    for measure in ("short", "short-stream", "paced", "burst"):
        assert figures["direct", measure]["units"] > 0
        assert figures["adapter", measure]["units"] > 0
        assert figures["adapter", measure]["cpu_us"] > 0
    assert figures["adapter", "first-32"]["p99_ms"] >= figures["adapter", "first-32"]["p50_ms"] > 0
    assert figures["adapter", "idle"]["memory_mib"] > 0
    assert "CPU per streamed token, paced" in (tmp_path / "latest.md").read_text(encoding="utf-8")
    assert (tmp_path / "latest.svg").read_text(encoding="utf-8").startswith("<svg")


def test_a_target_that_is_not_installed_is_reported_with_the_reason(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "bench", "--here", "--quick", "--only", "litellm", "--output", str(tmp_path),
        "--measures", "first-1",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    assert "LiteLLM proxy is absent: not installed in" in (tmp_path / "latest.md").read_text(encoding="utf-8")
