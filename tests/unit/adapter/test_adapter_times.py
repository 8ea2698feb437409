from __future__ import annotations

import math
from datetime import datetime

import pytest

from ollama_adapter.ollama.times import DurationError, Stamps, epoch_of, expiry, local_stamp, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0), ("0s", 0), ("-0", 0), ("300ms", 0.3), ("10m", 600), ("1h30m", 5400), ("-1m", -60), ("+5s", 5),
        ("1.5h", 5400), (".5s", 0.5), ("1us", 1e-6), ("1\u00b5s", 1e-6), ("7ns", 7e-9), ("1h1m1s1ms", 3661.001),
    ],
)  # fmt: skip
def test_a_go_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("300", 'time: missing unit in duration "300"'),
        ("-1", 'time: missing unit in duration "-1"'),
        ("", 'time: invalid duration ""'),
        ("-", 'time: invalid duration "-"'),
        ("5x", 'time: unknown unit "x" in duration "5x"'),
        ("1d", 'time: unknown unit "d" in duration "1d"'),
        ("m5", 'time: invalid duration "m5"'),
        (".s", 'time: invalid duration ".s"'),
        ("3000000h", 'time: invalid duration "3000000h"'),
    ],
)
def test_a_wrong_duration_is_refused_in_gos_words(text: str, message: str) -> None:
    with pytest.raises(DurationError) as caught:
        parse_duration(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("nanoseconds", "stamp"),
    [
        (1795434957_306139746, b"2026-11-23T11:55:57.306139746Z"),
        (1795434957_300000000, b"2026-11-23T11:55:57.3Z"),
        (1795434957_000000000, b"2026-11-23T11:55:57Z"),
        (1795434957_000000007, b"2026-11-23T11:55:57.000000007Z"),
        (0, b"1970-01-01T00:00:00Z"),
    ],
)
def test_a_stamp_has_nanoseconds_without_trailing_zeros(nanoseconds: int, stamp: bytes) -> None:
    assert Stamps().of(nanoseconds) == stamp


def test_stamps_of_one_object_follow_the_clock() -> None:
    stamps = Stamps()
    assert [stamps.of(second * 10**9) for second in (59, 60, 59)] == [
        b"1970-01-01T00:00:59Z", b"1970-01-01T00:01:00Z", b"1970-01-01T00:00:59Z",
    ]  # fmt: skip


def test_listings_have_dates_that_old_pythons_can_read() -> None:
    stamp = local_stamp(1795434957.25)
    assert stamp == "2026-11-23T11:55:57.250000+00:00"
    assert datetime.fromisoformat(stamp).timestamp() == 1795434957.25


def test_forever_is_a_date_centuries_ahead() -> None:
    assert local_stamp(expiry(1795434957, math.inf)).startswith("23")


@pytest.mark.parametrize("stamp", ["2026-11-23T11:55:57.25Z", "2026-11-23T12:55:57.250000000+01:00"])
def test_the_dates_of_another_server_can_be_compared(stamp: str) -> None:
    assert epoch_of(stamp) == pytest.approx(1795434957.25)


def test_a_date_that_cannot_be_read_sorts_last() -> None:
    assert epoch_of("yesterday") == epoch_of("2026-13-45T99:00:00Z") == 0
