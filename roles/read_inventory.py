"""The hosts of a pyinfra inventory, with their data, as JSON on stdout:  python -m roles.read_inventory REQUEST

A process of its own: pyinfra's CLI patches the standard library for gevent on import, which is for no other program.
Everything that decides comes from pyinfra and from deploy itself – its loader (taught by config.py to read a directory), its
`--limit`, its precedence of data, preflight's layers – so everybody who asks sees the hosts that a deploy would reach.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import Any

from pyinfra.api import Config, Host, State
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import ctx_config, ctx_state
from pyinfra_cli.cli import _apply_inventory_limit
from pyinfra_cli.exceptions import CliError, UnexpectedExternalError
from pyinfra_cli.inventory import make_inventory
from pyinfra_cli.util import parse_cli_arg

import config as project_config  # first: it teaches the loader; its capitals are pyinfra's defaults, such as SUDO
from roles.preflight import layers


def described(host: Host) -> dict[str, Any]:
    """One host: how it is reached, and its data by layer."""
    data = host.data.dict()
    sudo: dict[str, Any] = {
        key: data.get(f"_{key}", getattr(project_config, key.upper(), None)) for key in ("sudo", "sudo_user")
    }
    return {
        "name": host.name,
        "connector": host.connector_cls.__name__,
        "ssh": {key: value for key, value in data.items() if key.startswith("ssh_")},
        **sudo,
        "sudo_password": bool(data.get("_sudo_password", getattr(project_config, "SUDO_PASSWORD", None))),
        "listeners": list(data.get("_verify_listeners", ())),
        "layers": layers(host),
    }


def main() -> int:
    request = json.loads(sys.argv[1])
    with contextlib.redirect_stdout(sys.stderr):  # an inventory may print, and pyinfra warns; stdout is for the answer
        overrides = {key: parse_cli_arg(value) for key, _, value in (pair.partition("=") for pair in request["data"])}
        ctx_state.set(
            State()
        )  # the loader executes the inventory's files as the CLI does: with a state and a configuration
        ctx_config.set(Config())
        try:
            inventory = make_inventory(request["inventory"], override_data=overrides, cwd=os.getcwd())
        except UnexpectedExternalError as problem:  # its own text shows nothing but the traceback
            print(f"{problem.filename}: {problem.exception!r}", file=sys.stderr)
            return 2
        except (CliError, PyinfraError) as problem:
            print(problem, file=sys.stderr)
            return 2
        limited = _apply_inventory_limit(inventory, request["limit"])
        chosen = None if limited is None else {host.name for host in limited}
        hosts = [described(host) for host in inventory if chosen is None or host.name in chosen]
    # Data may hold what JSON does not know, a path for example; the settings read its text.
    json.dump({"hosts": hosts, "names": list(inventory.hosts)}, sys.stdout, default=str)
    return 0


if __name__ == "__main__":
    sys.exit(main())
