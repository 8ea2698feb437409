"""Diagnoses of the machine: driver, cards, memory, disk, clock. A case in, diagnoses out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from roles.cards import FATAL_XIDS
from roles.doctor.case import GIB, Case, for_people, gib
from roles.doctor.diagnosis import Diagnosis
from roles.driver_version import driver_version
from roles.facts.evidence import App
from roles.layout import OLLAMA_TEXT, OLLAMA_VISION, OUR_UNITS, VLLM, VLLM_VISION

LEAST_FREE, LEAST_SHARE = GIB, 0.02
LEAST_MEMORY = 0.03
CLOCK_S = 5.0  # what a slow connection and a busy host cannot make
OWN_LIMIT = "CONSTRAINT_MEMCG"
OUR_PROGRAMS = ("vllm", "ollama", "python")
REPLACE = "stop the host's work and have the card reset (reboot) or replaced; nvidia-smi -q -d ECC,ROW_REMAPPER shows its counts"


def machine_diagnoses(case: Case) -> Iterator[Diagnosis]:
    """In the order in which one would look: what is below first."""
    yield from driver(case)
    yield from faults_of_cards(case)
    yield from disk(case)
    yield from clock(case)
    yield from memory(case)
    yield from card_memory_held(case)


def driver(case: Case) -> Iterator[Diagnosis]:
    """The kernel's module and the installed libraries must be of one version, and there must be a module at all."""
    machine = case.machine
    said = machine.smi_failure
    if case.site.gpu != "nvidia":
        return
    smi = f"nvidia-smi: {said}" if said else ""
    loaded = f"the kernel runs {machine.loaded or 'no NVIDIA module'}"
    libraries = [one for one in machine.packages if one.installed and one.name.startswith("libnvidia-compute")]
    library = max((driver_version(one.version) for one in libraries), default="")
    if "version mismatch" in said.lower() or (machine.loaded and library and library != machine.loaded):
        installed = f"the libraries are {library}" if library else "the libraries are of another version"
        yield Diagnosis(
            "driver-mismatch",
            "certain",
            "the driver was upgraded under the running kernel module: new programs find no card until it is loaded anew",
            tuple(filter(None, (smi, f"{loaded}; {installed}"))),
            f"{case.deploy} reloads it when the cards are idle, else reboots if nvidia.reboot allows that",
        )
    elif machine.pci_cards and not machine.loaded:
        kernel = (
            "headers for it are there or offered"
            if machine.kernel in machine.headers
            else "no repository has its headers"
        )
        yield Diagnosis(
            "driver-not-loaded",
            "certain",
            "the cards have no driver: the running kernel has no NVIDIA module",
            (
                f"{len(machine.pci_cards)} on the PCI bus; {loaded}",
                f"kernel {machine.kernel}; {kernel}",
                *([f"nvidia-smi: {said}"] if said else []),
            ),
            f"{case.deploy} builds and loads it for the running kernel; dkms status on the host says what was tried",
        )
    elif said:
        yield Diagnosis(
            "nvidia-smi-fails",
            "likely",
            "the driver does not answer",
            (f"nvidia-smi: {said}", loaded),
            "journalctl -k -b | grep NVRM on the host says why; a reboot brings back a card that hangs",
        )


def faults_of_cards(case: Case) -> Iterator[Diagnosis]:
    """What the driver has reported of its cards in this boot."""
    fatal = [xid for xid in case.machine.xids if xid.code in FATAL_XIDS]
    for code in sorted({xid.code for xid in fatal}):
        evidence = tuple(f"XID {xid.code} at {xid.address}: {xid.text}" for xid in fatal if xid.code == code)
        yield Diagnosis("card-fault", "certain", f"a card is at fault: {FATAL_XIDS[code]}", evidence, REPLACE)
    for health in case.machine.health:
        if health.remap_failed or health.remap_pending:
            what = "could not be replaced" if health.remap_failed else "wait for a reset of the card to be replaced"
            yield Diagnosis(
                "card-memory",
                "likely",
                f"rows of a card's memory {what}",
                (f"{health.uuid}: {health.uncorrected} uncorrected errors",),
                REPLACE,
            )


def disk(case: Case) -> Iterator[Diagnosis]:
    """Full, without inodes, or read-only, by file system."""
    by_device: dict[int, list[str]] = {}
    for path, seen in case.seen.folders.items():
        by_device.setdefault(seen.device, []).append(path)
    for paths in by_device.values():
        path, seen = paths[0], case.seen.folders[paths[0]]
        where = ", ".join(paths)
        if seen.read_only:
            evidence = [
                f"{where}: mounted read-only",
                *(line for line in case.seen.kernel if "read-only" in line or "I/O error" in line),
            ]
            yield Diagnosis(
                "disk-read-only",
                "certain",
                "a file system takes no more writes",
                tuple(evidence),
                "journalctl -k -b | grep -iE 'error|read-only' on the host; have the disk checked (fsck at boot) or replaced",
            )
        elif seen.free < min(LEAST_FREE, seen.total * LEAST_SHARE):
            yield Diagnosis(
                "disk-full",
                "certain",
                "a disk is full",
                (f"{where}: {gib(seen.free)} of {gib(seen.total)} free", *_no_space(case)),
                f"on the host: du -xh --max-depth=2 {path} | sort -h | tail; journalctl --vacuum-size=500M; docker system df; "
                "then start again what failed",
            )
        elif seen.inodes and seen.inodes_free < seen.inodes * LEAST_SHARE:
            yield Diagnosis(
                "disk-no-inodes",
                "certain",
                "a disk has no room for more files, whatever its free bytes",
                (f"{where}: {seen.inodes_free} of {seen.inodes} inodes free",),
                f"on the host: du --inodes -x --max-depth=3 {path} | sort -n | tail names the folder",
            )


def _no_space(case: Case) -> Iterator[str]:
    for unit in case.seen.journal:
        if found := case.said(unit, r"No space left on device|Disk quota exceeded"):
            yield f"{unit.removesuffix('.service')}: {found[1].group()}"


def clock(case: Case) -> Iterator[Diagnosis]:
    """A clock that is wrong makes certificates invalid and orders journals wrongly."""
    ahead = case.clock_ahead_s
    if abs(ahead) <= CLOCK_S:
        return
    evidence = [f"the host's clock is {for_people(abs(ahead))} {'before' if ahead > 0 else 'behind'} the controller's"]
    if case.seen.synchronised is False:
        evidence.append("systemd says that it is not synchronised with any time server")
    yield Diagnosis(
        "clock-skew",
        "certain" if case.seen.synchronised is False else "likely",
        "the clock is wrong: certificates look expired or not yet valid, tokens too",
        tuple(evidence),
        "on the host: timedatectl set-ntp true; timedatectl timesync-status; without time servers in reach set NTP= in "
        "/etc/systemd/timesyncd.conf (compare the controller's clock too)",
    )


def memory(case: Case) -> Iterator[Diagnosis]:
    """The host's own memory, not that of the cards."""
    # Not a container at a limit of its own: the host has memory then.
    kernel = [line for line in case.seen.kernel if OWN_LIMIT not in line]
    killed = [line for line in kernel if "Out of memory: Killed" in line or "oom-kill:" in line]
    ended = [name for name, unit in case.seen.units.items() if unit.result == "oom-kill"]
    total, left = case.seen.memory_total, case.seen.memory_available
    room = f"{gib(left)} of {gib(total)} available now"
    remedy = (
        "systemd-cgtop -m -n 1 on the host shows who has it; take load off the host, or for vLLM on the CPU set a smaller "
        "vllm.kv_cache_memory or vllm.max_model_len"
    )
    if ended or killed:
        evidence = (*(f"{name}: ended by the kernel for want of memory" for name in ended), *killed[-3:], room)
        yield Diagnosis(
            "out-of-memory", "certain" if ended else "likely", "the host's memory ran out", evidence, remedy
        )
    elif total and left < total * LEAST_MEMORY:
        yield Diagnosis("memory-low", "likely", "the host's memory is nearly used up", (room,), remedy)


def card_memory_held(case: Case) -> Iterator[Diagnosis]:
    """Processes on the cards outside our units: what a server left when it was killed, or somebody else's work."""
    names = {card.uuid: f"card {card.index}" for card in case.machine.cards}
    apps = [app for app in case.machine.apps if not app.unit.startswith("docker-")]
    orphans = [app for app in apps if _is_left_behind(case, app)]
    strangers = [app for app in apps if app.unit not in OUR_UNITS]
    others = [app for app in strangers if app not in orphans]
    engines = (VLLM, *((VLLM_VISION,) if case.site.vision_on_vllm else ()))
    down = [unit for unit in engines if not case.unit(unit).is_up]
    if orphans:
        pids = [str(app.pid) for app in orphans]
        again = " ".join(down or engines) if case.wants_phase_2 else OLLAMA_TEXT
        yield Diagnosis(
            "orphans-on-cards",
            "certain" if down and case.wants_phase_2 else "likely",
            "processes that a server left behind hold memory of the cards",
            tuple(_held(app, names) for app in orphans),
            f"on the host: ps -o pid,ppid,lstart,cmd -p {','.join(pids)}; what nobody owns: kill -9 {' '.join(pids)}; "
            f"systemctl restart {again}",
        )
    if others and (down if case.wants_phase_2 else not case.unit(OLLAMA_VISION).is_up):
        yield Diagnosis(
            "strangers-on-cards",
            "possible",
            "others compute on the cards, which vLLM counts as its own",
            tuple(_held(app, names) for app in others),
            "end their work, give vLLM other cards (vllm.gpus), or lower vllm.gpu_memory_utilization, then: "
            + case.deploy,
        )


def _is_left_behind(case: Case, app: App) -> bool:
    """Of a unit of ours that does not run, or a program of the kinds that they run in no service and no person's session."""
    if app.unit in OUR_UNITS:
        unit = case.unit(app.unit)
        return not unit.is_up and not unit.is_starting and unit.active not in ("deactivating", "reloading")
    name = app.name.rpartition("/")[2].lower()
    return any(word in name for word in OUR_PROGRAMS) and not app.unit.endswith((".service", ".scope"))


def _held(app: App, cards: Mapping[str, str]) -> str:
    return f"{cards.get(app.uuid, app.uuid)}: {app} holds {app.memory} MiB"
