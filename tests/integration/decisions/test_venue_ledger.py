"""The venue's ledger on disk."""

import sqlite3
from pathlib import Path

import pytest

from decisions.messages import TRADE_FILLS
from decisions.sandbox.ledger import Ledger, LedgerError, ReceivedOrder
from decisions.sandbox.ledger_report import read_ledger
from decisions.sandbox.venue import VenueTerms
from tests.unit.decisions.venue_scene import BAR, START, WALL, D, order, quote


def _open(path: Path, start_equity: object = 10000) -> Ledger:
    return Ledger.open(path, start_equity=D(start_equity), terms=VenueTerms(), account_id="test")


def _with_a_trade(path: Path) -> Ledger:
    """A ledger whose account bought 0.1 coin at 20,000, sold it at 21,000 and bought once more."""
    ledger = _open(path)
    account = ledger.account()
    account.on_bar(quote(START, 20000))
    for number, (action, price) in enumerate((("OPEN_LONG", 20000), ("CLOSE", 21000), ("OPEN_LONG", 21000))):
        account.on_bar(quote(START + number * BAR, price))
        sent = order(action, 10, client_order_id=f"order{number}")
        equity = account.equity
        reports = account.on_order(sent, wall_now=WALL)
        ledger.commit(
            state=account.to_state(),
            orders=[ReceivedOrder(sent, account.state.seen[sent.client_order_id], START, D(price), equity)],
            messages=[(TRADE_FILLS, report) for report in reports],
            offsets={"trade:orders": f"{number}-1"},
            bad_entries=1,
            wall_now=WALL,
        )
    return ledger


def test_a_reopened_ledger_has_the_same_account(tmp_path: Path) -> None:
    ledger = _with_a_trade(tmp_path / "ledger.sqlite3")
    account, offsets, waiting = ledger.account(), ledger.offsets(), ledger.outbox.unpublished()
    ledger.close()
    again = _open(tmp_path / "ledger.sqlite3", start_equity=5)
    assert again.start_equity == D(10000)
    assert again.account().to_state() == account.to_state()
    assert set(again.account().state.seen) == {"order0", "order1", "order2"}
    assert again.offsets() == offsets == {"trade:orders": "2-1"}
    assert again.outbox.unpublished() == waiting
    assert len(waiting) == 3


def test_what_is_published_is_not_offered_again(tmp_path: Path) -> None:
    ledger = _with_a_trade(tmp_path / "ledger.sqlite3")
    first, second, third = ledger.outbox.unpublished()
    ledger.outbox.mark_published(second[0])
    assert ledger.outbox.unpublished() == [third]
    ledger.close()
    assert _open(tmp_path / "ledger.sqlite3").outbox.unpublished() == [third]
    assert len({envelope.msg_id for _, _, envelope in (first, second, third)}) == 3


def test_the_ledger_read_back_adds_up(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    account = _with_a_trade(path).account()
    report = read_ledger(path)
    # Slippage of 2 bp: bought at 20,004, sold at 20,995.8, bought at 21,004.2; a tenth of a coin each time.
    assert (report.start_equity, report.realized_pnl) == (D(10000), D("99.18"))
    assert report.fees == D("1.0002") + D("1.0498") + D("1.0502")
    assert report.unrealized_pnl == D("-0.42")
    assert (report.balance, report.equity) == (account.balance, account.equity)
    assert report.difference == 0
    assert (len(report.orders), len(report.fills), report.bad_entries) == (3, 3, 3)
    assert report.orders[1].order.action == "CLOSE"
    assert report.orders[0].equity == D(10000)


@pytest.mark.parametrize("statement", ["DELETE FROM {}", "UPDATE {} SET payload = ''"])
@pytest.mark.parametrize("table", ["orders", "fills"])
def test_history_can_only_be_appended(tmp_path: Path, table: str, statement: str) -> None:
    path = tmp_path / "ledger.sqlite3"
    _with_a_trade(path).close()
    connection = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="can only be appended"):
        connection.execute(statement.format(table))
    connection.close()


def test_a_failed_commit_leaves_nothing_behind(tmp_path: Path) -> None:
    ledger = _with_a_trade(tmp_path / "ledger.sqlite3")
    account, waiting = ledger.account(), ledger.outbox.unpublished()
    fill = account.on_order(order("REDUCE", 1, client_order_id="new"), wall_now=WALL)[0]
    with pytest.raises(sqlite3.IntegrityError):
        ledger.commit(
            state=account.to_state(),
            orders=[],
            messages=[(TRADE_FILLS, fill), (TRADE_FILLS, fill)],
            offsets={"trade:orders": "9-9"},
            bad_entries=0,
            wall_now=WALL,
        )
    assert ledger.outbox.unpublished() == waiting
    assert ledger.offsets() == {"trade:orders": "2-1"}
    assert "new" not in ledger.account().state.seen


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    ledger = _open(tmp_path / "ledger.sqlite3")
    with pytest.raises(LedgerError, match="in use by another venue"):
        _open(tmp_path / "ledger.sqlite3")
    ledger.close()
    _open(tmp_path / "ledger.sqlite3").close()


def test_a_missing_or_foreign_file_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"no venue ledger at .*absent"):
        read_ledger(tmp_path / "absent")
    (tmp_path / "foreign").write_text("not a database, but long enough to be looked at " * 20)
    for use in (read_ledger, _open):
        with pytest.raises(LedgerError, match="foreign"):
            use(tmp_path / "foreign")
