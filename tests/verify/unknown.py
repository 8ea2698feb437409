"""The difference between "it is not so" and "nobody can tell": a host that cannot be reached is the latter."""

from __future__ import annotations

from typing import NoReturn

from _pytest.outcomes import Failed


class HostUnknown(Failed):
    """Fails a check because nothing could be seen; reports tell it once for each host, and monitoring gets UNKNOWN."""

    __module__ = "builtins"  # as pytest's own: no path of modules before the reason


def fail_as_unknown(reason: str) -> NoReturn:
    """Fail the check that runs, with this reason and no traceback."""
    __tracebackhide__ = True
    raise HostUnknown(reason, pytrace=False)
