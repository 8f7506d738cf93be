"""What counts as unusual, and what asks for research."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from decisions.messages import MarketAlert, MarketSnapshot
from decisions.triggers import Thresholds, anomalies, research_triggers

SNAPSHOT = json.loads((Path(__file__).parent / "golden" / "snapshot.json").read_text())


def snapshot(**changes: Any) -> MarketSnapshot:
    return MarketSnapshot.model_validate({**SNAPSHOT, **changes})


def alert(symbol: str = "BTC-USDT-SWAP", kind: str = "liquidations") -> MarketAlert:
    return MarketAlert(symbol=symbol, kind=kind, severity="WARN", detail="", value=None)


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({}, []),
        ({"price_change_1h": "0.03"}, []),
        ({"price_change_1h": "0.0301"}, ["price_change"]),
        ({"price_change_1h": "-0.0301"}, ["price_change"]),
        ({"price_change_1h": None}, []),
        ({"funding_rate": "0.0005"}, []),
        ({"funding_rate": "0.00051"}, ["funding_rate"]),
        ({"funding_rate": "-0.0003"}, []),
        ({"funding_rate": "-0.00031"}, ["funding_rate"]),
        ({"funding_rate": None}, []),
        ({"oi_change_4h": "0.10"}, []),
        ({"oi_change_4h": "0.11"}, ["open_interest"]),
        ({"oi_change_4h": "-0.11"}, ["open_interest"]),
        ({"oi_change_4h": None}, []),
        ({"price_change_1h": "0.05", "oi_change_4h": "-0.2"}, ["price_change", "open_interest"]),
    ],
)
def test_a_figure_beyond_its_threshold_is_an_anomaly(changes: dict[str, Any], kinds: list[str]) -> None:
    assert [trigger.kind for trigger in anomalies(snapshot(**changes), Thresholds())] == kinds


def test_thresholds_are_those_passed_in() -> None:
    assert anomalies(snapshot(), Thresholds(price_change_1h=Decimal("0.004")))[0].kind == "price_change"


def test_only_alerts_of_the_instrument_count_and_each_kind_once() -> None:
    found = anomalies(snapshot(), Thresholds(), [alert(), alert(), alert("ETH-USDT-SWAP", "price_spike")])
    assert [str(trigger) for trigger in found] == ["market alert: liquidations"]


def test_research_has_every_reason_at_once() -> None:
    triggers = research_triggers(
        snapshot(funding_rate="0.001"), Thresholds(), news="FOMC statement", commanded=True, requested="Any hack?"
    )
    assert [trigger.kind for trigger in triggers] == ["funding_rate", "news", "command", "model_request"]
    assert str(triggers[0]) == "funding rate 0.001 outside -0.0003 to 0.0005"


def test_an_ordinary_market_asks_for_no_research() -> None:
    assert research_triggers(snapshot(), Thresholds()) == ()
