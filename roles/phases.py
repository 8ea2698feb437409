"""Which phases a host keeps complete on its disk, and the units that belong to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from roles.cards import VLLM_FLOOR, PciDevice
from roles.layout import PHASE_TARGETS, VLLM_MODEL, VLLM_VISION_MODEL, phase_units

if TYPE_CHECKING:
    from roles.site import Site


def with_phases_decided(site: Site, devices: Sequence[PciDevice]) -> Site:
    """The settings with `prepare` decided: "both", or "phase1" on a Phase-1 host none of whose cards can run vLLM.

    The bus cannot change in a deploy, so plan, run and verification decide alike.
    """
    if site.prepare != "auto":
        return site
    generations = [device.generation for device in devices if device.is_card]
    too_old = bool(generations) and all(g is not None and g.capability < VLLM_FLOOR for g in generations)
    alone = site.phase == 1 and site.gpu == "nvidia" and too_old
    return site.model_copy(update={"prepare": "phase1" if alone else "both"})


def phases_on_disk(site: Site) -> tuple[int, ...]:
    """(1, 2), or (1,) on a host that is for Phase 1 alone."""
    return (1, 2) if site.prepares_phase_2 else (1,)


def units_on_disk(site: Site) -> tuple[str, ...]:
    """Every unit of these phases, once."""
    units = phase_units(site)
    return tuple(dict.fromkeys(unit for number in phases_on_disk(site) for unit in units[number]))


def unit_files(site: Site) -> tuple[str, ...]:
    """Every unit file of ours that a finished deploy leaves: services, sockets, the download, the targets."""
    download = (VLLM_MODEL, *((VLLM_VISION_MODEL,) if site.vision_on_vllm else ())) if site.prepares_phase_2 else ()
    targets = (PHASE_TARGETS[number] for number in phases_on_disk(site))
    return tuple(sorted({*units_on_disk(site), *download, *targets}))
