"""A second deploy: it would change nothing."""

from __future__ import annotations

import pytest

from tests.verify.connection import Connection
from tests.verify.second_deploy import look, told_of, what_is_due
from tests.verify.targets import Target
from tests.verify.unknown import fail_as_unknown


@pytest.mark.full
@pytest.mark.warning
@pytest.mark.usefixtures("site")
def test_a_second_deploy_would_change_nothing(
    target: Target, connection: Connection, inventory: str, pytestconfig: pytest.Config
) -> None:
    out, err = look(inventory, target.name, pytestconfig.getoption("data"))
    told = told_of(target.name, out)
    if told is None:
        fail_as_unknown(f"{target.name}: drift.py told nothing\n  " + "\n  ".join(err.strip().splitlines()[-4:]))
    if told["verdict"] == "unknown":
        fail_as_unknown(f"{target.name}: what a second deploy would do is not known: {told['reason']}")
    if due := what_is_due(told):
        pytest.fail(f"{target.name}: a second deploy would not be empty\n  " + "\n  ".join(due), pytrace=False)
