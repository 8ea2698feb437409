"""The benchmark for operators, briefly, on deployed hosts: the adapter, vLLM itself through ssh, and an Ollama of Phase 1.

LLM_BENCH_HOST_KEEP names a directory that gets what the run wrote.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.host.__main__ import main
from lab import Host

pytestmark = pytest.mark.lab

# The lab's model answers in ten words, and its tokens are a few letters long.
SHORT = [
    "--requests",
    "8",
    "--concurrency",
    "1,4",
    "--longest-prompt",
    "60",
    "--longest-answer",
    "32",
    "--prefix-words",
    "150",
]


@contextlib.contextmanager
def vllm_of(host: Host) -> Iterator[str]:
    """The URL of a host's vLLM, which listens on its loopback: a tunnel, as an operator makes one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    forward = f"127.0.0.1:{port}:127.0.0.1:8000"
    tunnel = subprocess.Popen(["ssh", "-N", "-L", forward, *host.ssh_options, f"root@{host.address}"])
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert tunnel.poll() is None, "ssh ended"
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        tunnel.terminate()
        tunnel.wait(30)


def test_both_phases_and_vllm_are_measured_and_unlike_models_only_when_wanted(
    served: tuple[Host, Host], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    phase2, phase1 = served
    with vllm_of(phase2) as vllm:
        urls = ["--host", phase2.address, "--phase1", f"http://{phase1.address}:11434", "--vllm", vllm]
        name = ["--name", "lab", "--output", str(tmp_path)]
        # The lab's Ollama is a stand-in with a model of its own.
        assert main([*urls, *name, *SHORT]) == 3
        assert "--compare-unlike" in capsys.readouterr().err
        assert main([*urls, *name, *SHORT, "--compare-unlike", "--max-seconds", "900"]) == 0
    if keep := os.environ.get("LLM_BENCH_HOST_KEEP"):
        shutil.copytree(tmp_path, keep, dirs_exist_ok=True)
    results = json.loads((tmp_path / "lab.json").read_text(encoding="utf-8"))
    assert set(results["targets"]) == {"adapter", "phase1", "vllm"}
    assert results["is_unlike"]
    assert not results["is_partial"]
    assert len(results["rows"]) == 3 * 12
    for row in results["rows"]:
        assert (row["ok"], row["errors"], row["uncounted"]) == (8, {}, 0), row
        assert row["tokens_per_s"] > 0
        assert (row["ttft_ms_p50"] is not None) == row["stream"]
    hits = {row["workload"]: row["prefix_hit_rate"] for row in results["rows"] if row["target"] == "vllm"}
    assert hits["prefix-repeated"] > 0.3 > hits["prefix-cold"]
    assert all("not measured" not in line["measured"][1] for line in results["comparison"])
    with (tmp_path / "lab.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(results["rows"])
    assert "<svg" in (tmp_path / "lab.html").read_text(encoding="utf-8")
