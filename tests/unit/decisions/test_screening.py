"""When the screener is asked, who checks on it, and when it is said to pass too little."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from decisions.messages import MarketAlert, MarketSnapshot
from decisions.screening import Switches, agreed, audited, pass_rate_alarm, screen_decision
from decisions.triggers import Thresholds

SNAPSHOT = json.loads((Path(__file__).parent / "golden" / "snapshot.json").read_text())
NOW = datetime(2026, 2, 7, 10, 30, tzinfo=UTC)
ALERT = MarketAlert(symbol="BTC-USDT-SWAP", kind="oi_spike", severity="INFO", detail="", value=None)


def decided(
    *, switches: Switches | None = None, has_position: bool = False, news: str | None = None, **changes: Any
) -> tuple[bool, str]:
    alerts = changes.pop("alerts", ())
    decision = screen_decision(
        MarketSnapshot.model_validate({**SNAPSHOT, **changes}),
        switches=switches or Switches(),
        thresholds=Thresholds(),
        has_position=has_position,
        news=news,
        alerts=alerts,
    )
    return decision.ask, decision.reason


def test_an_ordinary_snapshot_is_screened() -> None:
    assert decided() == (True, "nothing bypasses the screener")


@pytest.mark.parametrize(
    ("circumstances", "flag", "reason"),
    [
        ({"has_position": True}, "bypass_on_position", "open position"),
        ({"news": "FOMC statement"}, "bypass_on_news", "news window: FOMC statement"),
        ({"price_change_1h": "-0.04"}, "bypass_on_anomaly", "1 h price change -0.04 beyond 0.03"),
        ({"alerts": [ALERT]}, "bypass_on_anomaly", "market alert: oi_spike"),
    ],
)
def test_each_bypass_stands_behind_its_flag(circumstances: dict[str, Any], flag: str, reason: str) -> None:
    assert decided(**circumstances) == (False, reason)
    assert decided(switches=Switches(**{flag: False}), **circumstances)[0]


def test_a_screener_that_is_switched_off_is_never_asked() -> None:
    assert decided(switches=Switches(enabled=False)) == (False, "the screener is switched off")


def test_the_audited_share_is_the_rate_and_always_the_same_slots() -> None:
    slots = [NOW + timedelta(minutes=5 * number) for number in range(5000)]
    chosen = [slot for slot in slots if audited("BTC-USDT-SWAP", slot, Decimal("0.02"))]
    assert 60 <= len(chosen) <= 140
    assert all(audited("BTC-USDT-SWAP", slot, 0.02) for slot in chosen)
    assert chosen != [slot for slot in slots if audited("ETH-USDT-SWAP", slot, 0.02)]


def test_a_rate_of_nothing_audits_nothing_and_of_one_everything() -> None:
    assert not audited("BTC-USDT-SWAP", NOW, 0)
    assert audited("BTC-USDT-SWAP", NOW, 1)


def test_agreement_is_signal_against_action() -> None:
    assert agreed(True, "OPEN_LONG")
    assert agreed(False, "HOLD")
    assert not agreed(True, "HOLD")
    assert not agreed(False, "CLOSE")


def test_a_pass_rate_below_the_minimum_alarms_once_a_day() -> None:
    signals = [True] * 50 + [True] * 9 + [False] * 91
    told = pass_rate_alarm(signals, Decimal("0.10"), last_alarm_at=None, now=NOW)
    assert told == "only 9 of the last 100 screens gave a signal, fewer than the share of 0.10"
    an_hour_ago, a_day_ago = NOW - timedelta(hours=1), NOW - timedelta(days=1)
    assert pass_rate_alarm(signals, Decimal("0.10"), last_alarm_at=an_hour_ago, now=NOW) is None
    assert pass_rate_alarm(signals, Decimal("0.10"), last_alarm_at=a_day_ago, now=NOW) == told


def test_a_pass_rate_at_the_minimum_or_of_too_few_screens_is_silent() -> None:
    assert pass_rate_alarm([True] * 10 + [False] * 90, Decimal("0.10"), last_alarm_at=None, now=NOW) is None
    assert pass_rate_alarm([False] * 99, Decimal("0.10"), last_alarm_at=None, now=NOW) is None
