"""The work of a moment reads the rows of that moment, however long the record has become.

It is planned as a prepared statement is, without a look at the parameters: what a plan rests on must stand in the text.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis
from django.db import transaction

from decisions import clock, funding, operator_actions, orders, protection, reconciliation, sweeper
from decisions.housekeeping import tidy
from decisions.messages import FundingPayment
from decisions.models import OrderStatus, Outcome
from decisions.stages.screen import watch_pass_rate
from decisions.tasks import cycle as tick_task
from risk.account_status import account_status
from tests.bench.rows import Record, fill
from tests.integration.decisions.build import BTC, funding_payload, position_payload, sent_order
from tests.integration.decisions.model_server import ScriptedModels, analysed, left
from tests.integration.decisions.rows_read import Statement, rows_read
from tests.integration.decisions.scene import account, bar, drive, later, order_of, tick, venue_says, world

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ready")]

SHORT, LONG = 8_000, 32_000
"""Cycles on record."""
MORE = 30
"""Rows that a few statements may read more, of a table that is read whole while it fits into a page or two."""
OPENED = position_payload(BTC, size="1.5")
NEW, NEWER = "NEW-USDT-SWAP", "NEWER-USDT-SWAP"


def a_cycle_to_its_trade(models: ScriptedModels) -> None:
    """Snapshot, positions, screening, analysis, verdict, order, fill, stop, funding."""
    world()
    order = order_of(drive(tick()))
    venue_says(order, "filled", stop_confirmed=True)
    account(later(1), OPENED)
    funding.book(FundingPayment.model_validate(funding_payload(paid_at=later(2).isoformat())))


def a_cycle_that_closes_it(models: ScriptedModels) -> None:
    models.will_say("analyze", left("CLOSE"))
    world(later(5), OPENED)
    close = order_of(drive(tick(later(5))))
    venue_says(close, "filled", fill_price="20100", pnl_usd="1.5", exit_reason="signal", filled_at=later(6).isoformat())


def a_limit_that_rests_and_is_withdrawn(models: ScriptedModels) -> None:
    models.will_say("analyze", analysed(order_type="limit", limit_price=19990.0))
    world(later(10))
    order = order_of(drive(tick(later(10))))
    venue_says(order, "accepted")
    orders.withdraw_openings("it is withdrawn")
    venue_says(order, "cancelled")


def a_trade_that_loses_its_stop(models: ScriptedModels) -> None:
    world(later(15))
    order = order_of(drive(tick(later(15))))
    venue_says(order, "filled", stop_confirmed=True, filled_at=later(15).isoformat())
    account(later(16), OPENED | {"stop_loss": None})
    protection.protect()


def an_order_without_an_answer(models: ScriptedModels) -> None:
    long_ago = datetime.now(UTC) - timedelta(minutes=5)
    order = sent_order(symbol="LOST-USDT-SWAP", sent_at=long_ago, expires_at=long_ago)
    sweeper.sweep()
    account(later(17), OPENED)
    order.refresh_from_db()
    assert order.status == OrderStatus.EXPIRED


def instruments_that_are_new(models: ScriptedModels) -> None:
    """One without a snapshot, and one that is held but never was before."""
    assert drive(tick(later(20), NEW)).outcome == Outcome.NO_DATA
    bar(later(20), symbol=NEWER)
    account(later(20), position_payload(NEWER))
    models.will_say("analyze", left("CLOSE", symbol=NEWER))
    close = order_of(drive(tick(later(20), NEWER)))
    venue_says(close, "rejected", reject_reason="margin")


def the_regular_rounds(models: ScriptedModels) -> None:
    tick_task([BTC])
    sweeper.sweep()
    protection.protect()
    reconciliation.reconcile(clock.now_for_record())
    watch_pass_rate()


def what_people_do(models: ScriptedModels) -> None:
    now = clock.now_for_record()
    operator_actions.close_all(by="ada", reason="enough", source="admin", now=now)
    sweeper.sweep()
    operator_actions.resume(by="ada", reason="again", source="admin", now=now)
    account_status(now)


def housekeeping(models: ScriptedModels) -> None:
    tidy()


WORK: tuple[Callable[[ScriptedModels], None], ...] = (
    a_cycle_to_its_trade,
    a_cycle_that_closes_it,
    a_limit_that_rests_and_is_withdrawn,
    a_trade_that_loses_its_stop,
    an_order_without_an_answer,
    instruments_that_are_new,
    the_regular_rounds,
    what_people_do,
    housekeeping,
)


@transaction.atomic
def read_at(cycles: int, models: ScriptedModels) -> Mapping[str, list[Statement]]:
    """What each piece of work reads on a record of so many cycles, which is taken away again."""
    wall_time = datetime.now(UTC) - timedelta(minutes=10)
    # It ends the day before: what models have cost is summed over the calls of a day.
    fill(Record(cycles, cycles // 10, market_time=later(-900), wall_time=wall_time, rarities=200))
    tidy()
    read = {}
    for work in WORK:
        with rows_read() as read[work.__name__]:
            work(models)
    transaction.set_rollback(True)
    return read


def test_what_is_read_does_not_grow_with_the_record(
    models: ScriptedModels, redis_client: "redis.Redis", settings: Any
) -> None:
    settings.DAILY_MODEL_BUDGET_USD = Decimal(1000)
    settings.INSTRUMENTS = (*settings.INSTRUMENTS, NEW, NEWER)
    short = read_at(SHORT, models)
    redis_client.flushall()
    long = read_at(LONG, models)
    grown = {
        name: sorted({(each.rows, each.sql[-400:]) for each in long[name] if each.rows > MORE}, reverse=True)
        for name in long
        if _rows(long[name]) > _rows(short[name]) + MORE
    }
    assert grown == {}


def _rows(statements: list[Statement]) -> int:
    return sum(each.rows for each in statements)
