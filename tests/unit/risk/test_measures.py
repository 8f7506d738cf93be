"""Broken numbers stay NaN through everything, and numbers read like numbers."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext

import pytest

from risk import measures
from risk.measures import NAN, QUIET

D = Decimal
NOW = datetime(2022, 11, 9, 12, tzinfo=UTC)
INFINITE, NEGATIVE = D("Infinity"), D("-0.01")


@pytest.fixture(autouse=True)
def _quietly() -> object:
    with localcontext(QUIET):
        yield


def same(found: Decimal, expected: Decimal) -> bool:
    return found.is_nan() if expected.is_nan() else found == expected


@pytest.mark.parametrize(
    ("check", "refused"),
    [
        (measures.finite, [NAN, D("sNaN"), INFINITE, -INFINITE]),
        (measures.coefficient, [None, NAN, D("sNaN"), INFINITE, -INFINITE]),
        (measures.positive, [None, NAN, D("sNaN"), INFINITE, -INFINITE, D(0), D("-0"), NEGATIVE]),
    ],
)
def test_what_cannot_be_measured_is_nan(check: Callable[..., Decimal], refused: list[Decimal | None]) -> None:
    assert all(check(value).is_nan() for value in refused)
    assert check(D("0.01")) == D("0.01")


def test_a_negative_number_is_finite_and_may_be_a_coefficient() -> None:
    assert measures.finite(NEGATIVE) == measures.coefficient(NEGATIVE) == NEGATIVE


@pytest.mark.parametrize(
    ("direction", "sign"), [("LONG", D(1)), ("SHORT", D(-1)), ("long", NAN), ("", NAN), (None, NAN)]
)
def test_a_direction_has_a_sign(direction: str | None, sign: Decimal) -> None:
    assert same(measures.sign_of(direction), sign)


@pytest.mark.parametrize(
    ("sign", "start", "end", "gain"),
    [
        (1, 100, 103, 3),
        (1, 103, 100, -3),
        (-1, 100, 103, -3),
        (-1, 103, 100, 3),
        (1, "NaN", 1, "NaN"),
        ("NaN", 1, 2, "NaN"),
    ],
)
def test_a_long_gains_upwards_and_a_short_downwards(sign: object, start: object, end: object, gain: object) -> None:
    assert same(measures.gain(*(D(str(value)) for value in (sign, start, end))), D(str(gain)))


@pytest.mark.parametrize(
    ("amounts", "expected"),
    [
        ([], D(0)),
        ([D(0)], D(0)),
        ([D("1.5"), D(2)], D("3.5")),
        ([D(1), NEGATIVE], NAN),
        ([NAN, D(1)], NAN),
        ([INFINITE], NAN),
    ],
)
def test_a_total_of_what_cannot_be_measured_cannot_be_measured(amounts: list[Decimal], expected: Decimal) -> None:
    found = measures.total(amounts)
    assert isinstance(found, Decimal)
    assert same(found, expected)


@pytest.mark.parametrize("values", [(NAN, D(1)), (D(1), NAN), (D(1), NAN, D(2)), (NAN, NAN)])
def test_neither_the_highest_nor_the_lowest_is_known_when_one_is_not(values: tuple[Decimal, ...]) -> None:
    assert measures.highest(*values).is_nan()
    assert measures.lowest(*values).is_nan()


def test_the_highest_and_the_lowest() -> None:
    assert (measures.highest(D(1), D(3), D(2)), measures.lowest(D(2), D(1), D(3))) == (3, 1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("20000.00", "20000"),
        ("-0.0300", "-0.03"),
        ("0", "0"),
        ("1234567890.12345", "1234567890.12"),
        ("1E+14", "100000000000000"),
        ("9.9E+14", "990000000000000"),
        ("1E+15", "1E+15"),
        ("1E-14", "0.00000000000001"),
        ("1E-15", "1E-15"),
        ("NaN", "NaN"),
        ("sNaN", "NaN"),
        ("-Infinity", "-Infinity"),
    ],
)
def test_a_number_is_written_as_a_person_would(value: str, text: str) -> None:
    assert measures.text(D(value)) == text


def test_a_sentence_bears_six_digits() -> None:
    assert measures.spoken(D("1234567.8")) == "1234570"
    assert measures.spoken(D("0.12345650")) == "0.123456"  # half to even
    assert measures.percent(D("0.123456789")) == "12.3457 %"


@pytest.mark.parametrize(
    ("until", "now", "over"),
    [
        (NOW, NOW, True),
        (NOW, NOW - timedelta(microseconds=1), False),
        (NOW, NOW + timedelta(microseconds=1), True),
        (None, NOW, False),
        (NOW.replace(tzinfo=None), NOW, False),
        (NOW, NOW.replace(tzinfo=None), False),
    ],
)
def test_a_moment_has_come_when_it_is_now(until: datetime | None, now: datetime, over: bool) -> None:
    assert measures.over(until, now) is over
