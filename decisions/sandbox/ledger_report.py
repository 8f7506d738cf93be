"""The sandbox venue's ledger read back: its history, and the sums that have to agree with the account's own."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from decisions.messages import FundingPayment, TradeFill, TradeOrder

from .ledger import LedgerError, ReceivedOrder, account_in
from .venue import VenueTerms


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """The ledger read back. Money in USD; `fees` is a cost when positive, `funding` a receipt when positive.

    The three sums are added up from the fills and payments, balance and equity are the account's own; `difference` is
    what separates the two and is zero when the books balance.
    """

    account_id: str
    start_equity: Decimal
    balance: Decimal
    equity: Decimal
    unrealized_pnl: Decimal
    realized_pnl: Decimal
    fees: Decimal
    funding: Decimal
    transfers: Decimal
    bad_entries: int
    orders: tuple[ReceivedOrder, ...]
    fills: tuple[TradeFill, ...]
    payments: tuple[FundingPayment, ...]

    @property
    def difference(self) -> Decimal:
        return self.balance - (self.start_equity + self.realized_pnl - self.fees + self.funding + self.transfers)


def read_ledger(path: Path) -> LedgerReport:
    """Read a ledger without changing it, also while its venue runs. Raises `LedgerError`."""
    if not path.exists():
        raise LedgerError(f"there is no venue ledger at {path}")
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5, isolation_level=None)
        try:
            connection.execute("BEGIN")  # one moment for all that follows
            return _report(connection)
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        raise LedgerError(f"{path} is not a venue ledger: {error}") from error


def _report(connection: sqlite3.Connection) -> LedgerReport:
    account = account_in(connection, VenueTerms())
    fills = tuple(map(TradeFill.model_validate_json, _payloads(connection, "fills")))
    payments = tuple(map(FundingPayment.model_validate_json, _payloads(connection, "funding")))
    return LedgerReport(
        account_id=account.state.account_id,
        start_equity=account.state.books.start_equity,
        balance=account.balance,
        equity=account.equity,
        unrealized_pnl=account.equity - account.balance,
        realized_pnl=sum((fill.pnl_usd for fill in fills if fill.pnl_usd is not None), Decimal(0)),
        fees=sum((fill.fee_usd for fill in fills if fill.fee_usd is not None), Decimal(0)),
        funding=sum((payment.amount_usd for payment in payments), Decimal(0)),
        transfers=account.state.books.transfers,
        bad_entries=connection.execute("SELECT bad_entries FROM account").fetchone()[0],
        orders=tuple(_received(row) for row in connection.execute(_SELECT_ORDERS)),
        fills=fills,
        payments=payments,
    )


_SELECT_ORDERS = "SELECT payload, order_id, market_at, price, equity FROM orders ORDER BY sequence"


def _received(row: tuple[str, str, str | None, str | None, str]) -> ReceivedOrder:
    payload, order_id, market_at, price, equity = row
    return ReceivedOrder(
        order=TradeOrder.model_validate_json(payload),
        order_id=order_id,
        market_at=datetime.fromisoformat(market_at) if market_at else None,
        price=Decimal(price) if price is not None else None,
        equity=Decimal(equity),
    )


def _payloads(connection: sqlite3.Connection, table: str) -> Iterable[str]:
    return (row[0] for row in connection.execute(f"SELECT payload FROM {table} ORDER BY sequence"))  # noqa: S608 - our own names
