"""The units of the phase: running, untouched since they were written, and never restarted on the way."""

from __future__ import annotations

import json

import pytest

from roles.layout import UNITS, phase_units
from roles.phases import unit_files, units_on_disk
from roles.site import Site
from roles.started_with import RECORDS, inputs_path
from tests.verify.conftest import Expect, Run
from tests.verify.seen import Unit


def test_every_unit_of_the_phase_runs(site: Site, units: dict[str, Unit], expect: Expect) -> None:
    # A socket is "listening" before its first connection and "running" while the service has taken it over.
    wanted = {unit: "active (running)" for unit in phase_units(site)[site.phase]}
    expect("state of units", wanted, {unit: "{ActiveState} ({SubState})".format(**units[unit]) for unit in wanted})


def test_every_unit_is_tied_to_its_phase(site: Site, units: dict[str, Unit], expect: Expect) -> None:
    wanted = dict.fromkeys(units_on_disk(site), "enabled")
    expect("UnitFileState", wanted, {unit: units[unit]["UnitFileState"] for unit in wanted})


@pytest.mark.warning
def test_no_unit_of_the_phase_was_restarted_by_systemd(site: Site, units: dict[str, Unit], expect: Expect) -> None:
    services = [unit for unit in phase_units(site)[site.phase] if unit.endswith(".service")]
    expect(
        "NRestarts; see journalctl -u UNIT", dict.fromkeys(services, "0"), {u: units[u]["NRestarts"] for u in services}
    )


def test_systemd_has_read_every_unit_as_it_is_on_disk(site: Site, units: dict[str, Unit], expect: Expect) -> None:
    names = unit_files(site)
    expect("NeedDaemonReload", dict.fromkeys(names, "no"), {unit: units[unit]["NeedDaemonReload"] for unit in names})


def test_every_unit_is_the_one_that_deploy_wrote(site: Site, units: dict[str, Unit], expect: Expect) -> None:
    wanted = {unit: f"{UNITS}/{unit}" for unit in unit_files(site)}
    expect("FragmentPath", wanted, {unit: units[unit]["FragmentPath"] for unit in wanted})


def test_no_drop_in_changes_a_unit(site: Site, units: dict[str, Unit], expect: Expect) -> None:
    # What the distribution ships for all units, below /usr/lib, is none of a person's doing; resolve-gpus' file is ours.
    seen = {
        unit: [
            path
            for path in units[unit]["DropInPaths"].split()
            if not path.startswith("/usr/lib/") and path != f"{UNITS}/{unit}.d/gpus.conf"
        ]
        for unit in unit_files(site)
    }
    expect("DropInPaths", {unit: [] for unit in unit_files(site)}, seen)


def test_every_unit_of_the_phase_was_started_with_the_inputs_on_disk(site: Site, run: Run, expect: Expect) -> None:
    names = phase_units(site)[site.phase]
    wanted, seen = ({unit: _content(run, path(unit)) for unit in names} for path in (inputs_path, _record))
    expect("inputs on disk against inputs of the running start; systemctl restart UNIT or deploy", wanted, seen)
    assert all(wanted.values()), f"inputs on record: {wanted}"


def _record(unit: str) -> str:
    return f"{RECORDS}/{unit}.json"


def _content(run: Run, path: str) -> object:
    code, out, _ = run(f"cat '{path}'")
    return json.loads(out) if code == 0 else f"no file {path}"
