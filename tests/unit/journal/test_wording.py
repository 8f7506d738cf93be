"""Numbers and stretches of time as people read them."""

from datetime import timedelta
from decimal import Decimal

import pytest

from journal.wording import duration, plain


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("20634.80000000", "20,634.8"),
        ("0E-16", "0"),
        ("-0.0000", "0"),
        ("-1234567.5", "−1,234,567.5"),
        ("1E+3", "1,000"),
        ("1234567890123456789012.1234567890123456", "1,234,567,890,123,456,789,012.1234567890123456"),
    ],
)
def test_decimals_keep_every_digit_but_idle_zeros(value: str, text: str):
    assert plain(Decimal(value)) == text


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (timedelta(0), "0 s"),
        (timedelta(seconds=59.9), "59 s"),
        (timedelta(seconds=61), "1 min 01 s"),
        (timedelta(minutes=185), "3 h 05 min"),
        (timedelta(days=2, hours=3), "2 d 03 h"),
        (timedelta(seconds=-5), "0 s"),
    ],
)
def test_durations_show_their_two_largest_units(time: timedelta, text: str):
    assert duration(time) == text
