"""Judgements on the cards: does one driver run them all, can vLLM use them, are they healthy, is their memory free. Pure.

The compatibility matrix behind it: generation of the card (roles/cards.py) x kernel modules x driver branch x CUDA wheels x vLLM.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from roles.apt_repositories import cuda_fingerprint, cuda_key
from roles.cards import FATAL_XIDS, VLLM_FLOOR, PciDevice, module_kind
from roles.facts.evidence import App, Card, Evidence
from roles.gpus import MIB, BudgetLine, CardSize, budget, vllm_uses, vllm_vision_uses
from roles.layout import OUR_UNITS
from roles.preflight.findings import Finding, error, note, warning
from roles.site import Site
from roles.vllm.settings import VllmServer

CUDA_13_FLOOR = 580  # driver branch that the CUDA 13 wheels of files/locks/vllm-cuda.lock need
REPLACE = "have the card replaced (RMA), and take the host out of the inventory until then"


def card_findings(site: Site, seen: Evidence, os: str, os_version: str) -> list[Finding]:
    """Everything about the cards that speaks against, or should be known before, the first change."""
    if site.gpu == "none":
        if not seen.pci_cards:
            return []
        return [warning("gpu", 'gpu is "none", but the host has an NVIDIA card', 'set gpu = "nvidia" to use it')]
    return [
        *_on_the_bus(site, seen, os, os_version),
        *_driver_for_all(site, seen),
        *(found for key, server, cards in _servers(site, seen) for found in _vllm(site, seen, key, server, cards)),
        *_named_cards(site, seen),
        *_health(seen),
        *_workloads(site, seen),
        *_memory(site, seen),
        *_budget(site, seen),
    ]


def branch(site: Site) -> int:
    """The driver branch that this host gets."""
    return int(site.nvidia.wanted_branch)


def _on_the_bus(site: Site, seen: Evidence, os: str, os_version: str) -> Iterator[Finding]:
    if not seen.pci_cards:
        yield error("gpu", "no NVIDIA card on the PCI bus", 'set gpu = "none" to serve from the CPU')
    if cuda_fingerprint(site, os, os_version) is None:
        yield error(
            "nvidia.key_fingerprint",
            f"the key of NVIDIA's repository for {os} {os_version} is not in roles/pins.toml",
            f"compare {cuda_key(os, os_version)} with NVIDIA's documentation and set nvidia.key_fingerprint",
        )
    for card in seen.pci_cards:
        if card.generation is None:
            yield warning(
                "gpu",
                f"[10de:{card.device:04x}] at {card.address} is a card that roles/cards.py does not know",
                "see NVIDIA's list of supported cards; set nvidia.modules and nvidia.branch to what it says",
            )
    for device in seen.devices:
        if device.is_nvswitch:
            yield note("nvswitch", f"[10de:{device.device:04x}] at {device.address}: needs the fabric manager")
            break
        if device.is_switch_port:
            fact = "leads to NVSwitches: needs the fabric manager and the subnet manager (nvlsm)"
            yield note("nvswitch", f"[15b3:{device.device:04x}] at {device.address} {fact}")
            break


def _driver_for_all(site: Site, seen: Evidence) -> Iterator[Finding]:
    """One branch and one kind of modules for all cards."""
    wanted = branch(site)
    if seen.pci_cards:
        kind = module_kind(seen.pci_cards, site.nvidia.modules)
        yield note("driver", f"branch {wanted}, {kind} kernel modules, for {describe(seen.pci_cards)}")
    proprietary = [card for card in seen.pci_cards if card.generation and card.generation.modules == "proprietary"]
    only_open = [card for card in seen.pci_cards if card.generation and card.generation.modules == "open"]
    if proprietary and only_open:
        yield error(
            "gpu",
            f"{proprietary[0]} needs proprietary kernel modules, {only_open[0]} open ones; no driver has both",
            "take one of the two cards out, or take this host out of the inventory",
        )
    elif proprietary and site.nvidia.modules == "open":
        yield error(
            "nvidia.modules",
            f"{proprietary[0]}: open kernel modules begin at Turing",
            'set nvidia = {"modules": "proprietary"}',
        )
    elif only_open and site.nvidia.modules == "proprietary":
        yield error(
            "nvidia.modules", f"{only_open[0]} has open kernel modules only", 'set nvidia = {"modules": "open"}'
        )
    for card in proprietary:
        last = card.generation.last_branch if card.generation else None
        if last is not None and wanted > last:
            yield error(
                "nvidia.branch",
                f"{card}: {last} is the last driver branch that knows it, not {wanted}",
                f'set nvidia = {{"branch": "{last}"}}',
            )
            break
    if site.phase == 2 and wanted < CUDA_13_FLOOR:
        yield error(
            "nvidia.branch",
            f"vLLM's CUDA 13 wheels need driver branch {CUDA_13_FLOOR} or newer, not {wanted}",
            f'set nvidia = {{"branch": "{CUDA_13_FLOOR}"}}',
        )


def _servers(site: Site, seen: Evidence) -> list[tuple[str, VllmServer, list[Card]]]:
    """The vLLMs of the host: section of the settings, settings, and the cards that it will use; none while there is no driver."""
    text: tuple[str, VllmServer, list[Card]] = ("vllm", site.vllm, vllm_uses(site, seen.cards))
    vision = ("vllm_vision", site.vllm_vision, vllm_vision_uses(site, seen.cards))
    return [text, vision] if site.vision_on_vllm else [text]


def _vllm(site: Site, seen: Evidence, key: str, server: VllmServer, chosen: list[Card]) -> Iterator[Finding]:
    old = [f"{card.name} has compute capability {card.capability}" for card in chosen if card.capability < VLLM_FLOOR]
    if not seen.cards and not server.gpus:
        old = [
            f"{card} has compute capability {card.generation.capability}"
            for card in seen.pci_cards
            if card.generation and card.generation.capability < VLLM_FLOOR
        ]
    if site.phase == 2 and old:
        new = [card.uuid for card in seen.cards if card.capability >= VLLM_FLOOR]
        others = [card for card in seen.pci_cards if card.generation and card.generation.capability >= VLLM_FLOOR]
        remedy = "this host can run Phase 1: set phase = 1"
        if new:
            remedy += f', or give vLLM the newer cards: {key} = {{"gpus": {new}}}'.replace("'", '"')
        elif others:
            remedy += f", or give vLLM the newer cards alone with {key}.gpus"
        yield error("gpu", f"{old[0]}, vLLM needs {VLLM_FLOOR}", remedy)
    count = len(server.gpus) or len(seen.cards) or len(seen.pci_cards)
    if site.phase == 2 and 0 < count < server.tensor_parallel_size:
        yield error(
            f"{key}.tensor_parallel_size",
            f"{server.tensor_parallel_size} cards wanted, {count} {'is' if count == 1 else 'are'} there",
            f'set {key} = {{"tensor_parallel_size": {count}}}',
        )
    if site.phase == 2 and server.dtype == "bfloat16":
        for card in chosen:
            if VLLM_FLOOR <= card.capability < 8.0:
                yield error(f"{key}.dtype", f"{card.name} has no bfloat16", f'set {key} = {{"dtype": "half"}}')
    kinds = sorted({card.name for card in chosen})
    if server.tensor_parallel_size > 1 and len(kinds) > 1:
        yield warning(
            f"{key}.gpus",
            f"one model on unlike cards ({', '.join(kinds)}): the smallest and slowest sets the pace",
            f"name cards of one kind in {key}.gpus",
        )


def _named_cards(site: Site, seen: Evidence) -> Iterator[Finding]:
    if not seen.cards:
        return
    known = {name for card in seen.cards for name in (card.uuid, str(card.index))}
    sections = {
        "vllm.gpus": site.vllm.gpus,
        "ollama.vision.gpus": site.ollama.vision.gpus,
        "ollama.text.gpus": site.ollama.text.gpus,
    }
    if site.vision_on_vllm:
        sections["vllm_vision.gpus"] = site.vllm_vision.gpus
    sliced = {name: card for card in seen.cards if card.mig for name in (card.uuid, str(card.index))}
    for key, names in sections.items():
        for name in names:
            if name in sliced:
                yield _mig(key, sliced[name])
            elif name not in known and not name.startswith("MIG-"):
                there = ", ".join(sorted(card.uuid for card in seen.cards))
                yield error(key, f"{name} is not a card of this host", f"set {key} to cards among {there}")
        if not names and sliced:
            yield _mig(key, next(iter(sliced.values())))


def _mig(key: str, card: Card) -> Finding:
    return error(
        key,
        f"{card.name} ({card.uuid}) is cut into MIG slices; a service would see one of them, whichever",
        f"name slices (MIG-… of nvidia-smi -L) in {key}, or: nvidia-smi -i {card.index} -mig 0",
    )


def _health(seen: Evidence) -> Iterator[Finding]:
    if seen.smi_failure:
        yield warning(
            "driver", f"nvidia-smi: {seen.smi_failure}", "pyinfra inventory deploy.py reloads the driver, or reboots"
        )
    names = {card.uuid: f"card {card.index} ({card.name}, {card.uuid})" for card in seen.cards}
    for health in seen.health:
        card = names.get(health.uuid, health.uuid)
        if health.remap_failed:
            yield error("gpu memory", f"{card}: a faulty row cannot be remapped", REPLACE)
        elif health.remap_pending:
            yield error(
                "gpu memory",
                f"{card}: a faulty row waits to be remapped",
                f"nvidia-smi --gpu-reset -i {health.uuid} on the idle host, or systemctl reboot",
            )
        if health.uncorrected:
            yield warning(
                "gpu memory",
                f"{card}: {health.uncorrected} uncorrectable memory errors since the driver was loaded",
                f"nvidia-smi -q -d ECC -i {health.uuid} on the host; a number that grows means a faulty card",
            )
    worst = {xid.code: xid for xid in seen.xids}
    for code, xid in sorted(worst.items()):
        fact = f"XID {code} on {xid.address} since this boot: {xid.text}"
        if code in FATAL_XIDS:
            remedy = f"{FATAL_XIDS[code]}: systemctl reboot on the host; if it comes back, {REPLACE}"
            yield error("gpu", fact, remedy)
        else:
            yield warning("gpu", fact, "journalctl -k -g Xid on the host; NVIDIA's XID catalogue explains the code")


def driver_changes(site: Site, seen: Evidence) -> str:
    """What this run would do to a driver that works: a sentence, or "" when it stays as it is."""
    wanted = str(branch(site))
    if not seen.loaded:
        return ""
    if seen.loaded.split(".")[0] != wanted:
        return f"the driver goes from {seen.loaded} to branch {wanted}"
    if seen.nouveau:
        return "nouveau makes way for the driver"
    return ""


def _workloads(site: Site, seen: Evidence) -> Iterator[Finding]:
    foreign = foreign_apps(seen)
    change = driver_changes(site, seen)
    if change and seen.apps:
        who = ", ".join(str(app) for app in seen.apps)
        yield error("gpu", f"{change}, which would end {who}", f"{_how_to_stop(seen.apps)}, then deploy again")
    elif foreign:
        who = "; ".join(f"{app} holds {app.memory} MiB of {app.uuid}" for app in foreign)
        remedy = f"{_how_to_stop(foreign)}, if vLLM or Ollama is to have that memory"
        yield warning("gpu", f"not ours: {who}", remedy)


def _how_to_stop(apps: Sequence[App]) -> str:
    """By unit where there is one: a service that is killed comes back."""
    units = sorted({app.unit for app in apps if app.unit.endswith(".service")})
    others = sorted(app.pid for app in apps if not app.unit.endswith(".service"))
    by_unit = [f"systemctl stop {' '.join(units)}"] if units else []
    by_pid = [f"kill {' '.join(map(str, others))}"] if others else []
    return f"{' and '.join([*by_unit, *by_pid])} on the host"


def foreign_apps(seen: Evidence) -> list[App]:
    """Processes on the cards that belong to none of our services."""
    return [app for app in seen.apps if app.unit not in OUR_UNITS]


def _memory(site: Site, seen: Evidence) -> Iterator[Finding]:
    """vLLM's share is of the whole card and must be free when it starts."""
    for key, server, cards in _servers(site, seen) if site.phase == 2 else ():
        for card in cards if server.kv_cache_memory is None else ():
            taken = sum(app.memory for app in foreign_apps(seen) if app.uuid == card.uuid)
            wanted = server.gpu_memory_utilization * card.memory_total
            if wanted > card.memory_total - taken:
                fits = int(100 * (card.memory_total - taken) / card.memory_total) / 100
                there = [app for app in foreign_apps(seen) if app.uuid == card.uuid]
                holders = ", ".join(map(str, there))
                yield error(
                    f"{key}.gpu_memory_utilization",
                    f"{server.gpu_memory_utilization} of card {card.index} is {wanted:.0f} MiB, "
                    f"but {holders} {'holds' if len(there) == 1 else 'hold'} {taken} of its {card.memory_total} MiB",
                    f"{_how_to_stop(there)}, or set {key}.gpu_memory_utilization to {fits:.2f} or less",
                )


def _budget(site: Site, seen: Evidence) -> Iterator[Finding]:
    """What vLLM and vision claim of each card together, once the driver tells its size."""
    if site.phase != 2:
        return
    sizes = [CardSize(card.index, card.uuid, card.memory_total * MIB) for card in seen.cards]
    for line in budget(site, sizes):
        if line.left_bytes < 0:
            yield error("gpu memory", f"{line}: {-line.left_bytes // MIB} MiB too much", _how_to_fit(line))
        elif line.is_shared:
            yield note("gpu memory", str(line))


def _how_to_fit(line: BudgetLine) -> str:
    """What to set lower; the share that is named leaves the other claims as they are."""
    others = line.driver_bytes + line.vision_bytes + line.vllm_vision_bytes
    share = int(100 * (line.card.total_bytes - others) / line.card.total_bytes) / 100
    if not line.vllm_vision_bytes:
        lower = f"vllm.gpu_memory_utilization to {share:.2f} or less"
        return f"set {lower}, or ollama.vision.memory lower, or give each its own card with vllm.gpus and ollama.vision.gpus"
    lower = f"vllm.gpu_memory_utilization to {share:.2f} or less" if line.vllm_bytes and share > 0 else ""
    also = "vllm_vision.gpu_memory_utilization lower"
    return (
        f"set {f'{lower}, or {also}' if lower else also}, or give each its own card with vllm.gpus and vllm_vision.gpus"
    )


def describe(cards: Sequence[PciDevice]) -> str:
    """For people: how many cards of which generation are on the bus."""
    names = [card.generation.name if card.generation else f"[10de:{card.device:04x}]" for card in cards]
    return ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names))
