"""One message over HTTP, bounded in time and size; and why it was not taken, in words without a secret."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import httpx
from django.conf import settings

from decisions.clients import bounded
from decisions.clients.attempts import asked_pause
from orchestrator_project.logs import without_secrets

SECONDS = 10.0
"""The whole exchange, looking up the name included."""
MOST_BYTES = 100_000
LONGEST_TOLD = 200
USER_AGENT = "orchestrator-alerts/1"


class NotTaken(Exception):
    """The channel did not take the message; `pause` is what it asks for, in seconds."""

    def __init__(self, why: str, pause: float | None = None) -> None:
        super().__init__(why)
        self.pause = pause


@lru_cache(maxsize=1)
def _client() -> httpx.Client:
    """This process's client. It follows no redirect: the message is for the address that a person has set."""
    return bounded.bind(httpx.Client(timeout=SECONDS, follow_redirects=False, headers={"user-agent": USER_AGENT}))


def post(url: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
    """Post JSON; any 2xx is a yes. Raises `NotTaken`."""
    told = {"content-type": "application/json", **(headers or {})}
    with bounded.limits(seconds=SECONDS, most_bytes=MOST_BYTES) as bounds:
        try:
            response = _client().post(url, content=body, headers=told)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            why = bounds.broken or f"no answer: {str(error) or type(error).__name__}"
            raise NotTaken(_shown(why)) from None
    if not response.is_success:
        said = " ".join(response.text.split())
        pause = asked_pause(response.headers, datetime.now(UTC)) or _pause_in(response.content)
        raise NotTaken(_shown(f"HTTP {response.status_code}: {said}"), pause)


def _pause_in(content: bytes) -> float | None:
    """What Telegram asks for in the body: `parameters.retry_after`, in seconds."""
    try:
        answer: Any = json.loads(content)
        asked = answer["parameters"]["retry_after"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return float(asked) if isinstance(asked, int) and 0 < asked < 10**6 else None


def _shown(why: str) -> str:
    """What may be kept and logged: short, storable, and without what the address or the answer gives away."""
    plain = without_secrets(why, (*settings.SECRETS, settings.TELEGRAM_BOT_TOKEN, *_of_address()))
    return plain.replace("\x00", "").encode(errors="backslashreplace").decode()[:LONGEST_TOLD]


def _of_address() -> Iterator[str]:
    """The webhook's address and what in it alone may open the door: its path with each part, its query."""
    url = settings.ALERT_WEBHOOK_URL
    parts = urlsplit(url)
    yield from (url, parts.path, *parts.path.split("/"), parts.query)
