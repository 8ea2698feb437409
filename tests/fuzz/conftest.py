"""Ends what the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fuzz.targets import close_machine


@pytest.fixture(autouse=True)
def _no_machine_is_left() -> Iterator[None]:
    yield
    close_machine()
