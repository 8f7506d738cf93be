"""What makes a market unusual, and what makes a cycle ask for research.

Pure rules; a number that is unknown triggers nothing.
"""

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from decisions.messages import MarketAlert, MarketSnapshot

Kind = Literal["price_change", "funding_rate", "open_interest", "market_alert", "news", "command", "model_request"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Where a market becomes unusual, as fractions. Each must be passed, not only reached."""

    price_change_1h: Decimal = Decimal("0.03")
    funding_high: Decimal = Decimal("0.0005")
    funding_low: Decimal = Decimal("-0.0003")
    oi_change_4h: Decimal = Decimal("0.10")


@dataclass(frozen=True, slots=True)
class Trigger:
    """One reason, by kind for code and in words for people."""

    kind: Kind
    detail: str

    def __str__(self) -> str:
        return self.detail


def anomalies(
    snapshot: MarketSnapshot, thresholds: Thresholds, alerts: Collection[MarketAlert] = ()
) -> tuple[Trigger, ...]:
    """What is unusual now: the price, funding and open interest against the thresholds, and the market alerts for
    this instrument since its last cycle. `alerts` of other instruments are passed over."""
    found = [_price_change(snapshot, thresholds), _funding(snapshot, thresholds), _open_interest(snapshot, thresholds)]
    kinds = sorted({alert.kind for alert in alerts if alert.symbol == snapshot.symbol})
    told = [Trigger("market_alert", f"market alert: {kind}") for kind in kinds]
    return (*(trigger for trigger in found if trigger is not None), *told)


def research_triggers(
    snapshot: MarketSnapshot,
    thresholds: Thresholds,
    *,
    alerts: Collection[MarketAlert] = (),
    news: str | None = None,
    commanded: bool = False,
    requested: str | None = None,
) -> tuple[Trigger, ...]:
    """Every reason to research before the analysis, none when empty.

    `news` names the event whose window this is, `commanded` says that a person asked for research, `requested` is the
    question the model asked in its first answer.
    """
    triggers = list(anomalies(snapshot, thresholds, alerts))
    if news is not None:
        triggers.append(Trigger("news", f"news window: {news}"))
    if commanded:
        triggers.append(Trigger("command", "research was commanded"))
    if requested:
        triggers.append(Trigger("model_request", f"the model asks: {requested}"))
    return tuple(triggers)


def _price_change(snapshot: MarketSnapshot, thresholds: Thresholds) -> Trigger | None:
    change = snapshot.price_change_1h
    if change is None or abs(change) <= thresholds.price_change_1h:
        return None
    return Trigger("price_change", f"1 h price change {change} beyond {thresholds.price_change_1h}")


def _funding(snapshot: MarketSnapshot, thresholds: Thresholds) -> Trigger | None:
    rate = snapshot.funding_rate
    if rate is None or thresholds.funding_low <= rate <= thresholds.funding_high:
        return None
    return Trigger("funding_rate", f"funding rate {rate} outside {thresholds.funding_low} to {thresholds.funding_high}")


def _open_interest(snapshot: MarketSnapshot, thresholds: Thresholds) -> Trigger | None:
    change = snapshot.oi_change_4h
    if change is None or abs(change) <= thresholds.oi_change_4h:
        return None
    return Trigger("open_interest", f"4 h open interest change {change} beyond {thresholds.oi_change_4h}")
