"""The download of the model, against the lab's hub on loopback and the real huggingface_hub."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.mirror import Content, Ports, ensure_running, faults, repositories, stop

PROGRAM = Path(__file__).resolve().parents[2] / "roles" / "vllm" / "host" / "fetch-model"
WEIGHTS = bytes(range(256)) * 4000  # 1 MB
Fetch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """The state directory of a hub with `org/open` and the gated `org/gated`."""
    models = tmp_path / "models"
    for name in ("org/open", "org/gated"):
        (models / name).mkdir(parents=True)
        (models / name / "config.json").write_text("{}")
        (models / name / "model.safetensors").write_bytes(WEIGHTS)
        (models / name / "pytorch_model.bin").write_bytes(b"the same in another format")
    repositories.write(models, {"org/open": False, "org/gated": True})
    state = tmp_path / "state"
    ensure_running("127.0.0.1", state, ports=Ports(0, 0, 0), content=Content(models=models))
    yield state
    stop(state)


@pytest.fixture
def fetch(state: Path, tmp_path: Path) -> Fetch:
    """Run fetch-model as its unit does; returns the finished process."""
    hub = ensure_running("127.0.0.1", state, content=Content(models=tmp_path / "models")).hub_endpoint

    def run(repository: str = "org/open", token: str = "", revision: str = "") -> subprocess.CompletedProcess[str]:
        credentials = tmp_path / "credentials"
        credentials.mkdir(exist_ok=True)
        (credentials / "hub-token").write_text(token)
        known = repositories.read(tmp_path / "models")[repository].revision
        cache = tmp_path / "hub"
        return subprocess.run(
            [
                sys.executable, "-I", str(PROGRAM), "--repository", repository, "--revision", revision or known,
                "--cache", str(cache), "--marker", str(cache / ".complete" / "m"),
            ],
            env={
                "PATH": os.environ["PATH"], "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "home"),
                "CREDENTIALS_DIRECTORY": str(credentials), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
            },
            capture_output=True,
            text=True,
            timeout=120,
        )  # fmt: skip

    return run


def weights_of(hub: Path) -> bytes:
    (file,) = hub.glob("models--*/snapshots/*/model.safetensors")
    return file.read_bytes()


def test_a_snapshot_is_complete_and_leaves_other_formats_out(fetch: Fetch, tmp_path: Path) -> None:
    done = fetch()
    assert done.returncode == 0, done.stderr
    assert weights_of(tmp_path / "hub") == WEIGHTS
    assert not list((tmp_path / "hub").glob("**/pytorch_model.bin"))
    assert (tmp_path / "hub" / ".complete" / "m").is_file()


def test_a_broken_download_goes_on_at_the_byte_where_it_stopped(fetch: Fetch, state: Path, tmp_path: Path) -> None:
    faults.write(state, [{"path": "/org/open/resolve", "close_after": 300_000, "times": 1}])
    first = fetch()
    assert first.returncode == 1
    assert "what came is kept" in first.stderr
    assert not (tmp_path / "hub" / ".complete" / "m").exists()

    second = fetch()
    assert second.returncode == 0, second.stderr
    assert f"from byte 300000 of {len(WEIGHTS)}" in second.stdout
    assert weights_of(tmp_path / "hub") == WEIGHTS


def test_damaged_weights_are_thrown_away_and_never_linked(fetch: Fetch, state: Path, tmp_path: Path) -> None:
    faults.write(state, [{"path": "/org/open/resolve", "corrupt_at": 1000, "times": 1}])
    first = fetch()
    assert first.returncode == 1
    assert "not the content the hub announced" in first.stderr
    assert not list((tmp_path / "hub").glob("**/model.safetensors"))
    assert fetch().returncode == 0
    assert weights_of(tmp_path / "hub") == WEIGHTS


def test_no_access_is_an_answer_that_is_not_asked_for_again(fetch: Fetch) -> None:
    assert fetch("org/gated").returncode == 78
    assert fetch("org/gated", token="hf_lab_stranger").returncode == 78
    assert fetch("org/open", revision="0" * 40).returncode == 78


def test_the_token_opens_a_gated_model(fetch: Fetch, tmp_path: Path) -> None:
    assert fetch("org/gated", token="hf_lab_reader").returncode == 0
    assert weights_of(tmp_path / "hub") == WEIGHTS


def test_a_complete_snapshot_is_not_fetched_again(fetch: Fetch) -> None:
    assert fetch().returncode == 0
    assert "from byte" not in fetch().stdout


def test_weights_that_were_damaged_on_the_disk_are_fetched_anew_once_the_mark_of_completeness_is_gone(
    fetch: Fetch, tmp_path: Path
) -> None:
    fetch()
    (file,) = (tmp_path / "hub").glob("models--*/snapshots/*/model.safetensors")
    file.resolve().write_bytes(b"damaged" + WEIGHTS[7:])
    (tmp_path / "hub" / ".complete" / "m").unlink()
    again = fetch()
    assert again.returncode == 0, again.stderr
    assert "damaged on this disk; thrown away" in again.stdout
    assert weights_of(tmp_path / "hub") == WEIGHTS
