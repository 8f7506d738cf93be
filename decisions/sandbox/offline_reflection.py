"""How the offline model looks back: rules on the figures that it is shown, the same for the same figures. Pure.

A review follows from the result, the exit and the excursion. A deep reflection keeps the playbook, writes into it what
was measured, and bans a strategy in a regime where its record is surely bad: the whole interval of its mean return lies
below zero over at least `ENOUGH_TRADES` trades.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from decisions.sandbox.offline_setups import SIGNATURE

ENOUGH_TRADES = 10
MOST_LESSONS = 60
MOST_RATIO = 100

GIVEN_BACK_R = 1.0
"""So much profit that was there and went is an exit's fault."""
NEARLY_STOPPED_R = -0.7
"""Where a winner was nearly stopped out."""
NEVER_RIGHT_R = 0.3
"""A loser that was never further in profit than this was wrong from the start."""

Shown = Mapping[str, Any]


# --- after a trade --------------------------------------------------------------------------------------------------


def reviewed(shown: Shown) -> dict[str, Any]:
    """The review of a closed trade, from the sections of the question. A figure that is not known says nothing."""
    result, plan, trade = shown["result"], shown["plan"], shown["completed_trade"]
    adverse, favourable = _number(shown["excursion"]["adverse_r"]), _number(shown["excursion"]["favourable_r"])
    earned = _number(result["pnl_r"])
    lost = result["outcome"] == "loss"
    given_back = favourable is not None and earned is not None and favourable - max(earned, 0) >= GIVEN_BACK_R
    nearly_stopped = not lost and adverse is not None and adverse <= NEARLY_STOPPED_R
    never_right = lost and favourable is not None and favourable < NEVER_RIGHT_R
    right, wrong = _sides(given_back=given_back, nearly_stopped=nearly_stopped, never_right=never_right)
    told = f"{_named(plan['strategy'])} in a {_named(plan['market_regime'])} market"
    return {
        "outcome": result["outcome"],
        "execution_quality": ("excellent", "good", "fair", "poor")[len(wrong) + (1 if lost else 0)],
        "entry_timing": "early" if nearly_stopped or never_right else "good",
        "exit_timing": "late" if given_back else "good",
        "what_went_right": right if not lost else [],
        "what_went_wrong": wrong,
        "lesson": f"{SIGNATURE} {told} ended by {_named(trade['exit_reason'])} with {result['pnl_usd']} USD.",
        "should_update_playbook": never_right,
        "playbook_suggestion": f"{SIGNATURE} look at the record of {told}." if never_right else None,
    }


def _sides(*, given_back: bool, nearly_stopped: bool, never_right: bool) -> tuple[list[str], list[str]]:
    """What went right and what went wrong, two faults at the most."""
    wrong = []
    if given_back:
        wrong.append(f"{SIGNATURE} at least {GIVEN_BACK_R} R of profit was given back.")
    if nearly_stopped:
        wrong.append(f"{SIGNATURE} the price came within reach of the stop first.")
    if never_right:
        wrong.append(f"{SIGNATURE} the price hardly ever went the right way.")
    return [] if wrong else [f"{SIGNATURE} entry and exit stood where the move was."], wrong[:2]


def _number(value: object) -> float | None:
    """A figure as it was shown; a text in its place says why there is none."""
    return float(value) if isinstance(value, int | float) else None


def _named(text: str) -> str:
    """A word of the trade's record, short enough for a sentence."""
    return text[:50] or "unknown"


# --- deep -----------------------------------------------------------------------------------------------------------


def reflected(shown: Shown) -> dict[str, Any]:
    """The result of a deep reflection, from the sections of the question."""
    bad = [record for record in _records(shown) if _is_surely_bad(record)]
    playbook = json.loads(json.dumps(shown["current_playbook"]))
    banned = [record for record in bad if _ban(playbook, record)]
    _write_lessons(playbook, banned, shown["period"]["to"][:10])
    _write_measured(playbook, shown)
    new, total = shown["period"]["new_trades"], shown["performance_summary"]["total"]
    told = f"{new} new trades, {total['total_pnl']} USD in the period after all costs"
    done = ", ".join(_pair(record) for record in banned)
    return {
        "updated_playbook": playbook,
        "pattern_insights": [f"{SIGNATURE} {_evidence(record)}" for record in bad][:12],
        "bias_findings": _biases(shown["confidence_calibration"]),
        "discipline_score": _discipline(shown["individual_trade_reviews"]),
        "summary": f"{SIGNATURE} {told}. {f'Banned: {done}' if done else 'Nothing is banned'}.",
    }


def _records(shown: Shown) -> Iterable[Shown]:
    return [record for record in shown["breakdown_by_strategy_and_regime"] if "strategy" in record]


def _is_surely_bad(record: Shown) -> bool:
    high = record["mean_return_high"]
    return record["trades"] >= ENOUGH_TRADES and high is not None and high < 0


def _ban(playbook: dict[str, Any], record: Shown) -> bool:
    """Ban a strategy in a regime. Says whether it did: not without a rule for the regime, not twice, and not where
    nothing would be left to trade in any regime that has one."""
    strategies = {strategy["name"] for strategy in playbook["strategy_definitions"]}
    rule = next((rule for rule in playbook["market_regime_rules"] if rule["regime"] == record["regime"]), None)
    name = record["strategy"]
    if rule is None or name not in strategies or name in rule["avoid_strategies"]:
        return False
    avoided = [*rule["avoid_strategies"], name]
    others = [each["avoid_strategies"] for each in playbook["market_regime_rules"] if each is not rule]
    if all(strategies <= set(each) for each in [avoided, *others]):
        return False
    rule["avoid_strategies"] = avoided
    rule["preferred_strategies"] = [each for each in rule["preferred_strategies"] if each != name]
    return True


def _write_lessons(playbook: dict[str, Any], banned: Sequence[Shown], day: str) -> None:
    """A lesson for each ban, under ids that are free; the oldest make room."""
    lessons = playbook["lessons_learned"]
    taken = {lesson["id"] for lesson in lessons}
    free = (name for number in range(1, 10_000) if (name := f"ban-{number}") not in taken)
    added = [
        {
            "id": name,
            "date": day,
            "lesson": f"{SIGNATURE} no {_pair(record)}.",
            "evidence": f"{SIGNATURE} {_evidence(record)}",
            "impact": f"{SIGNATURE} its openings are blocked in this regime.",
        }
        for name, record in zip(free, banned, strict=False)
    ]
    playbook["lessons_learned"] = [*lessons, *added][-MOST_LESSONS:]


def _pair(record: Shown) -> str:
    return f"{record['strategy'][:50]} in a {record['regime'][:20]} market"


def _evidence(record: Shown) -> str:
    low, high = record["mean_return_low"], record["mean_return_high"]
    return f"{_pair(record)}: mean return of {record['trades']} trades between {low} and {high}."


def _write_measured(playbook: dict[str, Any], shown: Shown) -> None:
    """Win rates, payoff ratios and the calibration as they were shown; what was not measured stays as it was."""
    measured = {group["name"]: group for group in shown["breakdown_by_strategy"] if "name" in group}
    for strategy in playbook["strategy_definitions"]:
        group = measured.get(strategy["name"], {"trades": 0})
        if group["trades"] >= ENOUGH_TRADES:
            strategy["historical_winrate"] = round(group["wins"] / group["trades"], 4)
            ratio = group["payoff_ratio"]
            strategy["avg_rr"] = None if ratio is None else min(round(ratio, 4), MOST_RATIO)
    if buckets := shown["confidence_calibration"]["buckets"]:
        playbook["confidence_calibration"] = [_bucket(bucket) for bucket in buckets]


def _bucket(bucket: Shown) -> dict[str, Any]:
    return {
        "bucket_low": bucket["low"],
        "bucket_high": bucket["high"],
        "count": bucket["count"],
        "stated_mean": bucket["stated_mean"],
        "actual_win_rate": bucket["actual_win_rate"]["value"],
    }


def _biases(calibration: Shown) -> list[str]:
    """Whether confidence was stated outside what the record allows."""
    stated, actual = calibration["stated_mean"], calibration["actual_win_rate"]
    if _number(stated) is None or actual["low"] <= stated <= actual["high"]:
        return []
    lean = "too high" if stated > actual["high"] else "too low"
    return [f"{SIGNATURE} stated confidence is {lean}: {stated} against {actual['low']} to {actual['high']}."]


def _discipline(trades: Sequence[Shown]) -> int:
    """Of the reviewed trades that were shown, the part that was not poor, in points; 100 where there are none."""
    kept = [trade["review"]["execution_quality"] != "poor" for trade in trades if "review" in trade]
    return round(100 * sum(kept) / len(kept)) if kept else 100
