"""Findings about a host from what was seen on it. Facts and settings in, findings out; no I/O."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from roles.drift.facts import FileSeen, Look
from roles.drift.findings import Finding, deploy_command
from roles.drift.steps import Step
from roles.facts.survey import Listener
from roles.hidden import hidden
from roles.layout import (
    ADAPTER,
    ADAPTER_SOCKET,
    ADAPTER_VISION,
    ADAPTER_VISION_SOCKET,
    CREDENTIALS,
    METRICS_SERVICE,
    MONITORING_UNITS,
    OLLAMA_EMBED,
    OLLAMA_TEXT,
    OLLAMA_VISION,
    UNITS,
    VLLM,
    VLLM_VISION,
    drop_in,
    phase_units,
    snapshots,
)
from roles.settings import is_everywhere
from roles.site import Site
from roles.telling import Refusal

DIFF_LINES = 12
OF_PACKAGES = ("/usr/lib/", "/lib/")  # drop-ins that a package brings for its own unit
# Not ours, and on nearly every host.
FAMILIAR = frozenset({"sshd", "systemd-resolve", "systemd-network", "systemd", "chronyd", "ntpd", "rpcbind"})


def short_diff(found: str, expected: str) -> tuple[str, ...]:
    """The lines that differ, `-` as it is on the host, `+` as it should be."""
    lines = difflib.unified_diff(found.splitlines(), expected.splitlines(), lineterm="", n=0)
    changed = [hidden(line) for line in lines if not line.startswith(("---", "+++", "@@"))]
    more = len(changed) - DIFF_LINES
    return (*changed[:DIFF_LINES], *([f"… {more} more lines"] if more > 0 else []))


def plan_findings(host: str, steps: Sequence[Step], files: Mapping[str, FileSeen], look: Look) -> Iterator[Finding]:
    """What deploy.py would change, step by step. :param files: as they are on the host, by path."""
    for step in steps:
        if step.path is None:
            first = f": {hidden(step.command)}" if step.command else ""
            yield Finding(
                "plan", step.name, "nothing to do", f"deploy.py would do this{first}", deploy_command(host)
            )  # fmt: skip
            continue
        seen = files.get(step.path, FileSeen(None, None))
        secret = step.path.startswith(f"{CREDENTIALS}/")
        comparable = seen.text is not None and step.text is not None and not secret
        yield Finding(
            "file",
            step.path,
            f"as the step {step.name!r} writes it",
            _how_it_differs(step.path, seen, look),
            _back_or_meant(host),
            short_diff(seen.text or "", step.text or "") if comparable else (),
        )


def _how_it_differs(path: str, seen: FileSeen, look: Look) -> str:
    if seen.last_change is None:
        return "not there"
    if path in look.by_hand:
        return f"changed by hand since the last deploy ({seen.last_change})"
    return f"another content ({seen.last_change})"


def _back_or_meant(host: str) -> str:
    return f"{deploy_command(host)} puts it back; a change that is meant belongs into the inventory first"


def by_hand_findings(host: str, look: Look, steps: Sequence[Step]) -> Iterator[Finding]:
    """Files changed since the last deploy that no step of the plan has named."""
    told = {step.path for step in steps}
    for path, change in look.by_hand.items():
        if path not in told:
            found = f"changed by hand ({change})" if change else "not there"
            yield Finding("file", path, "as the last deploy put it down", found, _back_or_meant(host))


def drop_in_findings(look: Look) -> Iterator[Finding]:
    """Drop-ins that are not ours. A deploy leaves them, so they would stay for ever."""
    for unit, seen in look.units.items():
        packages = unit in MONITORING_UNITS
        # Compared by their steps: that of roles/gpu_sharing, and our part of a unit that came with a package.
        ours = {f"{UNITS}/{unit}.d/gpus.conf", *((drop_in(unit),) if packages else ())}
        as_it_is = (
            f"{unit} as its package and {drop_in(unit)} have it" if packages else f"{unit} as it is in {UNITS}/{unit}"
        )
        for path in seen.drop_ins:
            if path not in ours and not path.startswith(OF_PACKAGES):
                remedy = (
                    f"put what it sets into the inventory, then on the host: rm {path}; systemctl daemon-reload; "
                    f"systemctl try-restart {unit}"
                )
                yield Finding("drop-in", path, as_it_is, f"changes {unit}", remedy)


def unit_findings(host: str, site: Site, look: Look, status: Mapping[str, Any]) -> Iterator[Finding]:
    """Units that do not run as they should, in the words of systemd and of their proofs."""
    deploy = deploy_command(host)
    watching = [
        unit for unit in site.monitoring.units(site.gpu) if unit != METRICS_SERVICE
    ]  # runs to its end, by the timer
    wanted = (*phase_units(site)[site.phase], *watching)
    for unit, seen in look.units.items():
        if seen.load == "masked":
            yield Finding("unit", unit, "not masked", "masked", f"systemctl unmask {unit} on the host, then: {deploy}")
        elif seen.active == "failed":
            remedy = f"journalctl -u {unit} -n 50 on the host says why; systemctl reset-failed {unit}, then: {deploy}"
            yield Finding("unit", unit, "not failed", f"failed ({seen.result})", remedy)
        elif unit in wanted and seen.active != "active":
            yield Finding("unit", unit, "active", seen.active, f"systemctl start {unit} on the host, or: {deploy}")
        if unit in look.other_inputs:
            found = f"its present start has read others: {', '.join(look.other_inputs[unit])}"
            yield Finding("unit", unit, "runs with the inputs on the disk", found, deploy)
    for unit, proved in (status.get("proved") or {}).items():
        if unit in wanted and not proved:
            yield Finding("unit", unit, "its present start has made a token", "not asked for one yet", deploy)


def phase_findings(host: str, site: Site, status: Mapping[str, Any]) -> Iterator[Finding]:
    """The inventory's phase beside the one that serves, the one on record and the one of the next boot."""
    deploy = deploy_command(host)
    wanted = f"Phase {site.phase}"
    if not status:
        yield Finding("phase", "llm-phase", "says which phase serves", "it is not there, or says nothing", deploy)
        return
    boots = status.get("next_boot") or []
    for what, found, right in (
        ("serving", status.get("serving"), status.get("serving") == site.phase),
        ("on record", status.get("recorded"), status.get("recorded") == site.phase),
        ("next boot", " and ".join(str(one) for one in boots), boots == [site.phase]),
    ):
        if not right:
            remedy = f"{deploy}, or set phase in the inventory when the switch was meant"
            yield Finding("phase", what, wanted, f"Phase {found}" if found else "no whole phase", remedy)
    for number, lacking in sorted((status.get("complete") or {}).items()):
        if lacking:
            found = f"{len(lacking)} missing: {', '.join(lacking[:3])}"
            yield Finding("phase", f"Phase {number} on the disk", "every file", found, deploy)


def model_findings(host: str, site: Site, look: Look) -> Iterator[Finding]:
    """The revisions of vLLM's models in the hub cache."""
    for wanted in snapshots(site):
        model = look.models.get(wanted.marker)
        if model is None:
            continue
        what = f"{wanted.repository}@{wanted.revision}"
        if not model.complete or not model.files:
            found = f"{model.files} files, {'marked complete' if model.complete else 'not marked complete'}"
        elif model.dangling:
            lost = f"{len(model.dangling)} of {model.files} files have lost their content"
            found = f"{lost}: {', '.join(model.dangling[:3])}"
        else:
            continue
        remedy = f"rm -f {wanted.marker} on the host, then: {deploy_command(host)} fetches what is missing"
        yield Finding("model", what, f"complete in {wanted.hub_cache}", found, remedy)


def declared(site: Site) -> dict[int, tuple[str, str, frozenset[str]]]:
    """By port: the setting that names it, the address it listens on, and the units that may."""
    phase_1 = site.phase == 1
    text_at = site.ollama.address if phase_1 else site.adapter.address
    text = frozenset({OLLAMA_TEXT}) if phase_1 else frozenset({ADAPTER, ADAPTER_SOCKET})
    on_vllm = site.vision_on_vllm and not phase_1
    vision = frozenset({ADAPTER_VISION, ADAPTER_VISION_SOCKET} if on_vllm else {OLLAMA_VISION})
    ports = {
        site.vllm.port: ("vllm.port", "127.0.0.1", frozenset({VLLM})),
        site.adapter.port: ("adapter.port", text_at, text),
        site.ollama.vision.port: ("ollama.vision.port", site.ollama.address, vision),
        **{
            one.port: (key, one.address, frozenset({one.unit}))
            for key, one in site.monitoring.listening(site.gpu).items()
        },
    }
    if on_vllm:
        loopback = site.ollama.vision.loopback_port
        ports[site.vllm_vision.port] = ("vllm_vision.port", "127.0.0.1", frozenset({VLLM_VISION}))
        ports[loopback] = ("ollama.vision.loopback_port", "127.0.0.1", frozenset({OLLAMA_EMBED}))
    return ports


def is_loopback(address: str) -> bool:
    """Whether only this host reaches it."""
    return address.startswith("127.") or address in ("::1", "0000:0000:0000:0000:0000:0000:0000:0001")


def listener_findings(host: str, site: Site, listeners: Sequence[Listener]) -> Iterator[Finding]:
    """Who listens on our ports, and where; and whether anybody does."""
    ports = declared(site)
    for listener in listeners:
        if listener.port not in ports:
            continue
        key, address, units = ports[listener.port]
        who = listener.unit or (f"{listener.command} (pid {listener.pid})" if listener.pid else "an unknown process")
        expected = f"{' or '.join(sorted(units))} on {address} ({key})"
        if listener.unit not in units:
            remedy = f"{_how_to_end(listener)}, then: {deploy_command(host)}; or choose another {key}"
        elif listener.address != address and not (is_everywhere(address) and is_everywhere(listener.address)):
            remedy = f"{deploy_command(host)}; a drop-in of {listener.unit} may have moved it"
        else:
            continue
        yield Finding("listener", f"port {listener.port}", expected, f"{who} on {listener.address}", remedy)
    heard = {listener.port for listener in listeners}
    for port, (key, address, units) in ports.items():
        if port not in heard and (port != site.vllm.port or site.phase == 2):
            expected = f"{' or '.join(sorted(units))} on {address} ({key})"
            yield Finding("listener", f"port {port}", expected, "nobody listens", deploy_command(host))


def _how_to_end(listener: Listener) -> str:
    if listener.command == "docker-proxy":
        return f"docker ps --filter publish={listener.port} on the host names the container: docker stop it"
    if listener.unit.endswith((".service", ".socket")):
        return f"systemctl disable --now {listener.unit} on the host"
    return f"ss -ltnp 'sport = :{listener.port}' on the host names the process: end it"


def other_listeners(site: Site, listeners: Sequence[Listener]) -> list[str]:
    """A note on who else can be reached from outside; no drift, since no inventory declares them."""
    ours = {*declared(site), site.ollama.pull_port}
    seen = sorted(
        {
            (one.port, one.unit or one.command or "an unknown process")
            for one in listeners
            if one.port not in ours and not is_loopback(one.address) and one.command not in FAMILIAR
        }
    )
    said = ", ".join(f"{port} {who}" for port, who in seen)
    return [f"reachable from outside, and not ours: {said}"] if said else []


def refusal_findings(refusals: Sequence[Refusal], ports_told: Collection[str]) -> Iterator[Finding]:
    """What keeps a deploy from this host. :param ports_told: ports that another finding is about already."""
    for refusal in refusals:
        if refusal.about not in ports_told:
            yield Finding(
                "refusal", refusal.about, "nothing keeps a deploy from this host", refusal.fact, refusal.remedy
            )
