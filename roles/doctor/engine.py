"""Diagnoses of vLLM: why it does not come up, and whether it still answers. A case in, diagnoses out.

The texts are those of vLLM 0.32.0 (v1/engine, entrypoints, config/model.py) and of Triton's and FlashInfer's compilers. Those
that need a card to be made are quoted from its source and from reports on its issues.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from roles.doctor.case import Case, for_people, how_to_end, quote, who_listens
from roles.doctor.diagnosis import Diagnosis
from roles.doctor.vram import vram_diagnoses
from roles.hidden import hidden_in_prose

NO_MODEL = ("model-damaged", "hub-token", "model-not-found", "certificate", "hub-unreachable", "disk-full")
HEALTH, TOKEN = "/health", "a token"  # of a unit: what it is asked
ENGINE_DEAD = (
    r"EngineDeadError|engine core exited unexpectedly|Engine core proc \S+ died unexpectedly"
    r"|EngineCore encountered a fatal error"
)
COMPILER = (
    r"Failed to find C compiler|Could not find nvcc|nvcc not found|ninja: not found|'ninja' failed"
    r"|No such file or directory: '(?:ninja|gcc|g\+\+|nvcc)'"
    r"|fatal error: Python\.h: No such file|Ninja is required to load C\+\+ extensions"
)
NO_CARD = r"No CUDA GPUs are available|Failed to infer device type|no CUDA-capable device|resolve-gpus: (.+)"
SETTINGS = (
    r"unrecognized arguments: (.+)|error: argument (.+)"
    r"|User-specified max_model_len \((\d+)\) is greater than the derived max_model_len"
    r"|Total number of attention heads \(\d+\) must be divisible by tensor parallel size"
    r"|Unknown quantization method: (\S+)"
    r"|Bfloat16 is only supported on GPUs with compute capability|The model's architectures? .* not supported"
)
DERIVED = r"derived max_model_len \(\S*?=(?:\S*?=)?(\d+)"
# vLLM says so every ten seconds.
LOAD = r"Avg generation throughput: ([\d.]+) tokens/s, Running: \d+ reqs, Waiting: \d+"
FRESH_S = 60.0
IN_USE = r"[Aa]ddress already in use"


def engine_diagnoses(case: Case) -> Iterator[Diagnosis]:
    """In the order in which a start goes: command line, cards, memory, compilers, port; then a vLLM that is up and dead."""
    if not case.wants_phase_2 or not case.site.prepares_phase_2:
        return
    unit = case.unit(case.engine)
    if unit.load == "not-found":
        return  # told as a host that was never deployed
    if unit.is_up:
        yield from dead_while_up(case)
        return
    found = [*settings(case), *no_card(case), *vram_diagnoses(case), *compiler(case), *port(case), *dead(case)]
    yield from found
    if not found:
        yield from not_up(case)


def dead_while_up(case: Case) -> Iterator[Diagnosis]:
    """systemd has it up: its engine has died, or it answers nothing any more."""
    health, token = case.answer(f"{case.engine}:{HEALTH}"), case.answer(f"{case.engine}:{TOKEN}")
    died = case.said(case.engine, ENGINE_DEAD)
    restart = f"systemctl restart {case.name} on the host (as root), or serve at once without it: {case.back}"
    if health.status == 503 or (died and health.status != 200):
        evidence = (
            f"/health on {case.server.port}: {health.status or health.error}",
            *([quote(case.engine, died[0])] if died else []),
        )
        yield Diagnosis(
            "engine-dead",
            "certain",
            "vLLM's engine is dead while its port answers",
            evidence,
            restart,
            follows=("out-of-memory", "card-fault"),
        )
    elif health.status == 200 and token.timed_out and (busy := at_work(case)):
        yield Diagnosis(
            "engine-busy",
            "likely",
            "vLLM is at work on more requests than it answers in time",
            (busy, f"a token did not come within {token.seconds:.0f} s"),
            f"no restart: it would cut every stream. Send fewer at once, or share the load (adapter.replicas), then: {case.deploy}",
        )
    elif health.timed_out or (health.status == 200 and token.timed_out):
        asked = "/health" if health.timed_out else f"a token ({token.seconds:.0f} s)"
        yield Diagnosis(
            "engine-hangs",
            "likely",
            "vLLM takes requests and answers none",
            (f"port {case.server.port} takes connections; no answer to {asked}",),
            restart,
            follows=("card-fault",),
        )
    elif not health.status:
        yield Diagnosis(
            "engine-mute",
            "likely",
            "vLLM's unit is up, and nothing answers on its port",
            (
                f"port {case.server.port}: {health.error}",
                f"the unit has been up for {for_people(case.seen.now - case.unit(case.engine).changed)}",
            ),
            restart,
        )
    elif token.status >= 500:
        yield Diagnosis(
            "engine-fails",
            "likely",
            "vLLM is healthy by its own word and fails a request",
            (hidden_in_prose(f"one token asked for, {token.status} answered {' '.join(token.text.split())}"),),
            restart,
        )


def at_work(case: Case) -> str:
    """What it last said of its load, where that is fresh and it generates; "" otherwise."""
    found = case.said(case.engine, LOAD)
    if found is None or case.seen.now - found[0].time > FRESH_S or not float(found[1][1]):
        return ""
    return quote(case.engine, found[0])


def settings(case: Case) -> Iterator[Diagnosis]:
    """What vLLM refuses before it touches a card."""
    if found := case.said(case.engine, SETTINGS):
        line, match = found
        limit = re.search(DERIVED, line.text)
        if match[3]:
            most = limit[1] if limit else "what the model's config.json says"
            remedy = f"set {case.about}.max_model_len to at most {most}, then: {case.deploy}"
        elif match[1] or match[2]:
            remedy = f"correct {case.about}.extra_args in the inventory, then: {case.deploy}"
        else:
            keys = ", ".join(f"{case.about}.{key}" for key in ("dtype", "tensor_parallel_size", "model"))
            remedy = f"correct what the line names ({keys}), then: {case.deploy}"
        yield Diagnosis("vllm-settings", "certain", "vLLM refuses its settings", (quote(case.engine, line),), remedy)


def no_card(case: Case) -> Iterator[Diagnosis]:
    """vLLM sees no card."""
    if found := case.said(case.engine, NO_CARD):
        yield Diagnosis(
            "vllm-without-card",
            "certain",
            "vLLM finds none of its cards",
            (
                quote(case.engine, found[0]),
                f"{case.about}.gpus: {', '.join(case.server.gpus) or 'those that vision does not name'}",
            ),
            f"nvidia-smi -L on the host lists what is there; correct {case.about}.gpus, then: {case.deploy}",
            follows=("driver-mismatch", "driver-not-loaded", "nvidia-smi-fails", "card-fault"),
        )


def compiler(case: Case) -> Iterator[Diagnosis]:
    """Kernels are compiled at the first start; that needs a C compiler, Python's headers, for some kernels nvcc and ninja."""
    if found := case.said(case.engine, COMPILER):
        line, match = found
        there = f"C compiler on the host: {case.seen.compiler or 'none'}"
        if "nvcc" in match.group():
            other = f"""{case.about}.extra_args = ["--attention-backend", "FLASH_ATTN"] does without FlashInfer's compilation"""
            remedy = f"{other}, or install the CUDA toolkit; then: {case.deploy}"
        else:
            by_hand = "apt-get install gcc g++ python3-dev on the host"
            remedy = (
                f"{case.deploy} puts back what somebody has removed; or {by_hand}, then: systemctl restart {case.name}"
            )
        yield Diagnosis(
            "no-compiler",
            "certain",
            "vLLM cannot compile its kernels: a compiler is missing",
            (quote(case.engine, line), there),
            remedy,
        )


def port(case: Case) -> Iterator[Diagnosis]:
    """Somebody else has vLLM's port."""
    wanted = case.server.port
    others = [one for one in case.listeners if one.port == wanted and one.unit != case.engine and one.pid]
    found = case.said(case.engine, IN_USE)
    if others or found:
        who = [f"port {wanted}: {who_listens(one)}" for one in others]
        end = how_to_end(others[0]) if others else f"ss -ltnp 'sport = :{wanted}' names the process: end it"
        yield Diagnosis(
            "vllm-port-taken",
            "certain" if others else "likely",
            "somebody else has vLLM's port",
            (*who, *([quote(case.engine, found[0])] if found else [])),
            f"on the host: {end}; systemctl restart {case.name}. Or set another {case.about}.port",
        )


def dead(case: Case) -> Iterator[Diagnosis]:
    """An engine that died at work, when systemd has not started it again yet."""
    if found := case.said(case.engine, ENGINE_DEAD):
        yield Diagnosis(
            "engine-died",
            "likely",
            "vLLM's engine died; systemd starts it again",
            _words(case, quote(case.engine, found[0])),
            f"journalctl -u {case.name} -n 200 on the host: what stands above that line is the reason. "
            f"To serve at once: {case.back}",
            follows=("out-of-memory", "card-fault", "cards-out-of-memory", "no-compiler"),
        )


def not_up(case: Case) -> Iterator[Diagnosis]:
    """It is not up, and nothing that is known was said."""
    unit = case.unit(case.engine)
    if unit.is_starting:
        since = case.seen.now - unit.began
        given = f"it is given {for_people(case.server.ready_timeout_s)} ({case.about}.ready_timeout_s)"
        lines = case.lines(case.engine)
        yield Diagnosis(
            "vllm-starting",
            "certain",
            "vLLM is starting",
            (f"for {for_people(since)}; {given}", *([quote(case.engine, lines[-1])] if lines else [])),
            f"wait; journalctl -fu {case.name} on the host shows it. To serve meanwhile: {case.back}",
            follows=("model-downloading", "model-stalled", *NO_MODEL),
        )
    elif unit.active == "failed" or unit.sub == "auto-restart":
        state = "gave up after" if unit.active == "failed" else "tries again after"
        yield Diagnosis(
            "vllm-fails",
            "possible",
            "vLLM does not come up",
            _words(case, f"systemd {state} {unit.restarts} restarts; {unit.result}, status {unit.exit_status}"),
            f"journalctl -u {case.name} -n 100 on the host; when the cause is gone: "
            f"systemctl reset-failed {case.name}; systemctl start {case.name}. "
            f"To serve at once: {case.back}",
            follows=(*NO_MODEL, "out-of-memory", "driver-mismatch", "driver-not-loaded"),
        )
    elif case.unit(case.download).active != "activating":
        yield Diagnosis(
            "vllm-stopped",
            "likely",
            "vLLM does not run in Phase 2",
            (f"{case.engine} is {unit.active}; somebody has stopped it",),
            f"systemctl start {case.name} on the host, or: {case.deploy}",
            follows=NO_MODEL,
        )


def _words(case: Case, first: str) -> tuple[str, ...]:
    """The first line of evidence, and the last error that it named."""
    found = case.last_error(case.engine)
    last = quote(case.engine, found) if found else ""
    return (first, *([last] if last and last != first else []))
