"""Diagnoses of what clients talk to: the adapter on its port, the Ollama servers, and the phase. A case in, diagnoses out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from roles.doctor.case import Case, for_people, how_to_end, quote, who_listens
from roles.doctor.diagnosis import Diagnosis
from roles.hidden import hidden_in_prose
from roles.layout import (
    ADAPTER,
    ADAPTER_SOCKET,
    ADAPTER_VISION,
    ADAPTER_VISION_SOCKET,
    OLLAMA_EMBED,
    OLLAMA_TEXT,
    OLLAMA_VISION,
    OUR_UNITS,
    VLLM,
    VLLM_VISION,
)
from roles.model_names import canonical
from roles.settings import reachable_address
from roles.site import Site

READY, VERSION, TAGS, LOADED = "/ready", "/api/version", "/api/tags", "/api/ps"  # of a unit: what it is asked
NO_GPU_FOUND = r"no compatible GPUs were discovered|no nvidia devices detected|unable to load CUDA|library=cpu"
WHOLE = 0.98  # of a model in the cards' memory, where Ollama rounds
VLLM_CAUSES = (
    "model-downloading", "model-stalled", "hub-token", "model-not-found", "certificate", "hub-unreachable", "model-damaged",
    "vllm-settings", "vllm-without-card", "cards-memory-taken", "context-too-long", "model-too-large", "cards-out-of-memory",
    "no-compiler", "vllm-port-taken", "engine-died", "engine-dead", "engine-hangs", "engine-mute", "vllm-starting", "vllm-fails",
    "vllm-stopped",
)  # fmt: skip
VISION_CAUSES = ("port-taken", "disk-full", "disk-read-only", "driver-mismatch", "driver-not-loaded", "out-of-memory")


def server_diagnoses(case: Case) -> Iterator[Diagnosis]:
    """What serves, and what should."""
    if not case.status and not any(case.unit(unit).load == "loaded" for unit in (ADAPTER, OLLAMA_TEXT, OLLAMA_VISION)):
        yield Diagnosis(
            "never-deployed",
            "certain",
            "nothing of this project is on the host yet",
            ("no llm-phase, and systemd knows none of our units",),
            case.deploy,
        )
        return
    yield from phase(case)
    yield from ports_taken(case)
    for server in ollama_servers(case.site, 2 if case.wants_phase_2 else 1):
        yield from ollama(case, server)
    if case.wants_phase_2:
        for front in adapters(case.site):
            yield from adapter(case, front)


@dataclass(frozen=True)
class Server:
    """An Ollama that serves: its unit, the section of its settings, where it listens, what it must have."""

    unit: str
    key: str
    address: str
    port: int
    models: tuple[str, ...]

    @property
    def url(self) -> str:
        return f"http://{reachable_address(self.address)}:{self.port}"


@dataclass(frozen=True)
class Front:
    """An adapter: its unit and socket, where it listens, and the vLLM behind it."""

    unit: str
    socket: str
    address: str
    port: int
    engine: str

    @property
    def url(self) -> str:
        return f"http://{reachable_address(self.address)}:{self.port}"


def ollama_servers(site: Site, phase_number: int) -> tuple[Server, ...]:
    """Those of a phase."""
    text, vision = site.ollama.text, site.ollama.vision
    if phase_number == 1:
        first = Server(OLLAMA_TEXT, "ollama.text", site.ollama.address, text.port, text.models)
        return first, Server(OLLAMA_VISION, "ollama.vision", site.ollama.address, vision.port, vision.models)
    if site.vision_on_vllm:
        return (Server(OLLAMA_EMBED, "ollama.vision", "127.0.0.1", vision.loopback_port, site.embed_models),)
    return (Server(OLLAMA_VISION, "ollama.vision", site.ollama.address, vision.port, vision.models),)


def adapters(site: Site) -> tuple[Front, ...]:
    """Those of Phase 2."""
    text = Front(ADAPTER, ADAPTER_SOCKET, site.adapter.address, site.adapter.port, VLLM)
    if not site.vision_on_vllm:
        return (text,)
    port = site.ollama.vision.port
    return text, Front(ADAPTER_VISION, ADAPTER_VISION_SOCKET, site.adapter.address, port, VLLM_VISION)


def phase(case: Case) -> Iterator[Diagnosis]:
    """Another phase than the inventory's: after a rollback that nobody has undone, or half of one."""
    serving, wanted = case.status.get("serving"), case.site.phase
    if not case.status or serving == wanted:
        return
    boots = " and ".join(f"Phase {one}" for one in case.status.get("next_boot") or []) or "no phase"
    evidence = (
        f"the inventory says phase = {wanted}",
        f"{f'Phase {serving}' if serving else 'no whole phase'} serves; the next boot brings {boots}",
    )
    if serving:
        error = case.last_error(VLLM) if serving == 1 else None
        words = (
            f"vLLM's last error, {for_people(case.seen.now - error.time)} ago: {quote(VLLM, error)}" if error else ""
        )
        yield Diagnosis(
            "other-phase",
            "certain",
            f"the host serves Phase {serving}: somebody went back, or a deploy did, and it was left so",
            (*evidence, *([words] if words else [])),
            f"llm-phase log on the host says who and why. Forward again: {case.deploy}; or set phase = {serving} in the inventory",
        )
    else:
        yield Diagnosis(
            "no-phase",
            "likely",
            "no phase serves as a whole",
            evidence,
            f"llm-phase on the host says what is missing; {case.deploy}; to serve text at once: {case.back}",
            follows=VLLM_CAUSES + VISION_CAUSES,
        )


def ports_taken(case: Case) -> Iterator[Diagnosis]:
    """Others on the ports that clients know."""
    ports = {case.site.adapter.port: "adapter.port", case.site.ollama.vision.port: "ollama.vision.port"}
    if case.site.vision_on_vllm and case.wants_phase_2:
        ports[case.site.ollama.vision.loopback_port] = "ollama.vision.loopback_port"
    for one in case.listeners:
        if one.port in ports and one.pid and one.unit not in OUR_UNITS:
            yield Diagnosis(
                "port-taken",
                "certain",
                f"somebody else listens on {one.port}, which clients know as ours ({ports[one.port]})",
                (f"port {one.port}: {who_listens(one)}",),
                f"on the host: {how_to_end(one)}; then: {case.deploy}",
            )


def adapter(case: Case, front: Front) -> Iterator[Diagnosis]:
    """What clients talk to in Phase 2: text on 11434, and pictures on 11435 where a vLLM answers about them."""
    socket, unit, ready = case.unit(front.socket), case.unit(front.unit), case.answer(f"{front.unit}:{READY}")
    port = front.port
    if not socket.is_up and not unit.is_up:
        both = f"{front.socket} {front.unit}"
        state = f"{front.unit} is {unit.active}, {front.socket} {socket.active}"
        last = case.lines(front.unit)[-1:] if unit.active == "failed" else ()
        yield Diagnosis(
            "adapter-down",
            "certain",
            f"the adapter does not run: nobody answers on {port}",
            (state, *(quote(front.unit, line) for line in last)),
            f"on the host: systemctl reset-failed {both}; systemctl start {both}; or: {case.deploy}",
            follows=("port-taken", "disk-full", "no-phase"),
        )
    elif ready.status == 503:
        told = hidden_in_prose(str(ready.object().get("error") or "").strip())
        yield Diagnosis(
            "adapter-503",
            "certain",
            "clients get 503 from the adapter: it runs, and a vLLM behind it does not serve",
            (
                f"/ready on {port}: 503{f' {told}' if told else ''}",
                f"{front.engine} is {case.unit(front.engine).active}",
            ),
            "see what vLLM's own entry says; the adapter needs no restart (it holds no state, and open streams would be cut)",
            follows=VLLM_CAUSES,
        )
    elif case.answer(f"{front.unit}:{VERSION}").status == 401:
        yield Diagnosis(
            "adapter-token",
            "certain",
            "the adapter does not take the token that lies on this host, so clients with that token get 401 too",
            (f"{VERSION} on {port} with the token of this host: 401",),
            f"systemctl restart {front.unit} on the host has it read the token anew; or: {case.deploy}",
        )
    elif not ready.status:
        yield Diagnosis(
            "adapter-mute",
            "likely",
            "the adapter's port is open and nothing answers",
            (f"/ready on {port}: {ready.error}", f"{front.unit} is {unit.active} ({unit.result})"),
            f"systemctl restart {front.unit} on the host; text at once without it: {case.back}",
            follows=("port-taken", "disk-full", "out-of-memory"),
        )


def ollama(case: Case, server: Server) -> Iterator[Diagnosis]:
    """An Ollama server: runs, answers, has its models, has them on the cards."""
    unit, key = server.unit, server.key
    state, tags = case.unit(unit), case.answer(f"{unit}:{TAGS}")
    name = unit.removesuffix(".service")
    if not state.is_up:
        last = case.lines(unit)[-1:]
        yield Diagnosis(
            "ollama-down",
            "certain",
            f"{name} does not run: nobody answers on {server.port}",
            (f"{unit} is {state.active} ({state.result or 'no result'})", *(quote(unit, line) for line in last)),
            f"systemctl reset-failed {name}; systemctl start {name} on the host; or: {case.deploy}",
            follows=VISION_CAUSES,
        )
        return
    models = tags.models()
    if tags.status != 200 or models is None:
        yield Diagnosis(
            "ollama-mute",
            "likely",
            f"{name} runs and does not answer",
            (f"{TAGS} on {server.port}: {tags.error or (tags.status if tags.status != 200 else 'no list of models')}",),
            f"journalctl -u {name} -n 50, then: systemctl restart {name} on the host",
            follows=VISION_CAUSES,
        )
        return
    has = {canonical(str(model.get("name") or model.get("model"))) for model in models}
    if lacking := [model for model in server.models if canonical(model) not in has]:
        yield Diagnosis(
            "ollama-model-missing",
            "certain",
            f"{name} lacks a model that the inventory names",
            (f"{key}.models has {', '.join(lacking)}; the server lists {', '.join(sorted(has)) or 'none'}",),
            f"{case.deploy} fetches it",
            follows=("disk-full",),
        )
    yield from on_the_processor(case, unit, key)


def on_the_processor(case: Case, unit: str, key: str) -> Iterator[Diagnosis]:
    """Models in the host's memory instead of a card's: ten to fifty times slower, and no error anywhere."""
    if case.site.gpu != "nvidia":
        return
    name = unit.removesuffix(".service")
    slow = []
    for model in case.answer(f"{unit}:{LOADED}").models() or []:
        size, on_cards = model.get("size"), model.get("size_vram") or 0
        if isinstance(size, int) and size and isinstance(on_cards, int) and on_cards < size * WHOLE:
            slow.append(f"{model.get('name')}: {on_cards / size:.0%} of {size / (1 << 30):.1f} GiB on the cards")
    said = case.said(unit, NO_GPU_FOUND)
    if not slow and not said:
        return
    evidence = (*slow, *([quote(unit, said[0])] if said else []), *_memory_of_cards(case))
    whole = not said and all(not line.split(": ")[1].startswith("0%") for line in slow)
    if whole:
        remedy = (
            f"make room on the card: lower vllm.gpu_memory_utilization, or set {key}.memory and {key}.max_loaded_models smaller, "
            f"or give it a card of its own ({key}.gpus); then: {case.deploy}"
        )
    else:
        again = f"systemctl restart {name} has Ollama look again"
        remedy = f"nvidia-smi -L on the host must list the card; {again}; else: {case.deploy}"
    cause = f"{name} computes {'partly ' if whole else ''}on the processor"
    follows = ("driver-mismatch", "driver-not-loaded", "nvidia-smi-fails", "card-fault", "orphans-on-cards")
    yield Diagnosis("ollama-on-cpu", "certain" if slow else "likely", cause, evidence, remedy, follows)


def _memory_of_cards(case: Case) -> Iterator[str]:
    for card in case.machine.cards:
        yield f"card {card.index}: {card.memory_used} of {card.memory_total} MiB used"
