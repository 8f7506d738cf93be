"""Probes: proposals just inside, at and just outside every limit, and what must come of each.

What must happen stands here a second time, beside the gate and not derived from it, so that the two can be held against
each other. Pure.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, TypedDict, Unpack

from risk import gate
from risk.limits import Limits

Place = Literal["inside", "at", "outside"]
Sides = tuple[Literal["OPEN_LONG", "OPEN_SHORT"], Decimal]

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
EQUITY = Decimal(1_000_000)
PRICE = Decimal(10_000)
HERE, ELSEWHERE = "DRILL-USDT-SWAP", "OTHER{}-USDT-SWAP"
STEP = Decimal("0.000000001")
"""How far just inside and just outside are from a limit, as a fraction."""
LIMIT_PRICE_BAND = Decimal("0.01")
"""How far a limit price may be from the snapshot, as a fraction: no setting, so it stands here a second time."""
TERMS = gate.Instrument(
    symbol=HERE,
    ct_val=Decimal(1),
    lot_size=Decimal("1e-18"),
    min_size=Decimal("1e-18"),
    tick_size=Decimal("1e-40"),
)
"""Steps so fine that no rounding hides a difference."""
LONG_SIDE: Sides = ("OPEN_LONG", Decimal(1))
SHORT_SIDE: Sides = ("OPEN_SHORT", Decimal(-1))


class Changes(TypedDict, total=False):
    """What a probe has that the sound proposal has not: fields of the proposal, or arguments of `evaluate`."""

    proposal: Mapping[str, Any]
    equity: Decimal
    positions: tuple[gate.Position, ...]
    pending: tuple[gate.PendingOrder, ...]
    state: Mapping[str, Any]
    correlations: Mapping[str, Decimal | None]
    instrument: gate.Instrument


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One proposal: the rule it is about, where it lies, what that rule must say, and what must come of the proposal.

    `company` are rules that may refuse it too, since no figures keep them apart.
    """

    rule: str
    place: Place
    told: str
    inputs: gate.Inputs
    expected: frozenset[str]
    approved: bool
    company: frozenset[str] = frozenset()
    leverage: Decimal | None = None
    contracts: Decimal | None = None


# --- a sound proposal, and what is changed in it ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Desk:
    """Makes probes for one side of the market under given limits."""

    limits: Limits
    side: Sides
    size_pct: Decimal = field(init=False)
    distance: Decimal = field(init=False)

    def __post_init__(self) -> None:
        smaller = min(self.limits.max_single_trade_pct, self.limits.max_total_exposure_pct)
        object.__setattr__(self, "size_pct", smaller / 4)
        # A short's target must stay above zero, whatever reward is asked for.
        nearest = min(self.limits.max_sl_distance_pct / 2, 1 / (4 * self.limits.min_rr_ratio))
        object.__setattr__(self, "distance", nearest.quantize(Decimal("1e-12")))

    def stop_at(self, distance: Decimal) -> Decimal:
        """The stop so far from the entry, as a fraction of it, on the losing side."""
        return PRICE * (1 - self.side[1] * distance)

    def target_at(self, distance: Decimal) -> Decimal:
        return PRICE * (1 + self.side[1] * distance)

    def rewarded(self, distance: Decimal) -> dict[str, Decimal]:
        """A stop at a distance, and a target that pays well enough for it where there is room for one."""
        return {
            "stop_loss": self.stop_at(distance),
            "take_profit": self.target_at(distance * self.limits.min_rr_ratio * 2),
        }

    def proposal(self, **changes: Any) -> gate.Proposal:
        sound = gate.Proposal(
            action=self.side[0],
            symbol=HERE,
            size_pct=self.size_pct,
            order_type="market",
            limit_price=None,
            leverage=Decimal(1),
            snapshot_price=PRICE,
            bid=PRICE,
            ask=PRICE,
            **self.rewarded(self.distance),
        )
        return replace(sound, **changes)

    def held_here(self, notional: Decimal, stop: Decimal) -> gate.Position:
        return gate.Position(
            symbol=HERE,
            direction="LONG" if self.side is LONG_SIDE else "SHORT",
            size=notional / PRICE,
            notional_usd=notional,
            stop_loss=stop,
            take_profit=None,
        )

    def elsewhere(self, *notionals: Decimal) -> tuple[gate.Position, ...]:
        """Positions of the same side in other instruments."""
        here = self.held_here(EQUITY, PRICE)
        return tuple(
            replace(here, symbol=ELSEWHERE.format(number), notional_usd=notional)
            for number, notional in enumerate(notionals, 1)
        )

    def inputs(self, **changes: Unpack[Changes]) -> gate.Inputs:
        positions, pending = changes.get("positions", ()), changes.get("pending", ())
        symbols = [*(position.symbol for position in positions), *(order.symbol for order in pending)]
        equity = changes.get("equity", EQUITY)
        state = gate.RiskState(
            day_start_equity=equity,
            day_net_transfers=Decimal(0),
            peak_equity=equity,
            peak_net_transfers=Decimal(0),
            loss_streak=0,
            cooldown_until=None,
            halts=(),
        )
        unrelated: dict[str, Decimal | None] = dict.fromkeys(symbols, Decimal(0))
        return gate.Inputs(
            proposal=self.proposal(**changes.get("proposal", {})),
            account=gate.Account(equity=equity),
            positions=positions,
            pending=pending,
            state=replace(state, **changes.get("state", {})),
            correlations={**unrelated, **changes.get("correlations", {})},
            instrument=changes.get("instrument", TERMS),
            limits=self.limits,
            now=NOW,
        )

    def passes(self, rule: str, place: Place, told: str, *company: str, **changes: Unpack[Changes]) -> Probe:
        """A probe that the rule must let pass, with a warning at most."""
        return self._probe(rule, place, told, frozenset(("pass", "warn")), True, frozenset(company), changes)

    def refuses(self, rule: str, place: Place, told: str, *company: str, **changes: Unpack[Changes]) -> Probe:
        """A probe that the rule must refuse."""
        verdict = "halt" if rule in ("daily_loss", "drawdown") else "reject"
        return self._probe(rule, place, told, frozenset((verdict,)), False, frozenset(company), changes)

    def shrinks(self, rule: str, place: Place, told: str, **changes: Unpack[Changes]) -> Probe:
        """A probe that the rule must make smaller and let pass."""
        return self._probe(rule, place, told, frozenset(("shrink",)), True, frozenset(), changes)

    def _probe(
        self,
        rule: str,
        place: Place,
        told: str,
        expected: frozenset[str],
        approved: bool,
        company: frozenset[str],
        changes: Changes,
    ) -> Probe:
        return Probe(
            rule=rule,
            place=place,
            told=f"{told}, {'long' if self.side is LONG_SIDE else 'short'}",
            inputs=self.inputs(**changes),
            expected=expected,
            approved=approved,
            company=company,
        )


def probes(limits: Limits) -> tuple[Probe, ...]:
    """Every probe, rule by rule, for both sides."""
    desks = [Desk(limits, side) for side in (LONG_SIDE, SHORT_SIDE)]
    return tuple(probe for rule in PROBED.values() for desk in desks for probe in rule(desk))


def _around(limit: Decimal) -> tuple[Decimal, Decimal, Decimal]:
    """Just below, at and just above."""
    return limit * (1 - STEP), limit, limit * (1 + STEP)


# --- the rules --------------------------------------------------------------------------------------------------------


def _falls(desk: Desk, rule: str, limit: Decimal, reference: str) -> Iterator[Probe]:
    less, same, more = _around(limit)
    for place, fall, told in (("inside", less, "just less lost"), ("at", same, "as much lost")):
        changes = Changes(equity=EQUITY * (1 - fall), state={reference: EQUITY})
        yield (desk.passes if place == "inside" else desk.refuses)(rule, place, told, **changes)  # type: ignore[arg-type]
    yield desk.refuses(rule, "outside", "just more lost", equity=EQUITY * (1 - more), state={reference: EQUITY})


def _daily_loss(desk: Desk) -> Iterator[Probe]:
    yield from _falls(desk, "daily_loss", desk.limits.max_daily_loss_pct, "day_start_equity")


def _drawdown(desk: Desk) -> Iterator[Probe]:
    yield from _falls(desk, "drawdown", desk.limits.max_drawdown_pct, "peak_equity")


def _cooldown(desk: Desk) -> Iterator[Probe]:
    most = desk.limits.max_consecutive_losses
    yield desk.passes("cooldown", "inside", "one loss short of the streak", state={"loss_streak": most - 1})
    yield desk.refuses("cooldown", "at", "the streak", state={"loss_streak": most})
    yield desk.refuses("cooldown", "outside", "one loss more", state={"loss_streak": most + 1})
    yield desk.passes("cooldown", "inside", "a second after its end", state={"cooldown_until": NOW - SECOND})
    yield desk.passes("cooldown", "at", "at its end", state={"cooldown_until": NOW})
    yield desk.refuses("cooldown", "outside", "a second before its end", state={"cooldown_until": NOW + SECOND})


def _position_count(desk: Desk) -> Iterator[Probe]:
    most = desk.limits.max_concurrent_positions
    tiny = desk.size_pct * EQUITY / 1000
    room = desk.elsewhere(*[tiny] * (most - 1))
    full = desk.elsewhere(*[tiny] * most)
    yield desk.passes("position_count", "inside", "one place left", positions=room)
    yield desk.refuses("position_count", "at", "no place left", positions=full)
    yield desk.refuses("position_count", "outside", "one too many", positions=desk.elsewhere(*[tiny] * (most + 1)))
    reserved = gate.PendingOrder(
        symbol=ELSEWHERE.format("P"), direction="LONG", action="OPEN_LONG", notional_usd=tiny, reduce_only=False
    )
    yield desk.refuses("position_count", "at", "the last place is pending", positions=room, pending=(reserved,))


def _trade_size(desk: Desk) -> Iterator[Probe]:
    less, same, more = _around(desk.limits.max_single_trade_pct)
    company = "total_exposure"
    yield desk.passes("trade_size", "inside", "just smaller", company, proposal={"size_pct": less})
    yield desk.passes("trade_size", "at", "as large as allowed", company, proposal={"size_pct": same})
    yield desk.refuses("trade_size", "outside", "just larger", company, proposal={"size_pct": more})
    increment = desk.limits.max_single_trade_pct / 8
    add = {"action": "ADD", "size_pct": increment}
    stop = desk.stop_at(desk.distance)
    for size, refused in ((less, False), (same, False), (more, True)):
        position = desk.held_here((size - increment) * EQUITY, stop)
        make = desk.refuses if refused else desk.passes
        place: Place = "outside" if refused else "at" if size == same else "inside"
        yield make("trade_size", place, "an add to it", company, proposal=add, positions=(position,))


def _total_exposure(desk: Desk) -> Iterator[Probe]:
    less, same, more = _around(desk.limits.max_total_exposure_pct)
    crowd = "position_count"
    for place, size in (("inside", less), ("at", same)):
        positions = desk.elsewhere((size - desk.size_pct) * EQUITY)
        told = "just less" if place == "inside" else "as much as allowed"
        yield desk.passes("total_exposure", place, told, crowd, positions=positions)  # type: ignore[arg-type]
    positions = desk.elsewhere((more - desk.size_pct) * EQUITY)
    yield desk.refuses("total_exposure", "outside", "just more", crowd, positions=positions)


def _leverage(desk: Desk) -> Iterator[Probe]:
    less, same, more = _around(desk.limits.max_leverage)
    yield replace(desk.passes("leverage", "inside", "just less", proposal={"leverage": less}), leverage=less)
    yield replace(desk.passes("leverage", "at", "as much as allowed", proposal={"leverage": same}), leverage=same)
    yield replace(desk.shrinks("leverage", "outside", "just more", proposal={"leverage": more}), leverage=same)


def _stop_loss(desk: Desk) -> Iterator[Probe]:
    close = STEP * desk.distance
    company = ("rr_ratio",)
    yield desk.passes("stop_loss", "inside", "just on the right side", proposal={"stop_loss": desk.stop_at(close)})
    yield desk.refuses("stop_loss", "at", "at the entry", *company, proposal={"stop_loss": PRICE})
    yield desk.refuses(
        "stop_loss", "outside", "just on the wrong side", *company, proposal={"stop_loss": desk.stop_at(-close)}
    )
    for missing in (None, Decimal(0)):
        yield desk.refuses(
            "stop_loss", "outside", "none at all", *company, "sl_distance", proposal={"stop_loss": missing}
        )


def _sl_distance(desk: Desk) -> Iterator[Probe]:
    less, same, more = _around(desk.limits.max_sl_distance_pct)
    # A short that has to win many times a wide stop finds no room for its target.
    company = () if desk.side is LONG_SIDE else ("rr_ratio", "well_formed")
    yield desk.passes("sl_distance", "inside", "just nearer", *company, proposal=desk.rewarded(less))
    yield desk.passes("sl_distance", "at", "as far as allowed", *company, proposal=desk.rewarded(same))
    yield desk.refuses("sl_distance", "outside", "just farther", *company, proposal=desk.rewarded(more))


def _rr_ratio(desk: Desk) -> Iterator[Probe]:
    less, same, more = (desk.target_at(desk.distance * ratio) for ratio in _around(desk.limits.min_rr_ratio))
    yield desk.passes("rr_ratio", "inside", "just more reward", proposal={"take_profit": more})
    yield desk.passes("rr_ratio", "at", "as little reward as allowed", proposal={"take_profit": same})
    yield desk.refuses("rr_ratio", "outside", "just less reward", proposal={"take_profit": less})
    wrong = desk.target_at(-desk.distance)
    yield desk.refuses("rr_ratio", "outside", "target on the wrong side", proposal={"take_profit": wrong})
    yield desk.refuses("rr_ratio", "outside", "no target", proposal={"take_profit": None})


def _correlation(desk: Desk) -> Iterator[Probe]:
    less, same, more = _around(desk.limits.max_correlation)
    other = desk.elsewhere(desk.size_pct * EQUITY / 1000)
    name, whole = other[0].symbol, desk.size_pct * EQUITY / PRICE
    crowd = "position_count"
    for place, r in (("inside", less), ("at", same)):
        probe = desk.passes(
            "correlation",
            place,  # type: ignore[arg-type]
            "just less alike" if place == "inside" else "as alike as allowed",
            crowd,
            positions=other,
            correlations={name: r},
        )
        yield replace(probe, contracts=whole)
    for told, unknown in (("just more alike", more), ("not known", None)):
        probe = desk.shrinks("correlation", "outside", told, positions=other, correlations={name: unknown})
        yield replace(probe, contracts=whole / 2, company=frozenset((crowd,)))
    hedge = replace(other[0], direction="SHORT" if desk.side is LONG_SIDE else "LONG")
    probe = desk.passes("correlation", "inside", "a hedge", crowd, positions=(hedge,), correlations={name: Decimal(1)})
    yield replace(probe, contracts=whole)


def _halted(desk: Desk) -> Iterator[Probe]:
    daily = gate.Halt(kind="daily_loss", reason="drill", since=NOW - SECOND, until=NOW + SECOND)
    over = replace(daily, until=NOW - SECOND)
    by_person = gate.Halt(kind="manual", reason="drill", since=NOW - SECOND, until=None)
    yield desk.passes("halted", "inside", "a second after the day's end", state={"halts": (over,)})
    yield desk.passes("halted", "at", "at the day's end", state={"halts": (replace(daily, until=NOW),)})
    yield desk.refuses("halted", "outside", "a second before the day's end", state={"halts": (daily,)})
    yield desk.refuses("halted", "outside", "by a person", state={"halts": (by_person,)})
    yield desk.refuses("halted", "outside", "one over, one standing", state={"halts": (over, by_person)})


def _well_formed(desk: Desk) -> Iterator[Probe]:
    yield desk.passes("well_formed", "inside", "a sound proposal")
    yield desk.passes("well_formed", "at", "a book without a spread", proposal={"bid": PRICE, "ask": PRICE})
    others = ("limit_price", "min_size", "trade_size", "total_exposure", "stop_loss", "sl_distance", "rr_ratio")
    not_numbers = (Decimal("NaN"), Decimal("Infinity"), Decimal(-1), Decimal(0))
    for name in ("size_pct", "snapshot_price", "bid", "ask", "leverage"):
        for value in not_numbers:
            company = (*others, "leverage")
            yield desk.refuses("well_formed", "outside", f"{name} {value}", *company, proposal={name: value})
    yield desk.refuses("well_formed", "outside", "another symbol", proposal={"symbol": ELSEWHERE.format(1)})
    unknown = ("position_count", *others)
    yield desk.refuses("well_formed", "outside", "an unknown action", *unknown, proposal={"action": "DOUBLE"})
    here = desk.held_here(desk.size_pct * EQUITY / 1000, desk.stop_at(desk.distance))
    yield desk.refuses("well_formed", "outside", "over a position", "position_count", positions=(here,))


def _limit_price(desk: Desk) -> Iterator[Probe]:
    sign, band = desk.side[1], LIMIT_PRICE_BAND
    places: tuple[tuple[Place, Decimal], ...] = tuple(zip(("inside", "at", "outside"), _around(band), strict=True))
    for place, away in places:
        limit = PRICE * (1 - sign * away)
        stop = limit * (1 - sign * desk.distance)
        target = limit * (1 + sign * desk.distance * desk.limits.min_rr_ratio * 2)
        proposal = {"order_type": "limit", "limit_price": limit, "stop_loss": stop, "take_profit": target}
        make = desk.refuses if place == "outside" else desk.passes
        yield make("limit_price", place, "away from the snapshot", proposal=proposal)
    crossing = {"order_type": "limit", "limit_price": PRICE * (1 + sign * STEP)}
    yield desk.refuses("limit_price", "outside", "not passive", "rr_ratio", "sl_distance", proposal=crossing)


def _add_stop(desk: Desk) -> Iterator[Probe]:
    old = desk.stop_at(desk.distance)
    position = desk.held_here(desk.size_pct * EQUITY / 1000, old)
    add = {"action": "ADD", "size_pct": desk.size_pct}
    closer, looser = desk.distance * (1 - STEP), desk.distance * (1 + STEP)
    for place, distance, told in (("inside", closer, "just closer"), ("at", desk.distance, "where it was")):
        stop = {"stop_loss": desk.stop_at(distance)}
        yield desk.passes("add_stop", place, told, proposal={**add, **stop}, positions=(position,))  # type: ignore[arg-type]
    stop = {"stop_loss": desk.stop_at(looser)}
    yield desk.refuses("add_stop", "outside", "just looser", proposal={**add, **stop}, positions=(position,))


def _min_size(desk: Desk) -> Iterator[Probe]:
    size = desk.size_pct * EQUITY / PRICE
    for place, smallest in zip(("inside", "at", "outside"), _around(size), strict=True):
        make = desk.refuses if place == "outside" else desk.passes
        yield make("min_size", place, "of what the venue takes", instrument=replace(TERMS, min_size=smallest))  # type: ignore[arg-type]


def _exits(desk: Desk) -> Iterator[Probe]:
    """Whatever stands in an opening's way, a position can be left, and an exit never takes more than is open."""
    position = desk.held_here(desk.size_pct * EQUITY, desk.stop_at(desk.distance))
    halt = gate.Halt(kind="manual", reason="drill", since=NOW - SECOND, until=None)
    worst = Changes(
        equity=Decimal("NaN"),
        positions=(position, *desk.elsewhere(*[EQUITY] * (desk.limits.max_concurrent_positions + 1))),
        state={"halts": (halt,), "cooldown_until": NOW + SECOND, "loss_streak": 99, "peak_equity": EQUITY * 10},
    )
    for action, size in (("CLOSE", Decimal(0)), ("REDUCE", Decimal(10))):
        worst["proposal"] = {"action": action, "size_pct": size, "stop_loss": None, "take_profit": None}
        probe = desk.passes("halted", "inside", f"{action} in the worst state", **worst)
        yield replace(probe, contracts=position.size)


PROBED: Mapping[str, Callable[[Desk], Iterable[Probe]]] = {
    "daily_loss": _daily_loss,
    "drawdown": _drawdown,
    "cooldown": _cooldown,
    "position_count": _position_count,
    "trade_size": _trade_size,
    "total_exposure": _total_exposure,
    "leverage": _leverage,
    "stop_loss": _stop_loss,
    "sl_distance": _sl_distance,
    "rr_ratio": _rr_ratio,
    "correlation": _correlation,
    "halted": _halted,
    "well_formed": _well_formed,
    "limit_price": _limit_price,
    "add_stop": _add_stop,
    "min_size": _min_size,
    "exits": _exits,
}
"""What is probed: every rule of the gate by its name, and that exits pass."""
