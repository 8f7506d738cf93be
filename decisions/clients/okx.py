"""OKX's public REST interface over HTTP: no key, bounded in time and size, within the limits that OKX sets.

The limits of an endpoint are shared by all instruments and threads of this process. A request that failed for a passing
reason is tried again after a pause; an endpoint that says it was asked too often rests for all of them.
"""

import random
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import httpx

from decisions.clients import bounded
from decisions.clients.attempts import FIRST_PAUSE_SECONDS, asked_pause, pause_before_next
from decisions.okx.pace import Allowance, Endpoint
from decisions.okx.rows import LONGEST_TOLD, NoAnswer, OkxError, data_in

REQUEST_SECONDS = 10.0
"""One request's own time, looking up the name included."""
ALL_SECONDS = 25.0
"""That of all attempts at a question."""
LONGEST_REST_SECONDS = 8.0
"""The longest that an endpoint rests for all instruments, however long it asks for: then the next one asks again."""
MOST_BYTES = 1_000_000
USER_AGENT = "orchestrator-market/1"
TOO_MANY = 429


class Stopped(Exception):
    """The process was told to stop while a request waited for its turn."""


class OkxClient:
    """Asks OKX at `base_url`, from any thread. Setting `stop` ends every wait with `Stopped`."""

    def __init__(self, base_url: str, stop: threading.Event) -> None:
        self._stop = stop
        self._lock = threading.Lock()
        self._allowances = {endpoint: Allowance(endpoint.allowed) for endpoint in Endpoint}
        self._http = bounded.bind(
            httpx.Client(
                base_url=f"{base_url.rstrip('/')}/api/v5/",
                headers={"user-agent": USER_AGENT, "accept": "application/json"},
                timeout=REQUEST_SECONDS,
                follow_redirects=False,
            )
        )

    def close(self) -> None:
        self._http.close()

    def rows(self, endpoint: Endpoint, query: Mapping[str, str]) -> list[Any]:
        """The rows of an answer. Raises `OkxError`, or `Stopped`."""
        attempt, ends_at = 0, time.monotonic() + ALL_SECONDS
        while True:
            attempt += 1
            self._wait_for_turn(endpoint)
            try:
                return self._ask(endpoint, query)
            except OkxError as error:
                pause = self._pause(endpoint, attempt, error, ends_at - time.monotonic())
                if pause is None:
                    raise
                self._wait(pause)

    def _ask(self, endpoint: Endpoint, query: Mapping[str, str]) -> list[Any]:
        with bounded.limits(seconds=REQUEST_SECONDS, most_bytes=MOST_BYTES) as bounds:
            try:
                response = self._http.get(endpoint.path, params=dict(query))
            except httpx.HTTPError as error:
                why = bounds.broken or f"no answer: {str(error)[:LONGEST_TOLD] or type(error).__name__}"
                raise NoAnswer(why) from None
        if response.is_redirect:
            moved = response.headers.get("location", "")[:LONGEST_TOLD]
            raise NoAnswer(f"HTTP {response.status_code}: moved to {moved!r}; set OKX_BASE_URL", response.status_code)
        if response.status_code == httpx.codes.OK:
            return data_in(response.content, query.get("instId", ""))
        said = " ".join(response.text[:LONGEST_TOLD].split()) or "and nothing else"
        raise NoAnswer(f"HTTP {response.status_code}: {said}", response.status_code, response.headers)

    def _pause(self, endpoint: Endpoint, attempt: int, error: OkxError, remaining: float) -> float | None:
        """Seconds until the next attempt, or None for no other."""
        now = datetime.now(UTC)
        pause = pause_before_next(
            attempt,
            error.status,
            error.headers,
            remaining=remaining,
            chance=random.random(),  # noqa: S311 - spreads pauses, guards nothing
            now=now,
        )
        if error.status == TOO_MANY:
            rest = min(asked_pause(error.headers, now) or FIRST_PAUSE_SECONDS * 2**attempt, LONGEST_REST_SECONDS)
            with self._lock:
                self._allowances[endpoint].rest(time.monotonic() + rest)
        return pause

    def _wait_for_turn(self, endpoint: Endpoint) -> None:
        with self._lock:
            seconds = self._allowances[endpoint].claim(time.monotonic())
        self._wait(seconds)

    def _wait(self, seconds: float) -> None:
        if self._stop.wait(seconds) if seconds > 0 else self._stop.is_set():
            raise Stopped
