"""A person with a browser edits the playbook: a rule, the changes, the reason; a conflict, a roll-back, an approval."""

from typing import Any, Literal

import pytest

from journal.models import PlaybookVersion, Promotion
from journal.playbook_versions import active
from journal.presentation import page_of
from journal.services import active_playbook
from tests.e2e.test_admin_pages import PASSWORD, browsing, pytestmark
from tests.integration.journal.playbooks import by_hand, by_reflection, lessons, seeded

__all__ = ("pytestmark", "seeded")

LIST = "/admin/journal/playbookversion/"
looks = pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (400, "dark")])
Scheme = Literal["light", "dark"]


@pytest.fixture
def reader(django_user_model: Any) -> None:
    django_user_model.objects.create_superuser("reader", password=PASSWORD)


def fits(page: Any) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def press(page: Any, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def follow(page: Any, name: str) -> None:
    page.get_by_role("link", name=name, exact=True).click()


@looks
def test_a_rule_is_edited_its_change_seen_and_saved(
    width: int, scheme: Scheme, live_server: Any, seeded: None, reader: None
):
    from playwright.sync_api import expect

    with browsing(live_server.url, width, scheme) as page:
        page.goto(f"{live_server.url}{LIST}")
        follow(page, "Edit the playbook that trades")
        assert fits(page)
        largest = page.locator("[name=market_regime_rules-0-max_position_pct]")
        largest.fill("-0.02")
        press(page, "Review the changes")
        expect(page.locator(".playbook-wrong")).to_contain_text("Input should be greater than")
        expect(page.locator(".record-notice h2")).to_contain_text("nothing was saved")
        assert fits(page)
        largest.fill("0.02")
        press(page, "Review the changes")
        expect(page.locator(".record-table")).to_contain_text("trending_up.max_position_pct")
        expect(page.locator(".record-table")).to_contain_text("0.05 -> 0.02")
        assert fits(page)
        press(page, "Save as a new version")
        assert page.locator("textarea:invalid").count() == 1  # the browser asks for a reason first
        page.get_by_label("Reason").fill("half as much while it trends")
        press(page, "Save as a new version")
        expect(page.locator(".record-notice h2").first).to_contain_text("Playbook version 2 is the one that trades")
        expect(page.locator(".record-notice").first).to_contain_text("half as much while it trends")
        assert fits(page)
    written = active()
    assert (written.version, written.created_by, written.reason) == (2, "reader", "half as much while it trends")


@looks
def test_rows_are_added_moved_removed_and_put_back(
    width: int, scheme: Scheme, live_server: Any, seeded: None, reader: None
):
    from playwright.sync_api import expect

    by_hand("L1")
    by_hand("L2")
    with browsing(live_server.url, width, scheme) as page:
        page.goto(f"{live_server.url}{LIST}edit/")
        section = page.locator("#lessons_learned")
        press(page, "Add to lessons learned")
        new = section.locator("[data-row]").last
        expect(new.get_by_label("ID", exact=True)).to_be_focused()
        for name, text in {
            "ID": "L3",
            "Date": "2026-02-07",
            "Lesson": "Rest.",
            "Evidence": "2",
            "Impact": "calm",
        }.items():
            new.get_by_label(name, exact=True).fill(text)
        new.locator("[data-move=up]").click()
        new = section.locator("[data-row]").nth(1)
        new.locator("[data-move=up]").click()
        for name in ("L1: Wait for the close.", "L2: Wait for the close."):
            press(page, f"Remove: {name}")
        expect(section.locator(".playbook-removed")).to_have_count(2)
        press(page, "Remove: L2: Wait for the close.")  # which puts it back
        expect(section.locator(".playbook-removed")).to_have_count(1)
        page.locator("#time_filters").get_by_text("03", exact=True).first.click()
        assert fits(page)
        press(page, "Go on as JSON")
        expect(page.get_by_label("The playbook as JSON")).to_contain_text('"id": "L3"')
        assert fits(page)
        press(page, "Go on as a form")
        press(page, "Review the changes")
        page.get_by_label("Reason").fill("what the week taught")
        press(page, "Save as a new version")
        expect(page.locator(".record-notice h2").first).to_contain_text("Playbook version 4 is the one that trades")
    assert lessons(active()) == ["L3", "L2"]
    assert active_playbook().time_filters.avoid_hours_utc == (3,)


@looks
def test_what_somebody_wrote_meanwhile_is_a_conflict_and_the_text_stays(
    width: int, scheme: Scheme, live_server: Any, seeded: None, reader: None
):
    from playwright.sync_api import expect

    with browsing(live_server.url, width, scheme) as page:
        with page.expect_popup() as opened:
            page.evaluate("window.open('about:blank')")
        other = opened.value
        for each, text in ((page, "On a Monday."), (other, "On a Friday.")):
            each.goto(f"{live_server.url}{LIST}edit/")
            each.locator("[name=strategy_definitions-0-entry]").fill(text)
            press(each, "Review the changes")
            each.get_by_label("Reason").fill(f"for {text}")
        press(other, "Save as a new version")
        expect(other.locator(".record-notice h2").first).to_contain_text("version 2 is the one that trades")
        press(page, "Save as a new version")
        told = page.locator(".record-notice")
        expect(told).to_contain_text("Somebody else was faster: nothing was saved, your text is kept")
        expect(told).to_contain_text("Version 2 was written meanwhile by reader")
        expect(told).to_contain_text("On a Friday.")
        expect(page.get_by_label("Reason")).to_have_value("for On a Monday.")
        assert fits(page)
        press(page, "Compare my text with the newest version")
        expect(page.locator(".record-table")).to_contain_text("'On a Friday.' -> 'On a Monday.'")
        press(page, "Save as a new version")
        expect(page.locator(".record-notice h2").first).to_contain_text("version 3 is the one that trades")
    assert [each.playbook_json["strategy_definitions"][0]["entry"] for each in PlaybookVersion.objects.order_by("id")][
        1:
    ] == ["On a Friday.", "On a Monday."]


@looks
def test_a_person_approves_a_challenger_and_rolls_back(
    width: int, scheme: Scheme, live_server: Any, seeded: None, reader: None
):
    from playwright.sync_api import expect

    challenger = page_of(by_reflection("L1"))
    first = page_of(PlaybookVersion.objects.get(version=1))
    with browsing(live_server.url, width, scheme) as page:
        standing = page.locator(".record-notice h2").first
        for address, deed, told in (
            (challenger, "Approve and let it trade", "version 2 is the one that trades"),
            (first, "Roll back to it", "version 1 has traded and does not any more"),
        ):
            page.goto(f"{live_server.url}{address}")
            follow(page, deed)
            expect(page.locator(".record-table").first).to_contain_text("lessons_learned")
            page.get_by_label("Reason").fill("their records are side by side")
            press(page, "Go on: see what it will do")
            expect(page.locator(".record-notice").first).to_contain_text("trades from the next cycle on, instead of")
            assert fits(page)
            press(page, f"Yes, {deed.lower()}")
            expect(standing).to_contain_text(told)
        follow(page, "Compare")
        expect(page.locator(".record-table, .nothing").first).to_contain_text("None")
    assert [(each.playbook.version, each.promoted_by) for each in Promotion.objects.order_by("id")] == [
        (1, "init"),
        (2, "reader"),
        (3, "reader"),
    ]
    assert lessons(active()) == []
