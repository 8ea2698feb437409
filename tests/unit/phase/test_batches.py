"""Which host changes over when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roles.phase.batches import batch_of


@pytest.mark.parametrize(
    ("hosts", "size", "expected"),
    [
        (1, None, [0]),
        (2, None, [0, 1]),
        (4, None, [0, 1, 1, 1]),
        (4, 1, [0, 1, 2, 3]),
        (6, 2, [0, 1, 1, 2, 2, 3]),
        (3, 9, [0, 1, 1]),
    ],
)
def test_one_host_goes_first_and_the_others_follow_in_batches(
    hosts: int, size: int | None, expected: list[int]
) -> None:
    names = [f"gpu-{number}" for number in range(hosts)]
    assert [batch_of(name, names, size)[0] for name in names] == expected


@given(st.integers(1, 40), st.one_of(st.none(), st.integers(1, 50)))
def test_every_host_has_a_batch_none_is_empty_and_all_agree_on_the_last(hosts: int, size: int | None) -> None:
    names = [str(number) for number in range(hosts)]
    found = [batch_of(name, names, size) for name in names]
    assert {last for _, last in found} == {max(mine for mine, _ in found)}
    assert {mine for mine, _ in found} == set(range(found[0][1] + 1))
    assert [mine for mine, _ in found].count(0) == 1
