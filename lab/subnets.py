"""Which lab has which subnet of this machine: one file per subnet, made in one step, so that two labs cannot share."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path

from lab.naming import Names, choose_subnet


def _claims(state: Path) -> dict[int, str]:
    """Subnet -> lab id, of all checkouts."""
    found = {}
    for file in (state / "subnets").glob("[0-9]*"):
        if file.name.isdigit():
            found[int(file.name)] = str(json.loads(file.read_text())["lab"])
    return found


def claimed_by(state: Path, lab: str) -> int | None:
    """The subnet of this lab; None if it has none."""
    return next((number for number, holder in sorted(_claims(state).items()) if holder == lab), None)


def claim(state: Path, names: Names, checkout: Path, routed: Collection[str]) -> int:
    """The lab's subnet, claimed now unless it has one; none of those that are `routed` elsewhere.

    Raises LabError when all are taken.
    """
    directory = state / "subnets"
    directory.mkdir(parents=True, exist_ok=True)
    while (number := claimed_by(state, names.lab_id)) is None:
        _drop_abandoned(state)
        number = choose_subnet(names.lab_id, _claims(state).keys(), routed)
        part = directory / f".{names.lab_id}"
        part.write_text(json.dumps({"lab": names.lab_id, "checkout": str(checkout)}))
        try:
            # A link appears whole or not at all, and fails if another lab was faster; then look again.
            os.link(part, directory / str(number))
        except FileExistsError:
            continue
        finally:
            part.unlink()
    return number


def _drop_abandoned(state: Path) -> None:
    """Forget claims of labs whose directory is gone (a state directory that was cleaned by hand)."""
    for number, lab in _claims(state).items():
        if not (state / lab).is_dir():
            (state / "subnets" / str(number)).unlink(missing_ok=True)


def release(state: Path, lab: str) -> None:
    """Give the lab's subnet back."""
    for number, holder in _claims(state).items():
        if holder == lab:
            (state / "subnets" / str(number)).unlink(missing_ok=True)
