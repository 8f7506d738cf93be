"""Which pages a search may rest on. Pure.

Pages are never opened: a page is an address, a title and a date that the search told. What is too old for the news, or
dated in the future, supports nothing; a page without a date, or with one that cannot be read, is given the benefit of
the doubt.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from decisions.schemas import Citation

MOST_AGE = timedelta(days=7)
MOST_AHEAD = timedelta(days=2)
"""A day for time zones and one for clocks that are wrong."""
MOST_PAGES = 20
LONGEST_ADDRESS, LONGEST_TITLE, LONGEST_DATE = 2000, 500, 40
"""Characters. Titles and dates are cut to fit; an address that is cut would be another one, so a longer one is none."""


class NoSource(ValueError):
    """A search that no page supports; the text says why."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page as the search told it; `date` is empty where it has none."""

    address: str
    title: str = ""
    date: str = ""


def citations(pages: Iterable[Page], now: datetime) -> tuple[Citation, ...]:
    """The pages to believe at wall time `now`, in the search's order, each address once, at most 20.

    Raises `NoSource` when there is none.
    """
    found = list(_by_address(pages).values())
    if not found:
        raise NoSource("the search named no page")
    kept = [page for page in found if not (_is_stale(page, now) or _is_ahead(page, now))]
    if not kept:
        raise NoSource(_why_none(found, now))
    return tuple(
        Citation(url=page.address, title=page.title[:LONGEST_TITLE], date=page.date[:LONGEST_DATE])
        for page in kept[:MOST_PAGES]
    )


def is_web_address(text: str) -> bool:
    """Whether a text is an address of a page, whole and by itself."""
    if len(text) > LONGEST_ADDRESS or not text.isprintable() or " " in text:
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def moment_of(date: str) -> datetime | None:
    """The moment that an ISO 8601 date or time names; a day is its beginning in UTC. None where it is no such thing."""
    try:
        moment = datetime.fromisoformat(date.strip())
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _by_address(pages: Iterable[Page]) -> dict[str, Page]:
    """The pages with a web address. Of two tellings of one page, the first that has a date counts."""
    known: dict[str, Page] = {}
    for page in pages:
        told = known.get(page.address)
        if is_web_address(page.address) and (told is None or (page.date and not told.date)):
            known[page.address] = page
    return known


def _is_stale(page: Page, now: datetime) -> bool:
    moment = moment_of(page.date)
    return moment is not None and now - moment > MOST_AGE


def _is_ahead(page: Page, now: datetime) -> bool:
    moment = moment_of(page.date)
    return moment is not None and moment - now > MOST_AHEAD


def _why_none(found: Iterable[Page], now: datetime) -> str:
    moments = [moment for page in found if (moment := moment_of(page.date)) is not None]
    stale, ahead = [each for each in moments if each <= now], [each for each in moments if each > now]
    told = []
    if stale:
        told.append(f"older than {MOST_AGE.days} days, the newest of {max(stale).date().isoformat()}")
    if ahead:
        told.append(f"dated in the future, the nearest of {min(ahead).date().isoformat()}")
    return f"every page is {', or '.join(told)}"
