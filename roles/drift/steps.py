"""The steps of deploy.py that would change this host: the same plan that `deploy.py --dry` shows, read and then thrown away."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from pyinfra.api import FileUploadCommand, Host, State, StringCommand
from pyinfra.api.command import PyinfraCommand

from roles.release_files import NEXT

PLAYBOOK = "deploy.py"


@dataclass(frozen=True)
class Step:
    """A step that is not so on the host. `path` and `text`: of the file that it would write, None for any other step;
    `text` is None too for content that is no text. `command`: what it would run first, "" where that is no command."""

    name: str
    path: str | None = None
    text: str | None = None
    command: str = ""


def plan_without_comparing(state: State) -> None:
    """Have pyinfra leave the comparison of the steps with the host to `take_steps`, as it does for `-y`: once is enough."""
    state.check_for_changes = False


def take_steps(state: State, host: Host) -> list[Step]:
    """The planned steps that would change the host, in order. None of its steps is in the plan any more afterwards."""
    planned = [(op, state.ops[host][op]) for op in host.op_hash_order if op in state.ops[host]]
    steps = []
    for op, data in planned:
        # What hangs on `_if` is decided when the run has come to it: a consequence of another step, which is told.
        if data.global_arguments.get("_if"):
            continue
        # As pyinfra does it: a step that yields a command would change something. The second may be the upload.
        if commands := list(islice(data.command_generator(), 2)):
            steps.append(step_of(name_of(state.op_meta[op].names), commands))
    host.op_hash_order.clear()
    state.ops[host].clear()
    return steps


def name_of(names: Iterable[str]) -> str:
    """A step's name as deploy.py shows it; pyinfra puts the included file in front."""
    return min(names).removeprefix(f"{PLAYBOOK} | ")


def step_of(name: str, first: Sequence[PyinfraCommand]) -> Step:
    """A step from the first commands it would run; an upload among them says which file is meant."""
    for command in first:
        if isinstance(command, FileUploadCommand) and command.dest != f"{NEXT}/manifest.json":
            # A file of the release is staged first; what is meant is its place.
            return Step(name, command.dest.removesuffix(".new").removeprefix(f"{NEXT}/root"), _text(command))
    said = str(first[0]) if isinstance(first[0], StringCommand) else ""
    return Step(name, command=said)


def _text(command: FileUploadCommand) -> str | None:
    if isinstance(command.src, str):
        return None
    command.src.seek(0)
    content = command.src.read()
    command.src.seek(0)
    try:
        return content if isinstance(content, str) else content.decode()
    except UnicodeDecodeError:
        return None
