"""The record of what the host is: true, and what this checkout with this inventory would make of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from roles.layout import STATE_FILE, Release, adapter_release, ollama_release, snapshot, vision_snapshot, vllm_release
from roles.site import Site
from tests.verify.conftest import Expect, Run
from tests.verify.targets import Target


def releases(site: Site) -> dict[str, Release]:
    ours = {"ollama": ollama_release(site)}
    return ours | ({"vllm": vllm_release(site), "adapter": adapter_release()} if site.prepares_phase_2 else {})


@pytest.fixture(scope="session")
def state(target: Target, run: Run) -> dict[str, Any]:
    code, out, err = run(f"cat {STATE_FILE}")
    if code:
        pytest.fail(f"{target.name}: expected {STATE_FILE}, seen {err.strip()}\n  deploy writes it last", pytrace=False)
    read: dict[str, Any] = json.loads(out)
    return read


def test_the_recorded_phase_is_the_one_of_the_settings(state: dict[str, Any], site: Site, expect: Expect) -> None:
    expect(STATE_FILE, {"phase": site.phase}, state)


def test_the_recorded_releases_are_the_ones_in_use(state: dict[str, Any], site: Site, run: Run, expect: Expect) -> None:
    links = {name: run(f"readlink {release.current}")[1].strip() for name, release in releases(site).items()}
    expect(f"links `current` against {STATE_FILE}", {name: state.get(name) for name in links}, links)


def test_the_releases_are_the_ones_of_this_checkout(state: dict[str, Any], site: Site, expect: Expect) -> None:
    wanted = {name: release.name for name, release in releases(site).items()}
    expect(f"{STATE_FILE}; pyinfra INVENTORY deploy.py --dry shows what is due", wanted, state)


@pytest.mark.usefixtures("both_phases")
def test_the_recorded_model_is_the_one_of_the_settings(state: dict[str, Any], site: Site, expect: Expect) -> None:
    expect(STATE_FILE, {"model": f"{site.vllm.model}@{snapshot(site).revision}"}, state)


@pytest.mark.usefixtures("both_phases")
def test_the_recorded_vision_model_is_the_one_of_the_settings(
    state: dict[str, Any], site: Site, expect: Expect
) -> None:
    model = f"{site.vllm_vision.model}@{vision_snapshot(site).revision}" if site.vision_on_vllm else None
    expect(STATE_FILE, {"vision_model": model}, {"vision_model": state.get("vision_model")})


def test_the_release_in_place_is_the_last_good_one_and_nobody_changed_its_files(run: Run, expect: Expect) -> None:
    release = json.loads(run("llm-phase --json")[1] or "{}").get("release") or {}
    wanted: dict[str, Any] = {"id": release.get("good") or "a release", "verdict": "good", "changed": []}
    expect("llm-phase; pyinfra INVENTORY deploy.py puts it right", wanted, {key: release.get(key) for key in wanted})
