"""Limits: defaults, hard bounds, misspellings, and the round trip through JSON."""

import json
from dataclasses import FrozenInstanceError, fields, replace
from decimal import Decimal

import pytest

from risk.limits import LIMIT_FIELDS, Limits, LimitsError, parse_limits

DEFAULTS = Limits(
    max_daily_loss_pct=Decimal("0.03"),
    max_single_trade_pct=Decimal("0.05"),
    max_total_exposure_pct=Decimal("0.15"),
    max_concurrent_positions=3,
    max_drawdown_pct=Decimal("0.10"),
    max_consecutive_losses=3,
    max_leverage=Decimal(3),
    max_sl_distance_pct=Decimal("0.03"),
    min_rr_ratio=Decimal("1.5"),
    max_correlation=Decimal("0.8"),
    cooldown_after_loss_streak=1800,
)


def problems(
    environment: dict[str, str], settings_file: dict[str, str] | None = None, other: tuple[str, ...] = ()
) -> list[str]:
    with pytest.raises(LimitsError) as refusal:
        parse_limits(environment, settings_file or {}, other)
    return list(refusal.value.problems)


def test_an_empty_environment_gives_the_published_defaults() -> None:
    assert parse_limits({}) == DEFAULTS


def test_every_limit_stands_in_the_table_once() -> None:
    assert [field.attribute for field in LIMIT_FIELDS] == [field.name for field in fields(Limits)]
    assert all(field.accepts(field.default) and field.description for field in LIMIT_FIELDS)


def test_the_environment_wins_over_the_settings_file() -> None:
    limits = parse_limits({"MAX_LEVERAGE": "2"}, {"MAX_LEVERAGE": "1", "MIN_RR_RATIO": " 2.5 "})
    assert (limits.max_leverage, limits.min_rr_ratio) == (Decimal(2), Decimal("2.5"))


@pytest.mark.parametrize(
    ("name", "furthest", "beyond"),
    [
        ("MAX_DAILY_LOSS_PCT", "0.10", "0.1000001"),
        ("MAX_SINGLE_TRADE_PCT", "0.25", "0.2500001"),
        ("MAX_TOTAL_EXPOSURE_PCT", "1.0", "1.0000001"),
        ("MAX_CONCURRENT_POSITIONS", "20", "21"),
        ("MAX_DRAWDOWN_PCT", "0.30", "0.3000001"),
        ("MAX_CONSECUTIVE_LOSSES", "10", "11"),
        ("MAX_LEVERAGE", "10", "10.0000001"),
        ("MAX_SL_DISTANCE_PCT", "0.10", "0.1000001"),
        ("MAX_CORRELATION", "0.95", "0.9500001"),
        ("COOLDOWN_AFTER_LOSS_STREAK", "604800", "604801"),
        ("MIN_RR_RATIO", "100", "100.0000001"),
        ("MIN_RR_RATIO", "1.0", "0.9999999"),
        ("COOLDOWN_AFTER_LOSS_STREAK", "300", "299"),
        ("MAX_LEVERAGE", "1", "0.9999999"),
        ("MAX_CONCURRENT_POSITIONS", "1", "0"),
        ("MAX_CONSECUTIVE_LOSSES", "1", "0"),
        ("MAX_DAILY_LOSS_PCT", "0.0000001", "0"),
        ("MAX_SINGLE_TRADE_PCT", "0.0000001", "0.0"),
        ("MAX_CORRELATION", "0.0000001", "0"),
    ],
)
def test_a_hard_bound_holds_to_the_digit(name: str, furthest: str, beyond: str) -> None:
    assert getattr(parse_limits({name: furthest}), name.lower()) == Decimal(furthest)
    (problem,) = problems({name: beyond})
    assert problem.startswith(f"{name}={beyond!r} is not allowed: a ")


@pytest.mark.parametrize(
    "text", ["", "three", "NaN", "sNaN", "Infinity", "-0.01", "3%", "0,03", "1_0", "1e-2", "٣", "0x1", "--1"]
)
@pytest.mark.parametrize("field", LIMIT_FIELDS, ids=lambda field: field.name)
def test_what_is_no_plain_number_inside_the_bounds_is_refused(field: object, text: str) -> None:
    name = field.name  # type: ignore[attr-defined]
    (problem,) = problems({name: text})
    assert name in problem
    assert repr(text) in problem


@pytest.mark.parametrize("name", ["MAX_CONCURRENT_POSITIONS", "MAX_CONSECUTIVE_LOSSES"])
def test_a_count_is_a_whole_number(name: str) -> None:
    assert "a whole number" in problems({name: "2.5"})[0]


def test_three_percent_written_as_three_is_explained() -> None:
    assert "0.03 is 3 %" in problems({"MAX_DAILY_LOSS_PCT": "3"})[0]


def test_all_problems_are_reported_at_once() -> None:
    found = problems({"MAX_LEVERAGE": "50", "MAX_DRAWDOWN": "0.2"}, {"MIN_RR_RATIO": "no", "MAX_FOO": "1"})
    assert len(found) == 4
    assert all(
        any(name in problem for problem in found)
        for name in ("MAX_LEVERAGE", "MAX_DRAWDOWN", "MIN_RR_RATIO", "MAX_FOO")
    )


@pytest.mark.parametrize(
    ("misspelt", "right"),
    [
        ("MAX_LEVRAGE", "MAX_LEVERAGE"),
        ("MAX_DAILY_LOSS", "MAX_DAILY_LOSS_PCT"),
        ("MIN_RR_RATOI", "MIN_RR_RATIO"),
        ("MAX_OPEN_POSITIONS", "MAX_CONCURRENT_POSITIONS"),
        ("MAXLEVERAGE", "MAX_LEVERAGE"),
        ("max_leverage", "MAX_LEVERAGE"),
        ("COOLDOWN_AFTER_LOSS_STREAKS", "COOLDOWN_AFTER_LOSS_STREAK"),
    ],
)
def test_a_misspelt_limit_is_refused_wherever_it_stands(misspelt: str, right: str) -> None:
    assert f"did you mean {right}?" in problems({misspelt: "1"})[0]
    assert f"did you mean {right}?" in problems({}, {misspelt: "1"})[0]


@pytest.mark.parametrize("foreign", ["MAX_WORKERS", "MAX_CONNECTIONS", "MIN_FREE_MEMORY", "PATH", "HOME"])
def test_names_of_other_programs_are_left_alone_in_the_environment(foreign: str) -> None:
    assert parse_limits({foreign: "1"}) == DEFAULTS


def test_an_unknown_limit_like_name_is_refused_in_the_settings_file() -> None:
    assert "MAX_WORKERS in the settings file is not a setting" in problems({}, {"MAX_WORKERS": "1"})[0]
    assert parse_limits({}, {"WORKERS": "1"}) == DEFAULTS


def test_other_settings_own_their_names_and_are_offered_for_misspellings() -> None:
    other = ("MAX_SNAPSHOT_AGE_SECONDS",)
    assert parse_limits({"MAX_SNAPSHOT_AGE_SECONDS": "9"}, {"MAX_SNAPSHOT_AGE_SECONDS": "9"}, other) == DEFAULTS
    assert "did you mean MAX_SNAPSHOT_AGE_SECONDS?" in problems({"MAX_SNAPSHOT_AGE_SECOND": "9"}, None, other)[0]


def test_limits_survive_json_exactly() -> None:
    limits = replace(DEFAULTS, max_leverage=Decimal("2.50"))
    stored = json.loads(json.dumps(limits.as_dict()))
    assert Limits.from_dict(stored) == limits
    assert Limits.from_dict(stored).as_dict() == stored
    assert set(map(type, stored.values())) == {str}


def test_stored_limits_with_a_missing_or_unknown_name_are_refused() -> None:
    stored = DEFAULTS.as_dict()
    del stored["max_leverage"]
    with pytest.raises(LimitsError, match="max_leverage: missing; max_luck: not a limit"):
        Limits.from_dict({**stored, "max_luck": "1"})


def test_limits_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        DEFAULTS.max_leverage = Decimal(100)  # type: ignore[misc]
