"""The playbook's schema, its one canonical text, its differences in words, and what it enforces."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, get_args

import pytest

from decisions import messages
from journal.playbook import (
    REGIMES,
    InvalidPlaybook,
    Playbook,
    blocked_by,
    canonical_json,
    content,
    diff,
    first_playbook,
    largest_position,
    playbook_hash,
    read_playbook,
)

NOW = datetime(2026, 2, 7, 10, 30, tzinfo=UTC)


def stored(**changes: Any) -> dict[str, Any]:
    """The first playbook as it is stored, with sections replaced."""
    return {**json.loads(canonical_json(first_playbook(NOW))), **changes}


def lesson(name: str = "L1", text: str = "Wait for the close.") -> dict[str, str]:
    return {"id": name, "date": "2026-02-06", "lesson": text, "evidence": "3 of 4", "impact": "fewer false breaks"}


def bucket(low: str, high: str) -> dict[str, Any]:
    return {"bucket_low": low, "bucket_high": high, "count": 4, "stated_mean": low, "actual_win_rate": "0.5"}


def test_regimes_are_those_of_the_wire() -> None:
    assert set(get_args(messages.Regime)) == set(REGIMES)


def test_the_first_playbook_knows_three_strategies_and_every_regime() -> None:
    playbook = first_playbook(NOW)
    assert playbook.version == 1
    assert {each.name for each in playbook.strategy_definitions} == {
        "momentum_breakout",
        "trend_pullback",
        "mean_reversion",
    }
    assert [rule.regime for rule in playbook.market_regime_rules] == list(REGIMES)


def test_a_stored_playbook_reads_back_equal() -> None:
    playbook = read_playbook(stored(lessons_learned=[lesson()], confidence_calibration=[bucket("0.5", "0.6")]))
    assert read_playbook(json.loads(canonical_json(playbook))) == playbook
    assert playbook.last_updated == NOW


def test_numbers_and_texts_mean_the_same_decimal() -> None:
    rules = stored()["market_regime_rules"]
    rules[0]["max_position_pct"] = 0.05
    assert read_playbook(stored(market_regime_rules=rules)) == first_playbook(NOW)


def test_the_hash_depends_on_content_and_not_on_spelling() -> None:
    rules = stored()["market_regime_rules"]
    rules[0]["max_position_pct"] = "0.0500"
    assert playbook_hash(read_playbook(stored(market_regime_rules=rules))) == playbook_hash(first_playbook(NOW))
    assert playbook_hash(read_playbook(stored(version=2))) != playbook_hash(first_playbook(NOW))
    assert len(playbook_hash(first_playbook(NOW))) == 64


def with_rule(index: int, **changes: Any) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = stored()["market_regime_rules"]
    rules[index] = {**rules[index], **changes}
    return rules


ALL = ["momentum_breakout", "trend_pullback", "mean_reversion"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"surprise": 1}, "surprise"),
        ({"version": 0}, "version"),
        ({"version": True}, "version"),
        ({"last_updated": "2026-02-07T10:30:00"}, "last_updated"),
        ({"strategy_definitions": []}, "strategy_definitions"),
        ({"strategy_definitions": stored()["strategy_definitions"] * 2}, "more than once"),
        ({"market_regime_rules": with_rule(0, regime="ranging")}, "more than once"),
        ({"market_regime_rules": with_rule(0, regime="sideways")}, "regime"),
        ({"market_regime_rules": with_rule(0, avoid_strategies=["scalping"])}, "undefined strategies scalping"),
        ({"market_regime_rules": with_rule(0, avoid_strategies=["trend_pullback"])}, "both preferred and avoided"),
        ({"market_regime_rules": with_rule(0, max_position_pct="-0.05")}, "max_position_pct"),
        ({"market_regime_rules": with_rule(0, max_position_pct="NaN")}, "max_position_pct"),
        ({"market_regime_rules": with_rule(0, max_position_pct=True)}, "max_position_pct"),
        (
            {
                "market_regime_rules": [
                    {**rule, "preferred_strategies": [], "avoid_strategies": ALL}
                    for rule in stored()["market_regime_rules"]
                ]
            },
            "nothing could ever be traded",
        ),
        ({"lessons_learned": [lesson(), lesson()]}, "more than once"),
        ({"lessons_learned": [lesson(text="x" * 601)]}, "lesson"),
        ({"lessons_learned": [lesson(text="a\x00b")]}, "NUL"),
        ({"lessons_learned": [lesson(f"L{number}") for number in range(61)]}, "lessons_learned"),
        ({"confidence_calibration": [bucket("0.6", "0.5")]}, "empty"),
        ({"confidence_calibration": [bucket("0.5", "0.7"), bucket("0.6", "0.8")]}, "overlap"),
        ({"time_filters": {"avoid_hours_utc": [24], "preferred_hours_utc": []}}, "avoid_hours_utc"),
        ({"time_filters": {"avoid_hours_utc": [3], "preferred_hours_utc": [3]}}, "both preferred and avoided"),
        ({"time_filters": {"avoid_hours_utc": list(range(24)), "preferred_hours_utc": []}}, "nothing could ever"),
    ],
)
def test_an_unusable_playbook_is_refused_with_its_reason(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidPlaybook, match=told):
        read_playbook(stored(**changes))


TEN_MEGABYTES = "x" * 10_000_000
STRATEGY = stored()["strategy_definitions"][0]


def with_strategy(**changes: Any) -> list[dict[str, Any]]:
    return [{**STRATEGY, **changes}, *stored()["strategy_definitions"][1:]]


def with_calibration(**changes: Any) -> list[dict[str, Any]]:
    return [{**bucket("0.5", "0.6"), **changes}]


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"strategy_definitions": with_strategy(entry=TEN_MEGABYTES)}, "strategy_definitions.0.entry"),
        ({"strategy_definitions": with_strategy(exit=TEN_MEGABYTES)}, "strategy_definitions.0.exit"),
        ({"strategy_definitions": with_strategy(name=TEN_MEGABYTES)}, "strategy_definitions.0.name"),
        ({"strategy_definitions": with_strategy(filters=["a", TEN_MEGABYTES])}, "strategy_definitions.0.filters.1"),
        ({"strategy_definitions": with_strategy(filters=["a"] * 13)}, "strategy_definitions.0.filters"),
        (
            {"strategy_definitions": with_strategy(historical_winrate="-0.1")},
            "strategy_definitions.0.historical_winrate",
        ),
        ({"strategy_definitions": with_strategy(historical_winrate="1" * 100_000)}, "historical_winrate"),
        ({"strategy_definitions": with_strategy(avg_rr=-1)}, "strategy_definitions.0.avg_rr"),
        (
            {"strategy_definitions": [{**STRATEGY, "name": f"s{number}"} for number in range(21)]},
            "strategy_definitions",
        ),
        ({"lessons_learned": [lesson(), lesson("L2", TEN_MEGABYTES)]}, "lessons_learned.1.lesson"),
        ({"lessons_learned": [{**lesson(), "id": TEN_MEGABYTES}]}, "lessons_learned.0.id"),
        ({"lessons_learned": [lesson(str(number)) for number in range(100_000)]}, "lessons_learned"),
        ({"lessons_learned": [lesson("L1"), lesson("L2"), lesson("L1")]}, "lessons_learned"),
        ({"confidence_calibration": with_calibration(count=-1)}, "confidence_calibration.0.count"),
        ({"confidence_calibration": with_calibration(bucket_low="-0.5")}, "confidence_calibration.0.bucket_low"),
        (
            {"confidence_calibration": with_calibration(stated_mean=TEN_MEGABYTES)},
            "confidence_calibration.0.stated_mean",
        ),
        (
            {"market_regime_rules": with_rule(3, preferred_strategies=["scalping", "grid"])},
            "market_regime_rules: volatile names undefined strategies grid, scalping",
        ),
        ({"market_regime_rules": with_rule(1, max_position_pct=-1)}, "market_regime_rules.1.max_position_pct"),
        ({"market_regime_rules": with_rule(1, max_position_pct="0")}, "market_regime_rules.1.max_position_pct"),
        ({"market_regime_rules": with_rule(1, max_position_pct="1e-25")}, "market_regime_rules.1.max_position_pct"),
        ({"market_regime_rules": with_rule(1, max_position_pct="0.0009")}, "pct: at least 0.001 is needed;"),
        ({"lessons_learned": [lesson(), lesson("L2", " \n ")]}, "lessons_learned.1.lesson: it is empty"),
        ({"lessons_learned": [lesson(text="a\x1b[31mred")]}, "lessons_learned.0.lesson: the character U+001B"),
        ({"lessons_learned": [lesson(text="safe \u202e gnilacs")]}, "lessons_learned.0.lesson: the character U+202E"),
        ({"strategy_definitions": with_strategy(filters=["a\u2066"])}, "strategy_definitions.0.filters.0: the char"),
        ({"lessons_learned": [{**lesson(), "date": "0001-01-01"}]}, "lessons_learned.0.date: a date from 2000-01-01"),
        ({"lessons_learned": [{**lesson(), "date": "9999-12-31"}]}, "lessons_learned.0.date: a date from 2000-01-01"),
        (
            {"lessons_learned": [{**lesson(f"L{n}", "x" * 600), "evidence": "y" * 600} for n in range(40)]},
            "lessons_learned: ",
        ),
        (
            {"market_regime_rules": with_rule(0, avoid_strategies=["mean_reversion"] * 2)},
            "market_regime_rules.0.avoid_strategies: mean_reversion more than once",
        ),
        ({"time_filters": {"avoid_hours_utc": [-1], "preferred_hours_utc": []}}, "time_filters.avoid_hours_utc.0"),
        (
            {"time_filters": {"avoid_hours_utc": [4, 4], "preferred_hours_utc": []}},
            "time_filters.avoid_hours_utc: 4 more than once",
        ),
        ({TEN_MEGABYTES: 1}, "xxx..."),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_refused_is_named_by_its_place_and_not_repeated(changes: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidPlaybook) as refused:
        read_playbook(stored(**changes))
    assert place in str(refused.value)
    assert len(str(refused.value)) < 500


def test_what_is_kept_in_any_writing_system_and_in_several_lines_is_a_text() -> None:
    texts = ("ห้ามเข้าเทรดเมื่อปริมาณซื้อขายต่ำ", "Wait.\n\tThen buy.", "na\u00efve \u2192 2\u00d7", "a\u200db")
    read = read_playbook(stored(lessons_learned=[lesson(f"L{n}", text) for n, text in enumerate(texts)]))
    assert tuple(each.lesson for each in read.lessons_learned) == texts
    rules = with_rule(1, max_position_pct="0.001")
    assert largest_position(read_playbook(stored(market_regime_rules=rules)), "trending_down") == Decimal("0.001")


def test_every_fault_is_told_with_its_place() -> None:
    with pytest.raises(InvalidPlaybook) as refused:
        read_playbook(stored(strategy_definitions=with_strategy(entry="", avg_rr="-2"), lessons_learned=[{}]))
    places = [fault.place for fault in refused.value.faults]
    assert places[:2] == [("strategy_definitions", 0, "entry"), ("strategy_definitions", 0, "avg_rr")]
    assert ("lessons_learned", 0, "evidence") in places
    assert str(refused.value).endswith(f"(and {len(places) - 1} more)")


def test_documents_no_schema_could_read_are_refused_too() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"version": deep}
    for document in (
        deep,
        {},
        [],
        "playbook",
        None,
        {"version": {1, 2}},
        stored(lessons_learned=[lesson(text="\ud800")]),
    ):
        with pytest.raises(InvalidPlaybook):
            read_playbook(document)  # type: ignore[arg-type]


def test_the_content_of_a_playbook_is_all_but_its_number_and_date() -> None:
    assert content(first_playbook(NOW)) == content(
        read_playbook(stored(version=4, last_updated="2027-01-01T00:00:00Z"))
    )
    assert content(first_playbook(NOW)) != content(read_playbook(stored(lessons_learned=[lesson()])))


def test_differences_are_told_in_words() -> None:
    strategies = stored()["strategy_definitions"]
    strategies[0]["filters"] = [strategies[0]["filters"][1], "no news within the hour"]
    strategies[1]["historical_winrate"] = "0.55"
    changed = read_playbook(
        stored(
            version=2,
            strategy_definitions=strategies,
            market_regime_rules=with_rule(2, max_position_pct="0.03", avoid_strategies=["momentum_breakout"]),
            lessons_learned=[lesson()],
            time_filters={"avoid_hours_utc": [21], "preferred_hours_utc": []},
        )
    )
    assert diff(first_playbook(NOW), changed) == [
        "ranging.avoid_strategies: added momentum_breakout",
        "ranging.max_position_pct: 0.04 -> 0.03",
        "momentum_breakout.filters: added 'no news within the hour'",
        "momentum_breakout.filters: removed 'volume above 1.2 times its average'",
        "momentum_breakout.filters: removed 'stop at about one to one and a half 1H ATR'",
        "trend_pullback.historical_winrate: unknown -> 0.55",
        "lessons_learned: added L1",
        "time_filters.avoid_hours_utc: added 21",
    ]


def test_equal_playbooks_have_no_differences_and_a_new_order_is_one() -> None:
    assert diff(first_playbook(NOW), read_playbook(stored(version=7))) == []
    turned = with_rule(0, preferred_strategies=["momentum_breakout", "trend_pullback"])
    assert diff(first_playbook(NOW), read_playbook(stored(market_regime_rules=turned))) == [
        "trending_up.preferred_strategies: reordered"
    ]


@pytest.mark.parametrize("section", ["strategy_definitions", "market_regime_rules"])
def test_a_new_order_of_the_entries_is_a_difference(section: str) -> None:
    turned = read_playbook(stored(**{section: stored()[section][::-1]}))
    assert diff(first_playbook(NOW), turned) == [f"{section}: reordered"]


def test_an_addition_in_front_is_no_new_order() -> None:
    one, two = (read_playbook(stored(lessons_learned=entries)) for entries in ([lesson()], [lesson("L0"), lesson()]))
    assert diff(one, two) == ["lessons_learned: added L0"]
    assert diff(two, one) == ["lessons_learned: removed L0"]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (["a", "b"], ["a", "b", "a"], ["added a"]),
        (["a", "a"], ["a"], ["removed a"]),
        (["a", "b"], ["b", "c", "a"], ["added c", "reordered"]),
        (["a", "b", "c"], ["c", "a"], ["removed b", "reordered"]),
        (["a", "b"], ["b", "a"], ["reordered"]),
    ],
)
def test_lists_are_compared_value_by_value(before: list[str], after: list[str], told: list[str]) -> None:
    old, new = (
        read_playbook(stored(strategy_definitions=with_strategy(filters=filters))) for filters in (before, after)
    )
    assert diff(old, new) == [f"momentum_breakout.filters: {each}" for each in told]


@pytest.fixture
def careful() -> Playbook:
    return read_playbook(stored(time_filters={"avoid_hours_utc": [10], "preferred_hours_utc": []}))


def test_an_hour_to_avoid_blocks_every_opening(careful: Playbook) -> None:
    told = blocked_by(careful, "trend_pullback", "trending_up", NOW)
    assert told == "the playbook avoids the hour from 10:00 UTC"
    assert blocked_by(careful, "trend_pullback", "trending_up", NOW.replace(hour=11)) is None


def test_a_strategy_to_avoid_is_blocked_in_its_regime_only() -> None:
    playbook = first_playbook(NOW)
    assert "avoids mean_reversion in a volatile market" in str(blocked_by(playbook, "Mean Reversion", "volatile", NOW))
    assert blocked_by(playbook, "mean_reversion", "ranging", NOW) is None
    assert blocked_by(playbook, "mean_reversion", None, NOW) is None


def test_a_strategy_the_playbook_does_not_define_is_blocked() -> None:
    assert "not in the playbook" in str(blocked_by(first_playbook(NOW), "mean_reversion_2", "ranging", NOW))


def test_the_largest_position_is_that_of_the_regime() -> None:
    playbook = first_playbook(NOW)
    assert largest_position(playbook, "volatile") == Decimal("0.03")
    assert largest_position(playbook, None) is None
