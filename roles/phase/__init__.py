"""Phase: the only place where one of our services starts or stops. Before it all files of both phases are right.

The order inside: put the staged release in place, make systemd read the units, choose the phase for the next boot, start it,
restart what runs with old inputs, prove each service with a generated token, and call the release good. Every step looks at the
host, so an aborted run loses none of them; one that fails takes the host back to the last good release. Of several hosts one
does all of that first, the others follow in batches.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pyinfra import host
from pyinfra.api import deploy

from roles.gpus import vllms_share_a_card
from roles.host_files import write
from roles.layout import (
    ADAPTER,
    ADAPTER_TOKEN,
    ADAPTER_VISION,
    OLLAMA_EMBED,
    OLLAMA_TEXT,
    OLLAMA_VISION,
    PHASE_2_WITH_VISION_ON_VLLM,
    PHASE_ALIAS,
    PHASE_TARGETS,
    PHASE_UNITS,
    UNITS,
    VLLM,
    VLLM_VISION,
    adapter_release,
    ollama_manifest,
    ollama_release,
    phase_units,
    snapshots,
    vllm_release,
)
from roles.phase.batches import batch_of, earlier_hosts_serve, hosts_of_the_run
from roles.phase.operations import (
    PHASES_FILE,
    PLACING,
    PROGRAM,
    phase_serves,
    proved,
    release_in_place,
    release_serves,
    release_settled,
    replaced,
    unit_current,
    units_enabled,
    units_loaded,
)
from roles.phase.program import program
from roles.phase.release import manifest
from roles.phases import phases_on_disk, units_on_disk
from roles.release_files import release_file, wanted_files
from roles.rendering import render
from roles.restarts import started_after
from roles.run_lock import operator
from roles.settings import reachable_address

if TYPE_CHECKING:
    from roles.site import Site

ROLLBACK_PATIENCE_S = 15  # of running answers: clients wait for a server that works
FINISHER = "llm-release.service"
Inputs = Mapping[str, Mapping[str, str]]
# In one order for all hosts: a unit's place in it, not the host's phase, says which operation it is, so that each
# operation has one name in a run over hosts of both phases.
EVERY_UNIT = tuple(dict.fromkeys((*PHASE_UNITS[1], *PHASE_UNITS[2], *PHASE_2_WITH_VISION_ON_VLLM)))


@deploy("Phase")
def phase(site: Site, inputs: Inputs) -> None:
    """Bring the host into `site.phase`. :param inputs: by unit, what a start reads (from the roles)."""
    configure(site)
    mine, last = batch_of(host.name, hosts_of_the_run(host.state), site.batch)
    for number in host.loop(range(last + 1)):
        if number:
            step = f"Go on with batch {number} only if the hosts before it serve"
            earlier_hosts_serve(name=step, batch=number, mine=mine, size=site.batch)
        if number == mine:
            activate(site, inputs)


@deploy("Rollback")
def back_to_phase_1() -> None:
    """Bring the host into Phase 1 with the files that are on it, whatever the inventory has become meanwhile."""
    phase_serves(
        name="Have the host in Phase 1, proved and on record", phase=1, back=False, patience_s=ROLLBACK_PATIENCE_S
    )


@deploy("Rollback")
def back_to_release(release: str) -> None:
    """Bring the host into an older release, in the phase it had. :param release: an id of `llm-phase releases`, or "previous"."""
    release_serves(name="Have the release serve, proved and on record", release=release, patience_s=ROLLBACK_PATIENCE_S)


def configure(site: Site) -> None:
    replaced(name="Install llm-phase, the switch between the phases", path=PROGRAM, content=program(), mode="755")
    text = json.dumps(described(site), indent=1) + "\n"
    release_file("Describe the phases", PHASES_FILE, text)
    for number in phases_on_disk(site):
        target = PHASE_TARGETS[number]
        text = render(
            __file__,
            "phase.target",
            phase=number,
            target=target,
            units=phase_units(site)[number],
            words=phase_in_words(site, number),
            other=PHASE_TARGETS[3 - number],
            alias=PHASE_ALIAS,
        )
        release_file(f"Write {target}", f"{UNITS}/{target}", text)
    write("Write the unit that finishes what a power cut left half done", f"{UNITS}/{FINISHER}", finisher(site))


def phase_in_words(site: Site, phase: int) -> str:
    """What serves in a phase, for systemctl."""
    if phase == 1:
        return "two Ollama servers"
    return f"vLLM behind the adapter, {'another one' if site.vision_on_vllm else 'Ollama'} for vision"


def finisher(site: Site) -> str:
    """The unit that puts the rest of a release in place after a power cut."""
    return render(__file__, "llm-release.service", program=PROGRAM, placing=PLACING, units=units_on_disk(site))


def activate(site: Site, inputs: Inputs) -> None:
    """Choose the phase, start it, restart what runs with old inputs, and wait until every service has proved itself."""
    units, targets = units_on_disk(site), [PHASE_TARGETS[number] for number in phases_on_disk(site)]
    release = manifest(site, wanted_files(host.name), operator())
    release_in_place(name="Put the release in place", manifest=release)
    units_loaded(
        name="Have systemd read all units",
        units=(*units, *targets, FINISHER, "llm-check.service", "llm-check.timer"),
    )
    units_enabled(name="Tie each unit to its phases", units=(*units, FINISHER))
    phase_serves(
        name="Have the host in its phase; when that does not come up, in the one that served before",
        phase=site.phase,
        back=True,
        patience_s=max(site.vllm.drain_timeout_s, site.vllm_vision.drain_timeout_s, site.adapter.drain_timeout_s) + 15,
    )
    for unit in host.loop(EVERY_UNIT):
        if unit in phase_units(site)[site.phase]:
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
    release_settled(name="Call the release good", release=str(release["id"]), phase=site.phase)


def described(site: Site) -> dict[str, dict[str, object]]:
    """Each phase on the host's disk for llm-phase: what belongs to it, what proves it. The host has no settings of its own."""
    found: dict[str, dict[str, object]] = {}
    for number in phases_on_disk(site):
        units = phase_units(site)[number]
        software = (
            [ollama_release(site)] if number == 1 else [ollama_release(site), vllm_release(site), adapter_release()]
        )
        model = [] if number == 1 else [one.marker for one in snapshots(site)]
        found[str(number)] = {
            "target": PHASE_TARGETS[number],
            "units": units,
            "files": [f"{UNITS}/{unit}" for unit in units] + [one.marker for one in software] + model,
            "models": {name: ollama_manifest("text", name) for name in site.ollama.text.models} if number == 1 else {},
            # A text model that was deleted since keeps no other from serving.
            "gates": {
                unit: [*words, *(["--some"] if unit == OLLAMA_TEXT else [])]
                for unit, words in gates(site, number).items()
            },
            "timeout_s": {unit: gate_timeout_s(site, unit) for unit in units},
            "cards": site.gpu != "none",
        }
    return found


def gates(site: Site, phase: int | None = None) -> dict[str, list[str]]:
    """By unit, the arguments of llm-ready that prove it; the same probe that verify and the rollback use.

    :param phase: 1 or 2; default: the one of the settings.
    """
    ollama_at, adapter_at = reachable_address(site.ollama.address), reachable_address(site.adapter.address)
    vision = _probe("ollama", ollama_at, site.ollama.vision.port, site.ollama.vision.models)
    if (phase or site.phase) == 1:
        return {
            OLLAMA_VISION: vision,
            OLLAMA_TEXT: _probe("ollama", ollama_at, site.ollama.text.port, site.ollama.text.models),
        }
    token = ["--token-file", ADAPTER_TOKEN] if site.adapter.require_token else []
    text = {
        VLLM: _probe("vllm", "127.0.0.1", site.vllm.port, (site.vllm.served_name,)),
        ADAPTER: [*_probe("adapter", adapter_at, site.adapter.port, site.vllm.aliases), *token],
    }
    if not site.vision_on_vllm:
        return {OLLAMA_VISION: vision, **text}
    sees, names = site.vllm_vision, (*site.vllm_vision.aliases, *site.embed_models)
    return {
        OLLAMA_EMBED: _probe("ollama", "127.0.0.1", site.ollama.vision.loopback_port, site.embed_models),
        **text,
        VLLM_VISION: [*_probe("vllm", "127.0.0.1", sees.port, (sees.served_name,)), "--image"],
        ADAPTER_VISION: [*_probe("adapter", ollama_at, site.ollama.vision.port, names), "--image"],
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
    if unit in (VLLM_VISION, ADAPTER_VISION):  # on one card it loads when the other one has loaded
        return site.vllm_vision.ready_timeout_s + (site.vllm.ready_timeout_s if vllms_share_a_card(site) else 0)
    return site.vllm.ready_timeout_s if unit in (VLLM, ADAPTER) else 300
