"""A person reads what was learnt, with a browser: from a trade to its review and the reflection it went into."""

from typing import Any, Literal

import pytest

from journal.presentation import page_of
from reflection.models import PlaybookSuggestion
from tests.e2e.test_admin_pages import CHROMIUM, browsing, reader
from tests.integration.decisions.conftest import models, ready
from tests.integration.decisions.model_server import ScriptedModels
from tests.integration.reflection.scene import closed, deep_ones, logs, look_after, world
from tests.integration.reflection.test_deep import lesson, proposed
from tests.integration.reflection.test_reviews import review

__all__ = ["models", "reader", "ready"]

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no `chromium` on the PATH: there is no browser to look with"),
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("reader", "ready"),
    pytest.mark.timeout(240),
]


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (400, "dark")])
def test_a_person_follows_a_trade_to_what_was_learnt_from_it(
    width: int, scheme: Literal["light", "dark"], live_server: Any, models: ScriptedModels, settings: Any
) -> None:
    from playwright.sync_api import expect

    settings.REFLECTION_INTERVAL_TRADES = 2
    world()
    trades = [closed(minutes=-1), closed("-3", minutes=0)]
    suggested = {"should_update_playbook": True, "playbook_suggestion": "Trail the stop at 1.5 R."}
    models.will_say("review", review(what_went_wrong=["Half of the profit was given back."], **suggested))
    models.will_say("reflect", proposed(lessons_learned=[lesson()]))
    look_after()
    (review_log, _), (deep_log,), (deep,) = logs(), logs("periodic"), deep_ones()
    suggestion = PlaybookSuggestion.objects.get()
    with browsing(live_server.url, width, scheme) as page:

        def at(row: Any) -> None:
            page.goto(f"{live_server.url}{page_of(row)}")
            assert page.evaluate("document.documentElement.scrollWidth") <= width

        headline = page.locator(".record h2").first
        at(review_log)
        expect(headline).to_have_text("Review of a trade")
        expect(page.locator("td:has-text('Half of the profit')")).to_be_visible()
        page.click(f"a[href^='{page_of(trades[0])}']")
        expect(page.locator(f"a[href='{page_of(deep_log)}']").first).to_be_attached()
        at(deep)
        expect(headline).to_have_text("Deep reflection, made due by the number of trades: done")
        page.click(f"a[href='{page_of(deep_log)}']")
        expect(headline).to_have_text("Deep reflection: version 2 was written")
        expect(page.locator("td:has-text('lessons_learned: added L1')")).to_be_visible()
        page.goto(f"{live_server.url}/admin/reflection/playbooksuggestion/")
        expect(page.locator("body")).to_contain_text("Trail the stop at 1.5 R.")
        at(suggestion)
        expect(page.locator(f"a[href='{page_of(deep)}']").first).to_be_visible()
