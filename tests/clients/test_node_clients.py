"""Unmodified clients of npm against a running adapter: each suite is a file for `node --test`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from lab import locked_node
from lab.paths import cache_root
from lab.progress import to_stderr
from tests.clients.conftest import MODELS, SLOW, VISION
from tests.contract.vllm_stand_in import VllmStandIn

HERE = Path(__file__).parent / "node"
SUITES = sorted(path.name.removesuffix(".test.mjs") for path in HERE.glob("*.test.mjs"))
# An aborted stream of LangChain's ends for its user only; the request goes on to its end.
_STAY_CONNECTED = frozenset({"langchain"})
_TEST_TIMEOUT_S, _SUITE_TIMEOUT_S, _GONE_TIMEOUT_S = 60, 300, 10


@pytest.fixture(scope="module")
def node_modules() -> Path:
    """The clients, installed on first use."""
    if reason := locked_node.lacking():
        pytest.skip(reason)
    return locked_node.ensure(HERE / "package-lock.json", cache_root() / "clients", to_stderr())


def test_the_lock_names_no_registry() -> None:
    """Whose registry is asked is a matter of the machine; every package is held by its hash."""
    lock = (HERE / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert lock.count('"integrity"') == lock.count('"node_modules/') > 0


@pytest.mark.clients
@pytest.mark.parametrize("suite", SUITES)
def test_an_unmodified_client_works(
    suite: str, adapter_url: str, slow_upstream: VllmStandIn, node_modules: Path, tmp_path: Path
) -> None:
    # Modules are looked for beside the file that imports them, so the suite goes to where the clients can be linked.
    for name in (f"{suite}.test.mjs", "adapter.mjs"):
        shutil.copyfile(HERE / name, tmp_path / name)
    (tmp_path / "node_modules").symlink_to(node_modules)
    taken = ("OLLAMA_", "OPENAI_", "ANTHROPIC_", "LANGCHAIN_", "LANGSMITH_", "NODE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(taken)}
    names = {f"LLM_MODEL_{variant.upper()}": name for variant, (name, _) in MODELS.items()}
    names |= {"LLM_MODEL_VISION": VISION, "LLM_MODEL_SLOW": SLOW}
    gone_before = slow_upstream.gone
    done = subprocess.run(
        ["node", "--test", "--test-reporter=spec", f"--test-timeout={_TEST_TIMEOUT_S * 1000}", f"{suite}.test.mjs"],
        cwd=tmp_path, capture_output=True, text=True, timeout=_SUITE_TIMEOUT_S,
        env={**kept, **names, "LLM_ADAPTER_URL": adapter_url, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-12000:]}\n{done.stderr[-2000:]}"
    counts = {
        name: int(count) for name, count in re.findall(r"^\S+ (pass|fail|skipped|todo) (\d+)$", done.stdout, re.M)
    }
    assert counts.pop("pass") > 0, done.stdout[-2000:]
    assert not any(counts.values()), done.stdout[-2000:]
    # Every suite aborts an answer of the slow model; the upstream must not go on with it.
    deadline = time.monotonic() + _GONE_TIMEOUT_S
    while suite not in _STAY_CONNECTED and slow_upstream.gone == gone_before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert suite in _STAY_CONNECTED or slow_upstream.gone > gone_before
