"""The official calendars over HTTP: one request each, at fixed addresses, bounded in time and size.

What goes wrong, here or there, is a `FeedError` that a person can act on. Nothing is retried and no redirect followed.
"""

import os
import re
from collections.abc import Mapping
from datetime import date
from functools import lru_cache

import httpx
from django.conf import settings

from decisions.calendar_feeds import FeedError
from decisions.clients import bounded

FED_URL = "https://www.federalreserve.gov/json/calendar.json"
BEA_URL = "https://apps.bea.gov/API/signup/release_dates.json"
BLS_URL = "https://www.bls.gov/schedule/news_release/bls.ics"
FRED_URL = "https://api.stlouisfed.org/fred/release/dates"

SECONDS = 20.0
MOST_BYTES = 2_000_000
USER_AGENT = "orchestrator-news-calendar/1 (reads the release calendar once a day)"

_REFUSED_BY_BLS = (
    "HTTP 403: the Bureau of Labor Statistics refuses programs from many addresses, and this one is among them. "
    "FRED_API_KEY (free of charge) gives the same dates"
)


def fed() -> bytes:
    return _get(FED_URL)


def bea() -> bytes:
    return _get(BEA_URL)


def bls() -> bytes:
    return _get(BLS_URL, refused=_REFUSED_BY_BLS)


def fred(release_id: int, since: date) -> bytes:
    """The dates of a release from `since` on, those ahead included."""
    query = {
        "release_id": str(release_id),
        "realtime_start": since.isoformat(),
        "include_release_dates_with_no_data": "true",
        "sort_order": "asc",
        "file_type": "json",
        "api_key": settings.FRED_API_KEY,
    }
    try:
        return _get(FRED_URL, query)
    except FeedError as error:  # FRED takes its key in the address, so whatever quotes the address would tell it
        raise FeedError(str(error).replace(settings.FRED_API_KEY, "[hidden]")) from None


def _get(url: str, query: Mapping[str, str] | None = None, *, refused: str = "") -> bytes:
    """The body of a plain answer. `refused` explains a 403 where the reason is known."""
    with bounded.limits(seconds=SECONDS, most_bytes=MOST_BYTES) as bounds:
        try:
            response = _client(os.getpid()).get(url, params=query)
        except httpx.HTTPError as error:
            raise FeedError(bounds.broken or f"no answer: {str(error) or type(error).__name__}") from error
    if response.status_code == httpx.codes.FORBIDDEN and refused:
        raise FeedError(refused)
    if response.is_redirect:
        raise FeedError(f"HTTP {response.status_code}: it has moved, to {response.headers.get('location', '')[:200]!r}")
    if response.status_code != httpx.codes.OK:
        raise FeedError(f"HTTP {response.status_code}: {_plain(response.text)}")
    return response.content


@lru_cache(maxsize=1)
def _client(_process: int) -> httpx.Client:
    """The client of this process: a child that forked after it was built gets one of its own."""
    return bounded.bind(httpx.Client(headers={"user-agent": USER_AGENT}, timeout=SECONDS, follow_redirects=False))


def _plain(text: str) -> str:
    """The beginning of what a server says, without mark-up."""
    return " ".join(re.sub(r"<[^>]*>", " ", text[:2000]).split())[:200] or "and nothing else"
