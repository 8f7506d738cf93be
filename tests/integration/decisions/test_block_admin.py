"""A person lifts the block of an instrument from its page: asked, foretold, done, kept."""

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from decisions import context
from decisions.models import Discrepancy, InstrumentBlock, OrderTransition
from journal.models import Trade
from journal.presentation import page_of
from tests.integration.admin_rows import logged_in, row
from tests.integration.decisions.build import BTC, alerts, book, fill_payload, sent_order

pytestmark = pytest.mark.django_db


def person(*permissions: str) -> Client:
    client, user = logged_in("ada")
    user.user_permissions.set(Permission.objects.filter(codename__in=("view_instrumentblock", *permissions)))
    return client


@pytest.fixture
def block() -> InstrumentBlock:
    return InstrumentBlock.objects.create(symbol=BTC, reason="a position that is not ours")


def lift(client: Client, block: InstrumentBlock, **values: str) -> str:
    address = reverse("admin:decisions_instrumentblock_lift", args=(block.pk,))
    return client.post(address, values, follow=True).content.decode()


def test_it_is_asked_first_and_done_when_it_is_confirmed(block: InstrumentBlock) -> None:
    ada = person("lift_block")
    assert "This is what will be done" in lift(ada, block, reason="the position is mine")
    assert context.instrument_trouble(BTC) == "a position that is not ours"
    lift(ada, block, reason="the position is mine", confirmed="yes")
    block.refresh_from_db()
    assert (block.ended_by, block.ended_at is not None) == ("ada", True)
    assert context.instrument_trouble(BTC) is None
    assert alerts("block_lifted") == ["the position is mine"]


def test_a_block_that_was_lifted_already_is_not_lifted_again(block: InstrumentBlock) -> None:
    ada = person("lift_block")
    for _ in range(2):
        page = lift(ada, block, reason="the position is mine", confirmed="yes")
    assert "This block has been lifted already." in page
    assert len(alerts("block_lifted")) == 1


def test_whoever_may_only_look_lifts_nothing(block: InstrumentBlock) -> None:
    looker = person()
    assert looker.get(page_of(block)).status_code == 200
    address = reverse("admin:decisions_instrumentblock_lift", args=(block.pk,))
    assert looker.post(address, {"reason": "why not", "confirmed": "yes"}).status_code == 403
    assert context.instrument_trouble(BTC) is not None


def test_the_page_shows_the_trade_and_what_was_found(block: InstrumentBlock) -> None:
    book(sent_order())
    row(Discrepancy, symbol=BTC, kind="size", theirs="LONG 3")
    page = person().get(page_of(block)).content.decode()
    assert page_of(Trade.objects.get()) in page
    assert "LONG 3" in page


def test_the_page_of_an_order_tells_its_life() -> None:
    order = sent_order()
    book(order, **fill_payload(order, fill_id="the-fill"))
    page = logged_in("reader", is_superuser=True)[0].get(page_of(order)).content.decode()
    assert "Its life" in page
    assert OrderTransition.objects.get().cause in page
