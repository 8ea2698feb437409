"""The benchmark for operators, briefly, on deployed hosts: the adapter, vLLM itself through ssh, and an Ollama of Phase 1.

With LLM_BENCH_HOST_KEEP=DIRECTORY it measures as long as a picture needs, and DIRECTORY gets what it wrote: `lab` and
`lab-adapter`, the one that the README shows (docs/lab.md).
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

KEEP = os.environ.get("LLM_BENCH_HOST_KEEP")
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
    # A command there rather than -N, with which sshd holds small packets back; it ends with its input.
    words = ["ssh", "-L", forward, *host.ssh_options, f"root@{host.address}", "cat"]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as tunnel:
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


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where results go."""
    folder = tmp_path_factory.mktemp("results")
    yield folder
    if KEEP:
        shutil.copytree(folder, KEEP, dirs_exist_ok=True)


def test_the_adapter_and_its_vllm_are_compared_on_the_operators_word_that_they_have_one_model(
    served: tuple[Host, Host], kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = ["--requests", "32", "--concurrency", "1,4,16"] if KEEP else ["--requests", "4", "--concurrency", "1"]
    with vllm_of(served[0]) as vllm:
        words = [
            "--host",
            served[0].address,
            "--vllm",
            vllm,
            "--name",
            "lab-adapter",
            "--output",
            str(kept),
            *SHORT,
            *size,
        ]
        assert main(words) == 3
        assert "--one-model" in capsys.readouterr().err
        assert main([*words, "--one-model"]) == 0
    results = json.loads((kept / "lab-adapter.json").read_text(encoding="utf-8"))
    assert not results["is_unlike"]
    assert all(row["ok"] == row["requests"] for row in results["rows"])


def test_both_phases_and_vllm_are_measured_and_unlike_models_only_when_wanted(
    served: tuple[Host, Host], kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    phase2, phase1 = served
    with vllm_of(phase2) as vllm:
        urls = ["--host", phase2.address, "--phase1", f"http://{phase1.address}:11434", "--vllm", vllm]
        name = ["--name", "lab", "--output", str(kept)]
        # The lab's Ollama is a stand-in with a model of its own.
        assert main([*urls, *name, *SHORT]) == 3
        assert "--compare-unlike" in capsys.readouterr().err
        assert main([*urls, *name, *SHORT, "--compare-unlike", "--max-seconds", "900"]) == 0
    results = json.loads((kept / "lab.json").read_text(encoding="utf-8"))
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
    with (kept / "lab.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(results["rows"])
    assert "<svg" in (kept / "lab.html").read_text(encoding="utf-8")
