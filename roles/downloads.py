"""Long downloads: started on the host as a unit of their own, watched from the controller, so that one sees where they are."""

from __future__ import annotations

import shlex
import time
from collections.abc import Generator

from pyinfra import host, logger
from pyinfra.api import FactBase, FunctionCommand, Host, State, operation

from roles.secrets import privileges

POLL_S = 2.0
FULL_MIB = 32  # less is left: the reason, and the journal had no room to say so


class MissingPaths(FactBase[list[str]]):
    """Those of the given paths that do not exist."""

    @staticmethod
    def default() -> list[str]:
        return []

    def command(self, paths: tuple[str, ...]) -> str:
        return f'for p in {shlex.join(paths)}; do test -e "$p" || echo "$p"; done'

    def process(self, output: list[str]) -> list[str]:
        return output


@operation()
def downloaded(
    unit: str, results: tuple[str, ...], folder: str, stall_s: int
) -> Generator[FunctionCommand, None, None]:
    """Have every path of `results` on the host by running `unit`, a one-shot service that resumes what it began.

    :param folder: what the download fills; gives up when it has not grown for `stall_s` seconds.
    """
    if not host.get_fact(MissingPaths, paths=results):
        host.noop(f"{unit} has nothing to fetch")
        return
    yield FunctionCommand(_run, (unit, results, folder, stall_s), {})


def _run(state: State, host: Host, unit: str, results: tuple[str, ...], folder: str, stall_s: int) -> bool:
    sudo = privileges(host)
    begin = f"systemctl daemon-reload; systemctl reset-failed {unit} 2>/dev/null; systemctl start --no-block {unit}"
    ok, output = host.run_shell_command(begin, **sudo)
    if not ok:
        return _give_up(host, unit, f"it does not start: {output.stderr}", folder, sudo)
    look = (
        # The state first: a result that appears in between then counts, instead of looking like an end without it.
        f"systemctl show -p ActiveState -p Job {unit} | sort | cut -d= -f2 | paste -sd' '; "
        f'n=0; for p in {shlex.join(results)}; do test -e "$p" || n=$((n+1)); done; echo $n; '
        # Blocks really written: Ollama makes its partial files as large as the whole at once.
        f"du -s --block-size=1 {shlex.quote(folder)} | cut -f1; "
        f"journalctl -u {unit} -n 1 -o cat --no-pager"
    )
    size, said, moved = "", "", time.monotonic()
    while True:
        ok, output = host.run_shell_command(look, **sudo)
        lines = output.stdout_lines
        if ok and len(lines) >= 3:
            active, _, job = lines[0].partition(" ")
            if lines[1] == "0" and active in ("inactive", "active"):
                return True
            if active in ("failed", "inactive") and not job.strip():  # with a job it only waits for its turn
                return _give_up(host, unit, "it ended without everything", folder, sudo)
            if lines[2] != size:
                size, moved = lines[2], time.monotonic()
            if lines[3:] and lines[3] != said:
                said, moved = lines[3], time.monotonic()
                logger.info(f"{host.print_prefix}{said}")
        if time.monotonic() - moved > stall_s:
            host.run_shell_command(f"systemctl stop {unit}", **sudo)
            return _give_up(host, unit, f"no byte has come for {stall_s} s", folder, sudo)
        time.sleep(POLL_S)


def _give_up(host: Host, unit: str, reason: str, folder: str, sudo: dict[str, object]) -> bool:
    _, output = host.run_shell_command(f"df --output=avail -BM {shlex.quote(folder)} | tail -1 | tr -dc 0-9", **sudo)
    if output.stdout.strip().isdigit() and int(output.stdout) < FULL_MIB:
        logger.error(f"{host.print_prefix}no space left below {folder}: {output.stdout.strip()} MiB; df -h {folder}")
    _, output = host.run_shell_command(f"journalctl -u {unit} -n 12 -o cat --no-pager", **sudo)
    logger.error(f"{host.print_prefix}{unit}: {reason}. Its last lines:")
    for line in output.stdout_lines:
        logger.error(f"{host.print_prefix}    {line}")
    logger.error(f"{host.print_prefix}what came is kept; remove the cause and run the deploy again")
    return False
