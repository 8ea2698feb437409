"""Of several hosts one changes over first; the others follow in batches, and stop at the first that does not serve.

Everything before that - packages, downloads, files beside those in use - goes on on all hosts at once: no client sees it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from pyinfra import host, logger
from pyinfra.api import FunctionCommand, Host, State, operation

CHANGED: set[str] = set()  # hosts on which this run has put a release in place


def batch_of(name: str, names: Sequence[str], size: int | None) -> tuple[int, int]:
    """Which batch a host is in, and the number of the last one; both from 0, the canary alone.

    :param names: every host of the run, in the order of the inventory.
    :param size: hosts per batch after the canary; None: all of them at once.
    """
    others = len(names) - 1
    size = size or max(others, 1)
    place = names.index(name)
    return (0 if place == 0 else 1 + (place - 1) // size), -(-others // size)


def hosts_of_the_run(state: State) -> list[str]:
    """Names of the hosts that this run can reach, in the order of the inventory."""
    return [one.name for one in state.inventory if one in state.activated_hosts and state.is_host_in_limit(one)]


@operation()
def earlier_hosts_serve(batch: int, mine: int, size: int | None) -> Generator[FunctionCommand, None, None]:
    """Go on with a batch only when every host before it came through. Changes nothing, so it never counts as a change.

    Every host of the run has this step for every batch: pyinfra runs a step on all hosts before the next, so it parts the batches.

    :param batch: the one that would begin now. :param mine: the one this host is in. :param size: as in batch_of.
    """
    state = host.state
    names = hosts_of_the_run(state)
    # A host that preflight refused had no step at all: nothing was tried there that could go wrong here too.
    failed = [one.name for one in state.failed_hosts if one.name in names and state.results[one].error_ops]
    lost = [name for name in failed if batch_of(name, names, size)[0] < batch]
    if mine < batch or not lost or not state.is_executing:
        host.noop("the hosts before this batch came through")
        return
    done = [name for name in names if name in CHANGED and name not in lost]
    yield FunctionCommand(_stop, (sorted(lost), done), {})


def _stop(state: State, host: Host, lost: list[str], done: list[str]) -> bool:
    logger.error(
        f"{host.print_prefix}stopped before this host, whose services are as they were: {', '.join(lost)} failed"
    )
    logger.error(f"{host.print_prefix}    when it is mended: pyinfra inventory deploy.py -y")
    if done:
        limits = " ".join(f"--limit {name}" for name in done)
        logger.error(
            f"{host.print_prefix}    to take back those that were done: "
            f"pyinfra inventory rollback.py -y --data to=previous {limits}"
        )
    return False
