"""pyinfra reads this file before the inventory. It lets `pyinfra inventory deploy.py` take the inventory *directory*.

pyinfra 3.10 opens its first argument as a file, so a directory fails. Two private functions of pyinfra_cli are wrapped here:
one merges every `*.py` of the directory, the other finds `group_data/` inside it. Both call the original for anything that
is not a directory. `tests/plan/test_command_line.py` runs the literal command on the pinned pyinfra.
`pyinfra inventory/hosts.py deploy.py` means the same and needs none of this.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyinfra_cli.inventory as cli

REQUIRE_PYINFRA_VERSION = "~=3.10.0"  # the two names below are private: widen this only with the test above


def _accept_a_directory() -> None:
    one_file: Callable[[str], dict[str, Any]] = cli._get_groups_from_filename
    from_files: Callable[..., Any] = cli.make_inventory_from_files
    if getattr(cli, "_accepts_directories", False):
        return

    def groups(path: str) -> dict[str, Any]:
        if not Path(path).is_dir():
            return one_file(path)
        merged: dict[str, Any] = {}
        for file in sorted(Path(path).glob("*.py")):
            for group, hosts in one_file(str(file)).items():
                if group in merged:
                    raise cli.CliError(f"{path}: group {group!r} is defined twice, the second time in {file.name}")
                merged[group] = hosts
        if not merged:
            raise cli.CliError(f"{path}: no *.py file here defines a group; see inventory/hosts.py of this project")
        return merged

    def inventory(
        path: str, override_data: Any = None, cwd: str | None = None, group_data_directories: Any = None
    ) -> Any:
        if Path(path).is_dir():
            group_data_directories = [str(Path(path) / "group_data"), *(group_data_directories or ())]
        return from_files(path, override_data, cwd, group_data_directories)

    cli._get_groups_from_filename = groups
    cli.make_inventory_from_files = inventory
    cli._accepts_directories = True


_accept_a_directory()
