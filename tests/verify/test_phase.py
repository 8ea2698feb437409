"""The phase: exactly one serves, and the other is complete on disk, so that a switch needs no network."""

from __future__ import annotations

import shlex

import pytest

from roles.layout import (
    COMPLETE,
    PHASE_ALIAS,
    PHASE_TARGETS,
    UNITS,
    adapter_release,
    ollama_manifest,
    ollama_release,
    phase_units,
    snapshots,
    vllm_release,
)
from roles.phases import phases_on_disk
from roles.site import Site
from tests.verify.conftest import Expect, Run
from tests.verify.seen import Unit

WANTS = f"{UNITS}/multi-user.target.wants"


def test_the_target_of_the_phase_is_active_and_the_other_one_is_not(
    site: Site, units: dict[str, Unit], expect: Expect
) -> None:
    wanted = {PHASE_TARGETS[site.phase]: "active", PHASE_TARGETS[3 - site.phase]: "inactive"}
    expect("ActiveState of the phases", wanted, {name: units[name]["ActiveState"] for name in wanted})


def test_the_target_of_the_phase_is_enabled_and_the_other_one_is_not(
    site: Site, units: dict[str, Unit], expect: Expect
) -> None:
    other = "disabled" if site.prepares_phase_2 else ""  # systemd knows no state of a file that is not there
    wanted = {PHASE_TARGETS[site.phase]: "enabled", PHASE_TARGETS[3 - site.phase]: other}
    expect("UnitFileState of the phases", wanted, {name: units[name]["UnitFileState"] for name in wanted})


def test_a_boot_comes_up_in_this_phase(site: Site, run: Run, expect: Expect) -> None:
    link = f"{WANTS}/{PHASE_ALIAS}"
    expect(
        "what a boot starts",
        {link: f"{UNITS}/{PHASE_TARGETS[site.phase]}"},
        {link: run(f"readlink -f {link}")[1].strip()},
    )
    others = sorted({*run(f"ls {WANTS}")[1].split()} & {*PHASE_TARGETS.values()})
    expect(f"links in {WANTS}", {"to a phase itself": []}, {"to a phase itself": others})


def test_each_phase_consists_of_exactly_its_units(site: Site, units: dict[str, Unit], expect: Expect) -> None:
    wanted = {PHASE_TARGETS[number]: sorted(phase_units(site)[number]) for number in phases_on_disk(site)}
    expect("Wants of the phases", wanted, {target: sorted(units[target]["Wants"].split()) for target in wanted})


def test_the_units_of_the_other_phase_are_stopped(site: Site, units: dict[str, Unit], expect: Expect) -> None:
    idle = set(phase_units(site)[3 - site.phase]) - set(phase_units(site)[site.phase])
    expect(
        f"units of Phase {3 - site.phase} in Phase {site.phase}",
        dict.fromkeys(sorted(idle), "inactive"),
        {name: units[name]["ActiveState"] for name in idle},
    )


@pytest.mark.usefixtures("both_phases")
def test_the_units_of_the_other_phase_are_still_on_disk(
    site: Site, units: dict[str, Unit], run: Run, expect: Expect
) -> None:
    names = sorted(phase_units(site)[3 - site.phase])
    expect("LoadState of units", dict.fromkeys(names, "loaded"), {name: units[name]["LoadState"] for name in names})
    expect_files(run, expect, [f"{UNITS}/{name}" for name in names])


@pytest.mark.usefixtures("both_phases")
def test_everything_that_phase_2_needs_is_on_disk(site: Site, run: Run, expect: Expect) -> None:
    vllm, adapter, models = vllm_release(site).current, adapter_release().current, snapshots(site)
    configurations = [f"{model.path}/config.json" for model in models]
    expect_files(run, expect, [f"{vllm}/bin/vllm", f"{adapter}/bin/python", *configurations])
    expect_markers(run, expect, [f"{vllm}/{COMPLETE}", f"{adapter}/{COMPLETE}", *(model.marker for model in models)])


def test_everything_that_phase_1_needs_is_on_disk(site: Site, run: Run, expect: Expect) -> None:
    ollama = ollama_release(site).current
    manifests = [ollama_manifest("text", model) for model in site.ollama.text.models]
    manifests += [ollama_manifest("vision", model) for model in site.ollama.vision.models]
    expect_files(run, expect, [f"{ollama}/bin/ollama", *manifests])
    expect_markers(run, expect, [f"{ollama}/{COMPLETE}"])


def expect_files(run: Run, expect: Expect, paths: list[str]) -> None:
    """Files with content. Links are followed: one that points nowhere counts as missing."""
    __tracebackhide__ = True
    _expect(run, expect, "-s", paths)


def expect_markers(run: Run, expect: Expect, paths: list[str]) -> None:
    """Files that may be empty: that they are there is what they say."""
    __tracebackhide__ = True
    _expect(run, expect, "-f", paths)


def _expect(run: Run, expect: Expect, test: str, paths: list[str]) -> None:
    __tracebackhide__ = True
    present = run(f'for f in {shlex.join(paths)}; do [ {test} "$f" ] && echo "$f"; done; true')[1].splitlines()
    expect(
        "files on disk",
        dict.fromkeys(paths, "there"),
        {path: "there" if path in present else "missing" for path in paths},
    )
