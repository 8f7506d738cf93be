"""Scales name round values in their places; what is drawn lies where it should and can be read by a machine."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from xml.etree import ElementTree

import pytest
from hypothesis import assume, given
from hypothesis import strategies as some

from journal.charts.plot import Frame, Svg
from journal.charts.scale import LinearScale, TimeScale, per_cent

NOON = datetime(2022, 11, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def frame() -> Frame[float]:
    return Frame(800, 240, LinearScale(0, 10), LinearScale(0, 100))


def labels(scale: LinearScale | TimeScale, most: int = 6) -> list[str]:
    return [tick.label for tick in scale.ticks(most)]


@pytest.mark.parametrize(
    ("low", "high", "names"),
    [
        (0, 100, ["0", "20", "40", "60", "80", "100"]),
        (9_870, 10_130, ["9,900", "9,950", "10,000", "10,050", "10,100"]),
        (-0.031, 0.012, ["−0.03", "−0.02", "−0.01", "0.00", "0.01"]),
        (0.00012, 0.00018, ["0.00012", "0.00014", "0.00016", "0.00018"]),
    ],
)
def test_numbers_are_named_at_round_steps_with_the_decimals_that_tell_them_apart(low, high, names):
    assert labels(LinearScale(low, high)) == names


def test_a_fraction_is_named_as_per_cent():
    assert labels(LinearScale(-0.031, 0.012, per_cent)) == ["−3 %", "−2 %", "−1 %", "0 %", "1 %"]


@pytest.mark.parametrize(
    ("length", "names"),
    [
        (timedelta(minutes=20), ["12:00", "12:05", "12:10", "12:15", "12:20"]),
        (DAY, ["12:00", "18:00", "2 Nov", "06:00", "12:00"]),
        (7 * DAY, ["3 Nov", "5 Nov", "7 Nov"]),
        (40 * DAY, ["7 Nov", "14 Nov", "21 Nov", "28 Nov", "5 Dec"]),
        (400 * DAY, ["Jan 2023", "Apr 2023", "Jul 2023", "Oct 2023"]),
        (3000 * DAY, ["Jan 2025", "Jan 2030"]),
    ],
)
def test_times_are_named_at_full_hours_days_or_months(length, names):
    assert labels(TimeScale(NOON, NOON + length)) == names


@given(some.floats(-1e9, 1e9), some.floats(1e-6, 1e9), some.integers(1, 12))
def test_never_more_ticks_than_there_is_room_for_all_within_the_ends(low: float, length: float, most: int):
    assume(length > abs(low) * 1e-8)  # closer together than the precision of what is drawn
    shares = [tick.share for tick in LinearScale(low, low + length).ticks(most)]
    assert len(shares) <= most
    assert all(-1e-6 <= share <= 1 + 1e-6 for share in shares)


@given(some.integers(0, 10**6), some.integers(1, 10**7), some.integers(2, 12))
def test_never_more_times_than_there_is_room_for_all_within_the_ends(start: int, minutes: int, most: int):
    begin = NOON + timedelta(minutes=start)
    shares = [tick.share for tick in TimeScale(begin, begin + timedelta(minutes=minutes)).ticks(most)]
    assert len(shares) <= most
    assert all(0 <= share <= 1 for share in shares)


@pytest.mark.parametrize("ends", [(1, 1), (2, 1), (float("nan"), 1), (0, float("inf"))])
def test_a_scale_that_has_no_length_is_refused(ends):
    with pytest.raises(ValueError, match="finite and in order"):
        LinearScale(*ends)


def test_times_without_a_zone_or_out_of_order_are_refused():
    with pytest.raises(ValueError, match="aware and in order"):
        TimeScale(NOON, NOON)
    with pytest.raises(ValueError, match="aware and in order"):
        TimeScale(NOON.replace(tzinfo=None), NOON)


@pytest.mark.parametrize("values", [[], [Decimal(0)], [Decimal(7), Decimal(7)], [Decimal("-3")]])
def test_values_without_a_range_get_one(values):
    scale = LinearScale.over(values)
    assert scale.low < scale.high
    assert all(0 < scale.share(value) < 1 for value in values)


def test_the_highest_value_lies_on_top():
    assert ' d="M0 1000L500 500L1000 0"' in frame().line([(0, 0), (5, 50), (10, 100)])


def test_a_gap_breaks_a_line():
    assert ' d="M0 1000L100 1000M300 1000L400 1000"' in frame().line([(0, 0), (1, 0), (2, None), (3, 0), (4, 0)])


def test_a_step_keeps_a_value_until_the_next():
    assert ' d="M0 900L500 900L500 500"' in frame().step([(0, 10), (5, 50)])


def test_an_area_stands_on_its_base():
    assert ' d="M0 1000L0 500L1000 500L1000 1000Z"' in frame().area([(0, 50), (10, 50)])


def test_an_area_may_hang_below_its_base():
    below = Frame(800, 100, LinearScale(0, 10), LinearScale(-1, 0))
    assert ' d="M0 0L0 500L1000 1000L1000 0Z"' in below.area([(0, -0.5), (10, -1)])


def test_bars_and_boxes_reach_from_their_base_whichever_way():
    assert 'x="10%" y="80%" width="10%" height="20%"' in frame().bars([(1, 2, Decimal(20))])
    assert 'x="10%" y="50%" width="10%" height="30%"' in frame().box(2, 1, 20, 50)


def test_the_name_of_a_level_stays_inside_the_plot():
    assert 'y="50%" dx="-4" dy="-5"' in frame().level(50, "stop")
    assert 'y="1%" dx="-4" dy="14"' in frame().level(99, "target")


def drawn(*parts: Svg, title: str = "Equity", width: int = 800) -> tuple[str, ElementTree.Element]:
    plot = Frame(width, 240, TimeScale(NOON, NOON + DAY), LinearScale(0, 20_000))
    markup = plot.drawing("equity", title, "It rose.", parts)
    return markup, ElementTree.fromstring(markup)  # noqa: S314 -- our own markup


def test_a_drawing_says_what_it_is():
    _, image = drawn()
    assert image.attrib["role"] == "img"
    told = {each.attrib["id"]: each.text for each in image if "id" in each.attrib}
    assert told == {"equity-title": "Equity", "equity-summary": "It rose."}
    assert (image.attrib["aria-labelledby"], image.attrib["aria-describedby"]) == ("equity-title", "equity-summary")


def test_whatever_text_is_drawn_is_escaped_and_nothing_is_styled_inline():
    plot = Frame(800, 240, TimeScale(NOON, NOON + DAY), LinearScale(0, 20_000))
    evil = "</title><script>alert(1)</script>"
    markup, image = drawn(plot.level(5, evil), plot.marker(NOON, 5, note=evil), title=evil)
    assert "<script" not in markup
    assert "style=" not in markup
    assert len([text for text in image.itertext() if text == evil]) == 3
    assert markup.__html__() is markup


def test_fewer_times_are_named_where_there_is_less_room():
    names = [len(list(drawn(width=width)[1].iter("text"))) for width in (400, 1200)]
    assert names[0] < names[1]


def test_long_names_get_the_room_they_need():
    assert "chart-gutter-56" in drawn()[0]
    plot = Frame(800, 240, LinearScale(0, 1), LinearScale(0, 1))
    assert "chart-gutter-40" in plot.drawing("share", "Share", "None.", [])
