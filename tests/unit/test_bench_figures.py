"""The statistics of the benchmark."""

from __future__ import annotations

import pytest

from bench.figures import Spread, digits, paired_differences, paired_ratios, quantile, slope, spread


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.01, 1), (0.5, 50), (0.501, 51), (0.99, 99), (1.0, 100)])
def test_a_quantile_is_the_value_that_this_share_does_not_exceed(share: float, expected: float) -> None:
    assert quantile([float(n) for n in range(100, 0, -1)], share) == expected


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], 1.1), ([1.0], -0.1)])
def test_a_quantile_of_nothing_or_beyond_the_whole_is_an_error(values: list[float], share: float) -> None:
    with pytest.raises(ValueError):
        quantile(values, share)


def test_a_spread_has_the_median_and_both_ends() -> None:
    assert spread([3.0, 1.0, 10.0]) == Spread(3.0, 1.0, 10.0, 3)
    assert spread([]) is None


def test_ratios_pair_the_rounds_that_both_have() -> None:
    assert paired_ratios({1: 10.0, 2: 30.0, 3: 7.0}, {2: 3.0, 1: 5.0, 4: 1.0}) == [2.0, 10.0]


def test_there_is_no_ratio_of_or_to_zero_or_less() -> None:
    assert paired_ratios({1: 10.0, 2: 4.0, 3: -1.0, 4: 3.0}, {1: 0.0, 2: -1.0, 3: 2.0, 4: 2.0}) == [1.5]


def test_differences_keep_their_round() -> None:
    assert paired_differences({1: 5.0, 3: 4.0}, {3: 1.5, 2: 9.0}) == {3: 2.5}


def test_a_slope_is_that_of_the_line_through_the_points() -> None:
    assert slope([(0, 1), (10, 3), (20, 5)]) == pytest.approx(0.2)
    assert slope([(0, 5), (10, 5), (20, 5)]) == 0
    assert slope([(1, 5)]) == 0
    assert slope([(1, 5), (1, 6)]) == 0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.01234, "0.0123"),
        (1.2345, "1.23"),
        (22.04, "22.0"),
        (123.4, "123"),
        (12345.6, "12,300"),
        (-2.5, "-2.50"),
    ],
)
def test_numbers_are_written_with_three_digits(value: float, text: str) -> None:
    assert digits(value) == text
