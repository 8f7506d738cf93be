"""People's notes and tags: kept with their name, never rewritten, found again; refused where something is wrong."""

import pytest
from django.contrib.auth.models import Permission
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from journal.models import Trade, TradeNote, TradeTag
from journal.notes import MOST_TAGS, BadTags, annotate, read_tags, standing_tags
from journal.presentation import page_of
from tests.integration.admin_rows import logged_in, row

pytestmark = pytest.mark.django_db

LIST = "admin:journal_trade_changelist"


@pytest.fixture
def trade() -> Trade:
    return row(Trade)


@pytest.fixture
def reviewer() -> Client:
    return staff("view_trade", "annotate_trade")


def staff(*permissions: str) -> Client:
    client, user = logged_in("ada")
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return client


def address(trade: Trade) -> str:
    return reverse("admin:journal_trade_note", args=(trade.pk,))


def test_a_note_and_tags_are_kept_with_the_name_and_shown_on_the_trades_page(trade: Trade, reviewer: Client):
    answer = reviewer.post(
        address(trade), {"text": "Chased the <b>news</b>.\r\nAgain.", "tags": "News, chased", "seen": ""}
    )
    assert answer.status_code == 302
    assert answer.headers["Location"] == f"{page_of(trade)}#tab-notes"
    note = TradeNote.objects.get()
    assert (note.author, note.text) == ("ada", "Chased the <b>news</b>.\nAgain.")
    assert standing_tags(trade) == ["chased", "news"]
    page = reviewer.get(page_of(trade)).content.decode()
    assert "Chased the &lt;b&gt;news&lt;/b&gt;.\nAgain." in page
    assert "<dd>chased news</dd>" in page.replace('<span class="one-line">', "").replace("</span>", "")
    assert 'data-title="Notes 1"' in page


def test_a_tag_that_is_left_out_is_taken_off_with_the_name_and_what_others_added_meanwhile_stays(
    trade: Trade, reviewer: Client
):
    annotate(trade, by="bob", add=["news", "late"])
    annotate(trade, by="bob", add=["meanwhile"])
    assert reviewer.post(address(trade), {"text": "", "tags": "late", "seen": "late news"}).status_code == 302
    assert standing_tags(trade) == ["late", "meanwhile"]
    taken = TradeTag.objects.get(tag="news")
    assert (taken.added_by, taken.removed_by) == ("bob", "ada")
    assert taken.removed_at is not None
    annotate(trade, by="bob", add=["news"])
    assert TradeTag.objects.filter(tag="news").count() == 2


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"text": "", "tags": ""}, "nothing to keep"),
        ({"text": "  \n ", "tags": ""}, "nothing to keep"),
        ({"text": "x" * 5001, "tags": ""}, "at most 5000 characters"),
        ({"text": "kept text", "tags": "no_underscores"}, "is no tag"),
        ({"text": "kept text", "tags": "<script>"}, "is no tag"),
        ({"text": "kept text", "tags": "x" * 31}, "is no tag"),
        ({"text": "kept text", "tags": " ".join(f"t{number}" for number in range(MOST_TAGS + 1))}, "at most 20"),
        ({"text": "kept text", "tags": "one", "seen": ""}, "more than 20 tags"),
    ],
    ids=["empty", "blank", "long", "underscore", "markup", "long tag", "too many at once", "too many in all"],
)
def test_what_is_wrong_is_told_beside_the_form_and_nothing_is_kept(
    trade: Trade, reviewer: Client, given: dict[str, str], told: str
):
    if "more than" in told:
        annotate(trade, by="bob", add=[f"t{number}" for number in range(MOST_TAGS)])
    before = TradeTag.objects.count()
    answer = reviewer.post(address(trade), {"seen": "", **given})
    assert answer.status_code == 200
    page = answer.content.decode()
    assert told in page
    assert "<script>" not in page.split('id="content-main"')[1].split("</form>")[0]
    assert given["text"].strip()[:20] in page
    assert not TradeNote.objects.exists()
    assert TradeTag.objects.count() == before


def test_who_may_only_read_sees_no_form_and_is_refused(trade: Trade):
    viewer = staff("view_trade")
    assert address(trade) not in viewer.get(page_of(trade)).content.decode()
    assert viewer.post(address(trade), {"text": "I was here", "tags": "", "seen": ""}).status_code == 403
    assert not TradeNote.objects.exists()


def test_reading_the_address_keeps_nothing_and_a_stranger_is_led_to_the_login(trade: Trade, reviewer: Client):
    assert reviewer.get(address(trade), {"text": "x"}).status_code == 405
    assert "/login/" in Client().post(address(trade), {"text": "x"}).headers["Location"]
    assert Client(enforce_csrf_checks=True).post(address(trade), {"text": "x"}).status_code in (302, 403)
    assert not TradeNote.objects.exists()


def test_without_the_forms_token_a_post_is_refused(trade: Trade):
    client = Client(enforce_csrf_checks=True)
    _, user = logged_in("eve", is_superuser=True)
    client.force_login(user)
    assert client.post(address(trade), {"text": "forged", "tags": "", "seen": ""}).status_code == 403
    assert not TradeNote.objects.exists()


def test_a_note_stays_as_it_was_written_and_a_tag_once_taken_off_too(trade: Trade):
    annotate(trade, by="ada", text="first", add=["news"])
    annotate(trade, by="ada", remove=["news"])
    changes = (
        lambda: TradeNote.objects.update(text="second"),
        lambda: TradeNote.objects.all().delete(),
        lambda: TradeTag.objects.update(removed_by="", removed_at=None),
        lambda: TradeTag.objects.all().delete(),
    )
    for change in changes:
        with pytest.raises(IntegrityError, match="stays as it is"), transaction.atomic():
            change()


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (TradeNote, {"text": " \n"}),
        (TradeNote, {"author": ""}),
        (TradeTag, {"tag": "Upper"}),
        (TradeTag, {"tag": "-dash"}),
        (TradeTag, {"tag": ""}),
        (TradeTag, {"removed_at": None, "removed_by": "ada"}),
        (TradeTag, {"removed_by": ""}),
    ],
)
def test_the_database_itself_refuses_what_makes_no_sense(trade: Trade, model: type, values: dict[str, object]):
    with pytest.raises(IntegrityError), transaction.atomic():
        row(model, trade=trade, **values)


def test_a_tag_stands_once_a_trade(trade: Trade):
    annotate(trade, by="ada", add=["news"])
    assert annotate(trade, by="bob", add=["news"]) == ""
    with pytest.raises(IntegrityError), transaction.atomic():
        TradeTag.objects.create(trade=trade, tag="news", added_by="bob")


def test_trades_are_found_by_tag_and_by_the_words_of_a_note(reviewer: Client):
    first, second, third = (row(Trade, number, symbol=f"T{number}-USDT-SWAP") for number in range(3))
    annotate(first, by="ada", text="The spread was absurd", add=["news"])
    annotate(first, by="ada", text="absurd indeed")
    annotate(second, by="ada", add=["news", "late"])
    annotate(second, by="ada", remove=["news"])

    def found(**asked: str) -> list[int]:
        return [trade.pk for trade in reviewer.get(reverse(LIST), asked).context["cl"].result_list]

    assert found(tag="news") == [first.pk]
    assert found(q="absurd") == [first.pk]
    assert found(tag="late", q="absurd") == []
    assert found(tag="never") == []
    assert set(found()) == {first.pk, second.pk, third.pk}


def test_words_are_read_in_lower_case_whatever_separates_them():
    assert read_tags(" News,late\tnews  2022-crash ") == {"news", "late", "2022-crash"}
    assert read_tags("") == frozenset()
    with pytest.raises(BadTags, match="is no tag"):
        read_tags("ข่าว")
