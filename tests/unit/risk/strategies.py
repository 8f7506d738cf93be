"""What hypothesis makes up for the gate: anything at all, proposals that might pass, and those with one part spoilt."""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from risk import gate
from risk.limits import LIMIT_FIELDS, Limits, parse_limits
from tests.unit.risk.cases import BTC, LIMITS, LONG, NOW, SHORT, inputs

SYMBOLS = ["BTC-USDT-SWAP", "ETH-USDT-SWAP", "SOL-USDT-SWAP", "XRP-USDT-SWAP"]
MINUTE = timedelta(minutes=1)


@st.composite
def permitted_limits(draw: st.DrawFn) -> Limits:
    """Any limits that a person may set."""
    texts = {}
    for field in LIMIT_FIELDS:
        low, high = Decimal(field.floor or "0.0001"), Decimal(field.ceiling)
        places = 0 if field.whole else draw(st.integers(2, 12))
        number = draw(st.decimals(low, high, places=places, allow_nan=False))
        texts[field.name] = f"{number if number > 0 else low:f}"
    return parse_limits(texts)


# --- anything at all ------------------------------------------------------------------------------------------------

wild = st.one_of(
    st.decimals(),
    st.sampled_from(
        ["NaN", "sNaN", "-NaN", "Infinity", "-Infinity", "0", "-0", "1E+999999", "1E-999999", "-1E+400"]
    ).map(Decimal),
    st.decimals(min_value=-100000, max_value=100000, places=2),
)
zones = st.sampled_from([UTC, timezone(timedelta(hours=9)), timezone(timedelta(hours=-12))])
moments = st.one_of(st.datetimes(timezones=zones), st.datetimes(), st.just(datetime.max.replace(tzinfo=UTC)))
words = st.one_of(st.sampled_from(SYMBOLS), st.text(max_size=8))
directions: Any = st.sampled_from(["LONG", "SHORT", "", "sideways"])
actions: Any = st.sampled_from(["OPEN_LONG", "OPEN_SHORT", "ADD", "REDUCE", "CLOSE", "HOLD", "open_long", ""])

wild_proposals = st.builds(
    gate.Proposal,
    action=actions,
    symbol=words,
    size_pct=wild,
    order_type=st.sampled_from(["market", "limit", "stop"]),
    limit_price=st.none() | wild,
    stop_loss=st.none() | wild,
    take_profit=st.none() | wild,
    leverage=wild,
    snapshot_price=wild,
    bid=wild,
    ask=wild,
)
wild_positions = st.builds(
    gate.Position,
    symbol=words,
    direction=directions,
    size=wild,
    notional_usd=wild,
    stop_loss=st.none() | wild,
    take_profit=st.none() | wild,
)
wild_orders = st.builds(
    gate.PendingOrder, symbol=words, direction=directions, action=actions, notional_usd=wild, reduce_only=st.booleans()
)
wild_halts = st.builds(
    gate.Halt,
    kind=st.sampled_from(["daily_loss", "drawdown", "manual"]),
    reason=st.text(max_size=9),
    since=moments,
    until=st.none() | moments,
)
wild_states = st.builds(
    gate.RiskState,
    day_start_equity=wild,
    day_net_transfers=wild,
    peak_equity=wild,
    peak_net_transfers=wild,
    loss_streak=st.integers(),
    cooldown_until=st.none() | moments,
    halts=st.lists(wild_halts, max_size=2).map(tuple),
)
wild_inputs = st.fixed_dictionaries(
    {
        "proposal": wild_proposals,
        "account": st.builds(gate.Account, equity=wild),
        "positions": st.lists(wild_positions, max_size=3).map(tuple),
        "pending": st.lists(wild_orders, max_size=3).map(tuple),
        "state": wild_states,
        "correlations": st.dictionaries(words, st.none() | wild, max_size=4),
        "instrument": st.builds(
            gate.Instrument, symbol=words, ct_val=wild, lot_size=wild, min_size=wild, tick_size=wild
        ),
        "limits": st.just(LIMITS) | permitted_limits(),
        "now": moments,
    }
)


# --- proposals that might pass --------------------------------------------------------------------------------------


def cents(low: str, high: str, places: int = 2) -> st.SearchStrategy[Decimal]:
    return st.decimals(min_value=low, max_value=high, places=places)


@st.composite
def plausible(draw: st.DrawFn) -> gate.Inputs:
    """Around the limits on both sides, so that a good part is approved."""
    base = draw(st.sampled_from([LONG, SHORT]))
    sign = 1 if base is LONG else -1
    action = draw(st.sampled_from([base.action, "ADD"]))
    limit_order = draw(st.booleans())
    limit_price = Decimal(20000) - sign * draw(cents("0.05", "220"))
    entry = limit_price if limit_order else Decimal(20000)
    risk = draw(cents("1", "620") | cents("590", "650"))
    proposal = replace(
        base,
        action=action,
        size_pct=draw(cents("0.02", "0.055", 6) | cents("0.0001", "0.06", 6)),
        order_type="limit" if limit_order else "market",
        limit_price=limit_price if limit_order else None,
        stop_loss=entry - sign * risk,
        take_profit=entry + sign * risk * draw(cents("1.4", "3")),
        leverage=draw(cents("0.5", "5")),
    )
    others = draw(st.lists(st.sampled_from(SYMBOLS[1:]), unique=True, max_size=3))
    notional = cents("450", "550") | cents("1", "600")
    held = [draw_position(draw, symbol, draw(notional)) for symbol in others[:2]]
    if action == "ADD":
        own = draw_position(draw, BTC.symbol, draw(cents("1", "300")))
        stop = Decimal(20000) - sign * draw(cents("300", "600"))
        held.append(replace(own, direction="LONG" if sign > 0 else "SHORT", stop_loss=stop))
    orders = tuple(
        gate.PendingOrder(
            symbol=symbol, direction="LONG", action="OPEN_LONG", notional_usd=draw(notional), reduce_only=False
        )
        for symbol in others[2:]
    )
    return inputs(
        proposal,
        positions=tuple(held),
        pending=orders,
        equity=(equity := draw(cents("9650", "10500"))),
        state=draw(states_around(equity)),
        correlations={symbol: draw(st.none() | cents("-1", "1")) for symbol in others},
    )


@st.composite
def states_around(draw: st.DrawFn, equity: Decimal) -> gate.RiskState:
    """Mostly calm; now and then with a loss about as large as allowed, a streak, a cooldown or a halt."""
    at_rest, transfers = draw(st.integers(0, 3)) > 0, cents("-500", "500")
    day, peak = draw(transfers), draw(transfers)
    halt = gate.Halt(kind="daily_loss", reason="lost", since=NOW, until=NOW + MINUTE)
    lapsed, manual = replace(halt, until=NOW), replace(halt, kind="manual", until=None)
    return gate.RiskState(
        day_start_equity=equity - day + draw(cents("-100", "200") if at_rest else cents("250", "350")),
        day_net_transfers=day,
        peak_equity=equity - peak + draw(cents("0", "500") if at_rest else cents("900", "1200")),
        peak_net_transfers=peak,
        loss_streak=draw(st.integers(0, 2 if at_rest else 4)),
        cooldown_until=draw(st.sampled_from([None, NOW - MINUTE, NOW, None if at_rest else NOW + MINUTE])),
        halts=draw(st.sampled_from([(), (lapsed,), () if at_rest else (lapsed, manual), () if at_rest else (halt,)])),
    )


def draw_position(draw: st.DrawFn, symbol: str, notional: Decimal) -> gate.Position:
    return gate.Position(
        symbol=symbol,
        direction=draw(st.sampled_from(["LONG", "SHORT"])),
        size=Decimal(1),
        notional_usd=notional,
        stop_loss=None,
        take_profit=None,
    )


@st.composite
def spoilt(draw: st.DrawFn) -> gate.Inputs:
    """A proposal that might pass, with any number at all in one place."""
    case = draw(plausible()).copy()
    part: Any = draw(st.sampled_from(["proposal", "account", "state", "instrument", "positions", "pending"]))
    values: Any = case[part]  # type: ignore[literal-required]
    spoil = values[0] if values and isinstance(values, tuple) else values
    if spoil == ():
        return case
    numbers = [field.name for field in fields(spoil) if isinstance(getattr(spoil, field.name), Decimal)]
    broken = replace(spoil, **{draw(st.sampled_from(numbers)): draw(wild)})
    case[part] = (broken, *values[1:]) if isinstance(values, tuple) else broken  # type: ignore[literal-required]
    return case
