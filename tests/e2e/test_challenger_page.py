"""A person with a browser sees both records side by side, and approves the challenger."""

from typing import Any, Literal

import pytest

from journal import playbook_versions
from journal.models import PlaybookVersion
from journal.presentation import page_of
from reflection import looks
from tests.e2e.test_admin_pages import PASSWORD, browsing, pytestmark
from tests.integration.decisions.build import NOON
from tests.integration.journal.playbooks import by_reflection, seeded
from tests.integration.reflection.shadow_records import LOSES, WINS, contest_of

__all__ = ["pytestmark", "seeded"]


@pytest.fixture
def reader(django_user_model: Any) -> None:
    django_user_model.objects.create_superuser("reader", password=PASSWORD)


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (400, "dark")])
def test_a_person_approves_a_challenger_with_both_records_in_sight(
    width: int, scheme: Literal["light", "dark"], live_server: Any, reader: None, seeded: None, settings: Any
):
    from playwright.sync_api import expect

    settings.PLAYBOOK_PROMOTION = "manual"
    by_reflection("patience")
    looks.look(contest_of(WINS, LOSES).pk, NOON)
    address = page_of(PlaybookVersion.objects.get(version=2))
    with browsing(live_server.url, width, scheme) as page:
        page.goto(f"{live_server.url}{address}")
        records = page.locator("section:has-text('Shadow records')").first
        expect(records).to_contain_text("Challenger 2")
        expect(records).to_contain_text("-120.00")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.click(".record-actions >> text='Approve and let it trade'")
        expect(page.locator("body")).to_contain_text("Challenger 2")
        page.get_by_label("Reason").fill("better on every day, and it knows better")
        page.click("text='Go on: see what it will do'")
        expect(page.locator("body")).to_contain_text("Shadow records")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.click("text='Yes, approve and let it trade'")
        expect(page.locator("body")).to_contain_text("Version 2 trades from the next cycle on")
    assert playbook_versions.active().version == 2
