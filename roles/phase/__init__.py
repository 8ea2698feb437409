"""Phase: the only place where one of our services starts or stops. Before it all files of both phases are right.

The order inside: make systemd read the units, choose the phase for the next boot, start it, restart what runs with old
inputs, and prove each service with a generated token. Every step looks at the host, so an aborted run loses none of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pyinfra import host
from pyinfra.api import deploy

from roles.host_files import write
from roles.layout import (
    ADAPTER,
    ADAPTER_TOKEN,
    OLLAMA_TEXT,
    OLLAMA_VISION,
    PHASE_TARGETS,
    PHASE_UNITS,
    STATE_FILE,
    UNITS,
    VLLM,
    adapter_release,
    ollama_release,
    snapshot,
    vllm_release,
)
from roles.phase.operations import (
    atomic_file,
    phase_recorded,
    phase_selected,
    phase_started,
    proved,
    unit_current,
    units_enabled,
    units_loaded,
)
from roles.phases import phases_on_disk, units_on_disk
from roles.rendering import render
from roles.restarts import started_after
from roles.settings import reachable_address

if TYPE_CHECKING:
    from roles.site import Site

Inputs = Mapping[str, Mapping[str, str]]
# In one order for all hosts: a unit's place in it, not the host's phase, says which operation it is, so that each
# operation has one name in a run over hosts of both phases.
EVERY_UNIT = tuple(dict.fromkeys((*PHASE_UNITS[1], *PHASE_UNITS[2])))


@deploy("Phase")
def phase(site: Site, inputs: Inputs) -> None:
    """Bring the host into `site.phase`. :param inputs: by unit, what a start reads (from the roles)."""
    configure(site)
    activate(site, inputs)
    record(site)


@deploy("Rollback")
def back_to_phase_1(site: Site, models: tuple[str, ...]) -> None:
    """Bring the host into Phase 1 with the files that are on it, whatever the inventory has become meanwhile.

    :param models: text models to ask for, those that are on the host's disk.
    """
    phase_selected(name="Choose Phase 1 for every boot", phase=1)
    phase_started(name="Start Phase 1", phase=1)
    address, port = reachable_address(site.ollama.address), site.ollama.text.port
    proved(
        name=f"Prove that {OLLAMA_TEXT} serves",
        unit=OLLAMA_TEXT,
        probe=_probe("ollama", address, port, models),
        timeout_s=300,
    )
    phase_recorded(name="Record the phase", path=STATE_FILE, phase=1)


def configure(site: Site) -> None:
    for number in phases_on_disk(site):
        target = PHASE_TARGETS[number]
        text = render(
            __file__,
            "phase.target",
            phase=number,
            target=target,
            units=PHASE_UNITS[number],
            other=PHASE_TARGETS[3 - number],
        )
        write(f"Write {target}", f"{UNITS}/{target}", text)


def activate(site: Site, inputs: Inputs) -> None:
    """Choose the phase, start it, restart what runs with old inputs, and wait until every service has proved itself."""
    units, targets = units_on_disk(site), [PHASE_TARGETS[number] for number in phases_on_disk(site)]
    units_loaded(
        name="Have systemd read all units",
        units=(*units, *targets, "llm-check.service", "llm-check.timer"),
    )
    units_enabled(name="Tie each unit to its phases", units=units)
    phase_selected(name="Choose the phase for every boot", phase=site.phase)
    phase_started(name="Start the phase", phase=site.phase)
    for unit in host.loop(EVERY_UNIT):
        if unit in PHASE_UNITS[site.phase]:
            unit_current(name=f"Have {unit} run with the current inputs", unit=unit, inputs=dict(inputs[unit]))
    if site.phase == 2 and site.adapter.require_token:
        # Nothing of the secret, not even a hash, is among the recorded inputs: everybody on the host can read those.
        started_after(
            name=f"Have {ADAPTER} run with the present token",
            unit=ADAPTER,
            path=ADAPTER_TOKEN,
            restart=f"systemctl restart {ADAPTER}",
        )
    arguments = gates(site)
    for unit in host.loop(EVERY_UNIT):
        if unit in arguments:
            timeout_s = gate_timeout_s(site, unit)
            proved(name=f"Prove that {unit} serves", unit=unit, probe=arguments[unit], timeout_s=timeout_s)


def gates(site: Site) -> dict[str, list[str]]:
    """By unit, the arguments of llm-ready that prove it; the same probe that verify and the rollback use."""
    ollama_at, adapter_at = reachable_address(site.ollama.address), reachable_address(site.adapter.address)
    vision = _probe("ollama", ollama_at, site.ollama.vision.port, site.ollama.vision.models)
    if site.phase == 1:
        return {
            OLLAMA_VISION: vision,
            OLLAMA_TEXT: _probe("ollama", ollama_at, site.ollama.text.port, site.ollama.text.models),
        }
    token = ["--token-file", ADAPTER_TOKEN] if site.adapter.require_token else []
    return {
        OLLAMA_VISION: vision,
        VLLM: _probe("vllm", "127.0.0.1", site.vllm.port, (site.vllm.served_name,)),
        ADAPTER: [*_probe("adapter", adapter_at, site.adapter.port, site.vllm.aliases), *token],
    }


def _probe(service: str, address: str, port: int, models: tuple[str, ...]) -> list[str]:
    return [
        service,
        "--address",
        address,
        "--port",
        str(port),
        *(word for model in models for word in ("--model", model)),
    ]


def gate_timeout_s(site: Site, unit: str) -> int:
    return site.vllm.ready_timeout_s if unit in (VLLM, ADAPTER) else 300


def record(site: Site) -> None:
    """What this host is now, for people, rollback and verify."""
    state: dict[str, object] = {"phase": site.phase, "ollama": ollama_release(site).name}
    if site.prepares_phase_2:
        state |= {
            "vllm": vllm_release(site).name,
            "model": f"{site.vllm.model}@{snapshot(site).revision}",
            "adapter": adapter_release().name,
        }
    atomic_file(name="Record the state", path=STATE_FILE, text=json.dumps(state, indent=1) + "\n")
