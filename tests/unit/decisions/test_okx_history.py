from decimal import Decimal

import pytest

from decisions.okx.history import GAP_TRIES, Backlog, CandleQuestion, Gap, following, newer
from decisions.okx.pace import Allowance, Endpoint
from decisions.okx.rows import Candle, closed_candles
from tests.unit.decisions.okx_exchange import BTC, START_MS, STEP_MS, Exchange, exchange


def page(market: Exchange, question: CandleQuestion) -> list[Candle]:
    rows = market.rows(question.endpoint, {"instId": BTC, **question.query()})
    assert len(rows) <= question.limit
    return closed_candles(rows, question.seconds)


def fetched(backlog: Backlog, market: Exchange) -> list[CandleQuestion]:
    questions = []
    while not backlog.complete:
        questions.append(backlog.question())
        backlog.take(questions[-1], page(market, questions[-1]))
    return questions


def candle(open_ms: int) -> Candle:
    return Candle(open_ms, *(Decimal(1) for _ in range(5)))


def test_a_backlog_is_fetched_backwards_page_by_page() -> None:
    market = exchange(2000)
    backlog = Backlog("5m", 700, market.now_ms)
    questions = fetched(backlog, market)
    assert [question.limit for question in questions] == [300, 300, 100]
    assert {question.endpoint for question in questions} == {Endpoint.CANDLES}
    assert [found.open_ms for found in backlog.candles] == [START_MS + n * STEP_MS for n in range(1300, 2000)]
    assert backlog.missing == 0


def test_what_the_newer_candles_do_not_hold_is_asked_of_the_older_ones() -> None:
    market = exchange(2000)
    backlog = Backlog("5m", 1700, market.now_ms)
    questions = fetched(backlog, market)
    assert [(question.endpoint.name, question.limit) for question in questions][-4:] == [
        ("CANDLES", 300), ("HISTORY_CANDLES", 100), ("HISTORY_CANDLES", 100), ("HISTORY_CANDLES", 60)
    ]  # fmt: skip
    assert [found.open_ms for found in backlog.candles] == [START_MS + n * STEP_MS for n in range(300, 2000)]


def test_a_young_instrument_has_what_it_has() -> None:
    market = exchange(50)
    backlog = Backlog("15m", 1200, market.now_ms)
    fetched(backlog, market)
    assert len(backlog.candles) == 50 // 3
    empty = Backlog("4H", 1200, START_MS + 60_000)
    fetched(empty, Exchange(market.candles, START_MS + 60_000))
    assert empty.complete
    assert empty.candles == []


@pytest.mark.parametrize("back", [1, 5])
def test_a_missing_bar_is_named_and_asked_for_again(back: int) -> None:
    market = exchange(700)
    lost = ("5m", START_MS + (700 - back) * STEP_MS)
    market.missing.add(lost)
    backlog = Backlog("5m", 300, market.now_ms)
    question = backlog.question()
    with pytest.raises(Gap, match=r"the 5m bar of 2026-01-03 \d\d:\d\d is missing"):
        backlog.take(question, page(market, question))
    assert (backlog.candles, backlog.question()) == ([], question)
    market.missing.clear()
    fetched(backlog, market)
    assert len(backlog.candles) == 300


def test_a_bar_that_never_comes_ends_the_backlog_after_it() -> None:
    market = exchange(700)
    market.missing.add(("5m", START_MS + 500 * STEP_MS))
    backlog = Backlog("5m", 300, market.now_ms)
    for _ in range(GAP_TRIES - 1):
        with pytest.raises(Gap):
            fetched(backlog, market)
    fetched(backlog, market)
    assert [found.open_ms for found in backlog.candles] == [START_MS + n * STEP_MS for n in range(501, 700)]


def test_the_newest_bar_is_waited_for_however_long() -> None:
    market = exchange(700)
    market.missing.add(("1H", (market.now_ms // 3_600_000 - 1) * 3_600_000))
    backlog = Backlog("1H", 300, market.now_ms)
    for _ in range(3 * GAP_TRIES):
        with pytest.raises(Gap):
            fetched(backlog, market)


def test_bars_are_asked_for_when_they_have_closed_and_not_before() -> None:
    last = START_MS
    assert newer(last, last + 2 * STEP_MS - 1) is None
    question = newer(last, last + 2 * STEP_MS)
    assert question == CandleQuestion(Endpoint.CANDLES, "5m", 2, before=last)
    assert newer(last, last + 7 * STEP_MS + 5) == CandleQuestion(Endpoint.CANDLES, "5m", 7, before=last)


def test_only_bars_that_follow_directly_are_taken() -> None:
    known, second, third = START_MS, START_MS + STEP_MS, START_MS + 2 * STEP_MS
    assert following(known, []) == []
    assert [found.open_ms for found in following(known, [candle(third), candle(second), candle(known)])] == [
        second,
        third,
    ]
    with pytest.raises(Gap, match="the 5m bar of 2026-01-01 00:05 is missing: that of 00:10 was told"):
        following(known, [candle(third)])


@pytest.mark.parametrize("allowed", [1, 3, 10])
def test_no_window_holds_more_requests_than_are_allowed(allowed: int) -> None:
    allowance, now, granted = Allowance(allowed, 2.0), 0.0, []
    for number in range(60):
        now += 0.05 * (number % 3)
        granted.append(now + allowance.claim(now))
    assert all(later - sooner >= 2.0 - 1e-9 for sooner, later in zip(granted, granted[allowed:], strict=False))
    assert granted[allowed] == pytest.approx(granted[0] + 2.0)


def test_an_endpoint_that_says_too_often_rests() -> None:
    allowance = Allowance(5)
    assert allowance.claim(10.0) == 0
    allowance.rest(13.0)
    allowance.rest(12.0)
    assert allowance.claim(10.5) == pytest.approx(2.5)
    assert allowance.claim(20.0) == 0
