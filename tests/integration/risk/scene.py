"""What the tests of the risk state do: report the account, close trades, look at what stands."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.db import transaction

from journal.models import Trade
from risk import services
from risk.models import RiskState
from risk.services import RiskNotice

DAY = datetime(2022, 11, 20, tzinfo=UTC)
MIDNIGHT = DAY + timedelta(days=1)


@transaction.atomic
def report(at: datetime, equity: str, transfers: str = "0", *, clock_set_back: bool = False) -> list[RiskNotice]:
    """The trade server reports the account."""
    return services.on_account_update(
        services.lock_state(),
        equity=Decimal(equity),
        net_transfers=Decimal(transfers),
        as_of=at,
        clock_set_back=clock_set_back,
    )


def state() -> RiskState:
    return RiskState.objects.get()


def standing() -> list[str]:
    return [halt.kind for halt in services.standing_halts()]


def categories(notices: list[RiskNotice]) -> list[tuple[str, str]]:
    return [(notice.severity, notice.category) for notice in notices]


def in_drawdown() -> None:
    """10 % below the peak after days of losses, each within its day's limit; only the drawdown halt stands."""
    for day, equity in enumerate(["10000", "9800", "9600", "9400", "9200", "9000"]):
        report(DAY + timedelta(days=day), equity)
    assert standing() == ["drawdown"]


@transaction.atomic
def close_trade(net: str | None, minute: float = 0, *, opened_minute: float = -60) -> list[RiskNotice]:
    """A trade comes to be known as closed, so many minutes after midnight, with this net result."""
    number = Trade.objects.count()
    Trade.objects.create(
        symbol=f"COIN{number}-USDT-SWAP", direction="LONG", status="closed", ct_val=1, size=1, open_size=0,
        opened_at=DAY + timedelta(minutes=opened_minute), closed_at=DAY + timedelta(minutes=minute),
        entry_price=100, entry_value=100, stop_loss=99, pnl_usd=None if net is None else Decimal(net),
    )  # fmt: skip
    return services.on_trade_closed(services.lock_state())
