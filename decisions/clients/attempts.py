"""Whether and when a request that failed is tried again. Pure.

The pause doubles from half a second to eight, less a random quarter, as the SDK's own does; a server that names a pause
is obeyed, and one that asks for more than is left of the deadline is not asked again.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MOST_ATTEMPTS = 3
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 8.0
JITTER = 0.25
LEAST_WORTH_SECONDS = 0.5
"""What must be left of the deadline after a pause: a shorter attempt cannot end well."""

_REQUEST_TIMEOUT, _CONFLICT, _TOO_MANY = 408, 409, 429
_SERVER_ERRORS = 500


def is_passing(status: int | None, headers: Mapping[str, str]) -> bool:
    """Whether a failure may be gone by the next attempt: no answer at all (`status` None), or one of those statuses.
    The server's own `x-should-retry` wins."""
    told = headers.get("x-should-retry", "")
    if told in ("true", "false"):
        return told == "true"
    if status is None:
        return True
    return status in (_REQUEST_TIMEOUT, _CONFLICT, _TOO_MANY) or status >= _SERVER_ERRORS


def pause_before_next(
    attempt: int,
    status: int | None,
    headers: Mapping[str, str],
    *,
    remaining: float,
    chance: float,
    now: datetime,
) -> float | None:
    """Seconds to wait after attempt number `attempt` (from 1), or None not to try again.

    `remaining` seconds are left of the deadline; `chance` in [0, 1) spreads the pauses; `now` is wall time, for a
    `retry-after` that is a date.
    """
    if attempt >= MOST_ATTEMPTS or not is_passing(status, headers):
        return None
    asked = asked_pause(headers, now)
    backoff = min(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1), LONGEST_PAUSE_SECONDS) * (1 - JITTER * chance)
    pause = backoff if asked is None else asked
    return pause if pause + LEAST_WORTH_SECONDS < remaining else None


def why_the_last(
    attempt: int, status: int | None, headers: Mapping[str, str], *, remaining: float, now: datetime
) -> tuple[str, ...]:
    """What is to be told of attempt number `attempt` when no other follows it, beside its own failure."""
    told = []
    if is_passing(status, headers):
        asked = asked_pause(headers, now)
        if asked is not None and asked + LEAST_WORTH_SECONDS >= remaining:
            told.append(f"asks to wait {asked:.0f} s, longer than is left of the deadline")
        elif attempt < MOST_ATTEMPTS:
            told.append("no time is left for another attempt")
    if attempt > 1:
        told.append(f"tried {attempt} times")
    return tuple(told)


def asked_pause(headers: Mapping[str, str], now: datetime) -> float | None:
    """The pause in seconds that the server asks for by `retry-after-ms` or `retry-after`, None for none or nonsense."""
    seconds = asked_seconds(headers)
    return seconds if seconds is not None else _until(headers.get("retry-after", ""), now)


def asked_seconds(headers: Mapping[str, str]) -> float | None:
    """The pause that the server asks for as a number, which is the same whatever the clock says; None for a date."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    return _number(headers.get("retry-after", "")) if milliseconds is None else milliseconds / 1000


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _until(date: str, now: datetime) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max((moment - now).total_seconds(), 0.0)
