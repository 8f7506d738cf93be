"""The test of a challenger's record: exact where it can be counted, seldom fooled where there is nothing to find."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import numpy as np
import pytest

from journal.performance import ClosedTrade
from reflection import promotion, randomisation
from reflection.promotion import due, level_of
from reflection.randomisation import compare
from tests.unit.reflection.scene import closed
from tests.unit.reflection.shadow_scene import NOON

Records = tuple[list[ClosedTrade], list[ClosedTrade]]


def trade(day: int, pnl: float, confidence: str | None = "0.7") -> ClosedTrade:
    """One that was opened on the so-and-so many-th day."""
    opened = NOON + timedelta(days=day)
    return closed(
        f"{pnl:.4f}",
        opened_at=opened,
        closed_at=opened + timedelta(hours=1),
        confidence=None if confidence is None else Decimal(confidence),
    )


def days(*results: float, confidence: str | None = "0.7") -> list[ClosedTrade]:
    """A trade a day."""
    return [trade(day, pnl, confidence) for day, pnl in enumerate(results)]


# --- the p-values, counted by hand ------------------------------------------------------------------------------------


def test_a_challenger_that_is_better_on_each_of_six_days_is_one_exchange_in_sixty_four() -> None:
    found = compare(days(*[5.0] * 6), days(*[-5.0] * 6), look=1)
    assert (found.days, found.net_better, found.net_worse) == (6, 1 / 64, 1.0)
    assert found.calibration_better == 1 / 64  # 0.09 against 0.49 on each day
    assert (found.level, found.verdict) == (0.025, "better")


def test_one_bad_day_of_six_is_counted() -> None:
    """Of the 64 exchanges as good: the record, and the six that turn a day of the smallest difference."""
    found = compare(days(5, 5, 5, 5, 5, -1), days(-5, -5, -5, -5, -5, 1), look=1)
    assert found.net_better == 2 / 64  # itself, and the one where the bad day is exchanged
    assert found.verdict == "undecided"


def test_a_worse_one_is_found_by_its_net_result_alone() -> None:
    found = compare(days(*[-5.0] * 6, confidence=None), days(*[5.0] * 6, confidence=None), look=1)
    assert (found.net_worse, found.calibration_better, found.verdict) == (1 / 64, None, "worse")


def test_money_alone_promotes_nobody() -> None:
    """The same wins and losses, larger wins: it earns more and knows no better."""
    found = compare(days(*[9.0, -1.0] * 4), days(*[1.0, -9.0] * 4), look=1)
    assert found.net_better == 1 / 256
    assert (found.calibration_better, found.verdict) == (1.0, "undecided")


def test_calibration_alone_promotes_nobody() -> None:
    own, others = days(*[4.0] * 8, confidence="0.9"), days(*[4.0] * 8, confidence="0.6")
    found = compare(own, others, look=1)
    assert (found.days, found.calibration_better) == (8, 1 / 256)
    assert (found.net_better, found.net_worse, found.verdict) == (1.0, 1.0, "undecided")


def test_days_on_which_both_did_the_same_say_nothing() -> None:
    own, others = days(*[5.0] * 6), days(*[-5.0] * 6)
    same = [trade(day, 3.0) for day in range(6, 30)]
    found = compare(own + same, others + same, look=1)
    assert (found.days, found.net_better) == (6, 1 / 64)


def test_trades_of_one_day_are_one_piece() -> None:
    own = [trade(0, 5.0) for _ in range(30)]
    others = [trade(0, -5.0) for _ in range(30)]
    assert compare(own, others, look=1).net_better == 0.5


def test_trades_that_only_one_side_made_count() -> None:
    """The champion took a losing trade a day that the challenger left alone."""
    own = days(*[4.0] * 8)
    others = own + days(*[-5.0] * 8)
    found = compare(own, others, look=1)
    assert (found.net_better, found.calibration_better, found.verdict) == (1 / 256, 1 / 256, "better")


def test_a_record_without_trades_is_neither() -> None:
    assert compare([], [], look=1).verdict == "undecided"
    assert compare([], days(1.0), look=1).calibration_better is None


def test_results_that_nobody_knows_count_nothing() -> None:
    unknown = closed(None, opened_at=NOON, closed_at=NOON)
    assert compare([unknown], [unknown], look=1) == compare([], [], look=1)


def test_beyond_twelve_days_a_fixed_sample_stands_for_all_exchanges() -> None:
    rng = np.random.default_rng(3)
    own, others = days(*rng.normal(1.0, 4.0, 20)), days(*rng.normal(-1.0, 4.0, 20))
    sampled = compare(own, others, look=1)
    assert sampled == compare(own, others, look=1)
    assert sampled.net_better >= 1 / 10_000
    exact = _exact_share(own, others)
    assert sampled.net_better == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 10_000) ** 0.5)


def _exact_share(own: list[ClosedTrade], others: list[ClosedTrade]) -> float:
    """Of all 2^20 exchanges."""
    differences = np.array([float((one.pnl or 0) - (other.pnl or 0)) for one, other in zip(own, others, strict=True)])
    sums = np.zeros(1)
    for difference in differences:
        sums = np.concatenate([sums + difference, sums - difference])
    return float(np.mean(sums >= differences.sum() - 1e-9))


# --- the looks --------------------------------------------------------------------------------------------------------


def test_looks_come_at_the_fewest_trades_and_at_twice_as_many_each_time() -> None:
    assert [due(trades, 100, 30, looks_made=0) for trades in (29, 30)] == [False, True]
    assert [due(trades, 100, 30, looks_made=1) for trades in (59, 60)] == [False, True]
    assert [due(trades, 100, 30, looks_made=2) for trades in (119, 120)] == [False, True]


def test_the_champion_needs_a_third_of_them() -> None:
    assert [due(30, champion, 30, 0) for champion in (9, 10)] == [False, True]


def test_all_looks_together_have_one_level() -> None:
    assert [level_of(look) for look in (1, 2, 3)] == [0.025, 0.0125, 0.00625]
    assert sum(level_of(look) for look in range(1, 40)) <= promotion.LEVEL


# --- how often it is fooled -------------------------------------------------------------------------------------------

CONTESTS = 250
FEWEST, MOST = 30, 120
TRADES_A_DAY = 4


def _outcome(rng: np.random.Generator, common: float) -> float:
    """A trade that wins twice what it loses, one time in three: worth nothing. Those of one day go together."""
    return 8.0 if 0.7 * common + 0.714 * rng.normal() > 0.43 else -4.0


def _same_trades_now_and_then(rng: np.random.Generator, common: float) -> tuple[list[float], list[float]]:
    """The same proposals, of which each side makes seven in ten."""
    pnl = _outcome(rng, common)
    return [pnl] * int(rng.random() < 0.7), [pnl] * int(rng.random() < 0.7)


def _trades_of_their_own(rng: np.random.Generator, common: float) -> tuple[list[float], list[float]]:
    return [_outcome(rng, common)], [_outcome(rng, common)]


def _a_ban_without_a_reason(rng: np.random.Generator, common: float) -> tuple[list[float], list[float]]:
    """The challenger leaves out a third of the champion's trades, which were worth as much as the others."""
    pnl = _outcome(rng, common)
    return [pnl] * int(rng.random() > 1 / 3), [pnl]


@pytest.mark.parametrize("side", [_same_trades_now_and_then, _trades_of_their_own, _a_ban_without_a_reason])
def test_without_a_difference_few_challengers_are_promoted_or_rejected(
    side: Callable[[np.random.Generator, float], tuple[list[float], list[float]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All looks together are wrong about one in twenty at most, and three standard errors are left for the sample. In
    1,500 contests each, of up to four looks: promoted 0.9 %, 0.6 % and 1.9 %, rejected 2.7 %, 1.7 % and 0.3 %."""
    monkeypatch.setattr(randomisation, "SAMPLED", 499)
    rng = np.random.default_rng(11)
    verdicts = [_decided(rng, side) for _ in range(CONTESTS)]
    most = promotion.LEVEL + 3 * (promotion.LEVEL * (1 - promotion.LEVEL) / CONTESTS) ** 0.5
    assert verdicts.count("better") / CONTESTS < most
    assert verdicts.count("worse") / CONTESTS < most


def _decided(
    rng: np.random.Generator, side: Callable[[np.random.Generator, float], tuple[list[float], list[float]]]
) -> str:
    """How a contest of up to three looks ends."""
    records: Records = ([], [])
    made = 0
    for day in range(MOST):
        common = rng.normal()
        for _ in range(TRADES_A_DAY):
            confidence = f"{rng.uniform(0.5, 0.85):.3f}"
            for record, results in zip(records, side(rng, common), strict=True):
                record += [trade(day, pnl, confidence) for pnl in results]
        if due(len(records[0]), len(records[1]), FEWEST, made):
            made += 1
            verdict = compare(*records, made).verdict
            if verdict != "undecided":
                return verdict
        if len(records[0]) > MOST:
            break
    return "undecided"


def test_a_ban_of_what_surely_loses_is_found() -> None:
    """Half of the champion's trades are stopped out nine times in ten; the challenger leaves those out."""
    rng = np.random.default_rng(12)

    def banning(rng: np.random.Generator, common: float) -> tuple[list[float], list[float]]:
        if rng.random() < 0.5:
            pnl = _outcome(rng, common)
            return [pnl], [pnl]
        return [], [8.0 if rng.random() < 0.1 else -4.0]

    verdicts = [_decided(rng, banning) for _ in range(40)]
    assert verdicts.count("better") >= 36
    assert verdicts.count("worse") == 0
