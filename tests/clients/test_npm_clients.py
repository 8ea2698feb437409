"""Unmodified clients of npm against a running adapter: one suite each, run by Node's own test runner."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients import npm_environment
from tests.clients.npm_environment import SUITES

CLIENTS = sorted(path.name.removesuffix(".test.mjs") for path in SUITES.glob("*.test.mjs"))
_TIMEOUT_S = 300


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The suites beside the packages that they import: Node looks for those in the directories above a file."""
    if reason := npm_environment.why_not():
        pytest.skip(reason)
    target = tmp_path_factory.mktemp("npm")
    (target / "node_modules").symlink_to(npm_environment.packages())
    for file in (*SUITES.glob("*.mjs"), SUITES / "package.json"):
        shutil.copy(file, target)
    return target


def failures(tap: str) -> str:
    """What failed of a report in the Test Anything Protocol, with the reasons below it."""
    return "\n".join(re.findall(r"^not ok .*?^  \.\.\.$", tap, re.MULTILINE | re.DOTALL))


@pytest.mark.clients
@pytest.mark.parametrize("client", CLIENTS)
def test_an_unmodified_client_works(client: str, directory: Path, adapter_url: str) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OLLAMA_", "OPENAI_", "NODE_"))}
    done = subprocess.run(
        ["node", "--test", "--test-reporter=tap", "--test-timeout=60000", f"{client}.test.mjs"],
        cwd=directory, env={**kept, "LLM_ADAPTER_URL": adapter_url, "HOME": str(directory)}, capture_output=True,
        text=True, timeout=_TIMEOUT_S,
    )  # fmt: skip
    assert done.returncode == 0, f"{failures(done.stdout) or done.stdout[-4000:]}\n{done.stderr[-2000:]}"
    assert re.search(r"^# pass [1-9][0-9]*$", done.stdout, re.MULTILINE), done.stdout[-2000:]
