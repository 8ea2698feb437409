"""What is true on the host: units, processes on the cards, files. Reads only."""

import os
import pwd
import re
import shlex
import subprocess

from llm_phase.errors import Refusal
from llm_phase.files import read_json

PHASES = "/etc/llm/phases.json"
# What can have 11434 or the cards, also on a host whose present description of the phases does not know it.
OURS = (
    "ollama-adapter.socket", "ollama-adapter.service", "vllm.service", "ollama-text.service",
    # With vision on vLLM; another release, or the settings of today, may have it on Ollama.
    "ollama-adapter-vision.socket", "ollama-adapter-vision.service", "vllm-vision.service", "ollama-embed.service",
)  # fmt: skip
PROVED = "/run/llm/proved"
ALIAS = "/etc/systemd/system/llm-phase.target"  # a link to the target of one phase
AT_BOOT = "/etc/systemd/system/multi-user.target.wants/llm-phase.target"


def run(*command, timeout=600):
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", env=environment, timeout=timeout
        )
    except FileNotFoundError as problem:
        return subprocess.CompletedProcess(command, 127, "", str(problem))
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"no end after {timeout} s")


def read_phases():
    """Both phases as the last deploy described them. Raises Refusal where there was none."""
    phases = read_json(PHASES, None)
    if phases is None:
        raise Refusal(f"{PHASES} is missing or broken: this host was never deployed; pyinfra inventory deploy.py -y")
    return phases


PROPERTIES = ("Id", "ActiveState", "SubState", "UnitFileState", "InvocationID")


def parse_units(text):
    """Properties by unit, from `systemctl show` of several."""
    units = {}
    for block in text.split("\n\n"):
        found = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if "Id" in found:
            units[found["Id"]] = found
    return units


def look(phases):
    """The units of both phases and their targets, as systemd has them."""
    names = sorted({*OURS, *(name for one in phases.values() for name in (one["target"], *one["units"]))})
    return parse_units(run("systemctl", "show", f"--property={','.join(PROPERTIES)}", "--", *names).stdout)


def is_up(units, name):
    return units.get(name, {}).get("ActiveState") == "active"


def is_chosen(units, name):
    return units.get(name, {}).get("UnitFileState") == "enabled"


def is_gone(units, name):
    return units.get(name, {}).get("ActiveState") in ("inactive", "failed")


def serving(phases, units):
    """The phase whose units all run; None when none is whole, or both would be."""
    whole = [
        number for number, one in phases.items() if all(is_up(units, name) for name in (one["target"], *one["units"]))
    ]
    return whole[0] if len(whole) == 1 else None


def chosen(phases, units):
    """The phases that a boot would come up in: one, unless something is wrong."""
    if not os.path.islink(AT_BOOT):
        return []
    return [number for number, one in sorted(phases.items()) if is_chosen(units, one["target"])]


def missing(one):
    """Files that a phase needs and that are not on this disk; of its text models one is enough."""
    lacking = [path for path in one["files"] if not os.path.exists(path)]
    models = [path for path in one["models"].values() if not os.path.exists(path)]
    return lacking + (models if models and len(models) == len(one["models"]) else [])


def proof(units, unit, gate):
    """As roles/phase writes it in a deploy, which asks for every model: that counts here too."""
    return f"{units.get(unit, {}).get('InvocationID', '')} {shlex.join(word for word in gate if word != '--some')}"


def is_proved(units, unit, gate):
    """Whether the running start of a unit has generated a token already; the same record that a deploy writes."""
    try:
        with open(f"{PROVED}/{unit}", encoding="utf-8") as file:
            return file.read().strip() == proof(units, unit, gate)
    except OSError:
        return False


CAUSE = re.compile(r"\b(?:\w+(?:Error|Exception)|error): \S")


def journal(units, lines=12):
    """The last lines of the units; before them those that name an error: vLLM's cause is two hundred lines above its last words."""
    words = [word for unit in units for word in ("-u", unit)]
    if not words:
        return ""
    said = run("journalctl", "-n", "300", "-o", "cat", "--no-pager", *words).stdout.rstrip().splitlines()
    causes = list(dict.fromkeys(line for line in said[:-lines] if CAUSE.search(line)))
    return "\n".join(causes[-3:] + said[-lines:])


def on_the_cards():
    """(pid, MiB) of the processes on the cards; none on a host without them."""
    done = run("nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits", timeout=60)
    rows = [line.split(",") for line in done.stdout.splitlines()] if done.returncode == 0 else []
    return [(int(row[0]), row[1].strip()) for row in rows if len(row) == 2 and row[0].strip().isdigit()]


def user_of(pid):
    """Whom a process belongs to; "" when it is gone. (Not its command: vLLM's engines rename themselves.)"""
    try:
        return pwd.getpwuid(os.stat(f"/proc/{pid}").st_uid).pw_name
    except (OSError, KeyError):
        return ""
