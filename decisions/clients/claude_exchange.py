"""The attempts at one question to the Messages API: how each is read, and whether another follows.

The SDK's own retries are off: they obey a server that asks for an hour, and their time-outs hold for each phase anew.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from decisions.clients import attempts, bounded, cassette
from decisions.clients.claude_message import error_of
from decisions.clients.reply import LONGEST_ERROR, storable

Send = Callable[[float], Any]
"""Sends a request through the SDK, which may take so many seconds, and gives its raw response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What came of one attempt. `error` is empty for a response that may hold what was asked for."""

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    error: str = ""
    error_type: str = ""
    is_final: bool = False
    """Whether another attempt would end alike, whatever the status says."""
    is_missing: bool = False
    """Whether a recording has no such attempt."""


class Exchange:
    """The attempts at one question, within its bounds and under its name. A recording is not waited for."""

    def __init__(self, bounds: bounded.Bounds, name: str, *, is_replay: bool = False) -> None:
        self.attempts = 0
        self._bounds = bounds
        self._name = name
        self._is_replay = is_replay
        self._before = Response()

    def run(self, send: Send) -> Response:
        """Send until there is an answer, a lasting failure, or no time; failures that pass are waited for."""
        while True:
            response = self._attempt(send)
            if response.is_missing:
                self.attempts -= 1
                # In a later attempt: the recorded run had no time left for it, and ended with the one before.
                return self._last(self._before) if self._before.error else response
            pause = self._pause(response)
            if pause is None:
                self._before = self._last(response)
                return self._before
            self._before = response
            if not self._is_replay:
                time.sleep(pause)

    def _attempt(self, send: Send) -> Response:
        self.attempts += 1
        number = f" attempt {self.attempts}" if self.attempts > 1 else ""
        with _known_as(self._name + number):
            return _attempted(send, self._bounds)

    def _pause(self, response: Response) -> float | None:
        """Seconds until the next attempt, or None for no other."""
        if response.is_final or not response.error:
            return None
        return attempts.pause_before_next(
            self.attempts,
            response.status,
            response.headers,
            remaining=self._bounds.remaining(),
            chance=random.random(),  # noqa: S311 - spreads pauses, guards nothing
            now=datetime.now(UTC),
        )

    def _last(self, response: Response) -> Response:
        """The response that no attempt follows. Its error says why, and what came before if time ran out upon it."""
        if not response.error:
            return response
        told = [response.error]
        if response.is_final:
            told += [f"tried {self.attempts} times"] if self.attempts > 1 else []
            told += [f"before that {self._before.error}"] if self._before.error else []
        else:
            remaining, now = self._bounds.remaining(), datetime.now(UTC)
            told += attempts.why_the_last(
                self.attempts, response.status, response.headers, remaining=remaining, now=now
            )
        return replace(response, error=storable("; ".join(told), 2 * LONGEST_ERROR))


@contextmanager
def _known_as(name: str) -> Iterator[None]:
    token = cassette.occasion.set(name)
    try:
        yield
    finally:
        cassette.occasion.reset(token)


def _attempted(send: Send, bounds: bounded.Bounds) -> Response:
    import anthropic

    try:
        response = send(bounds.remaining())
    except anthropic.APIStatusError as error:
        failed = error.response
        told, name = error_of(failed.status_code, failed.text)
        return Response(
            status=failed.status_code, headers=failed.headers, body=failed.text, error=told, error_type=name
        )
    except anthropic.APITimeoutError:
        return Response(error=f"no answer within {bounds.seconds:g} s", is_final=True)
    except anthropic.APIConnectionError as error:
        return _unanswered(error.__cause__, bounds)
    return Response(status=response.status_code, headers=response.headers, body=response.text())


def _unanswered(cause: BaseException | None, bounds: bounded.Bounds) -> Response:
    """The response in place of one that did not come, or not as a whole."""
    import httpx2

    if bounds.broken:
        return Response(error=bounds.broken, is_final=True)
    if isinstance(cause, cassette.Miss):
        return Response(error=storable(str(cause), LONGEST_ERROR), is_final=True, is_missing=True)
    told = storable(f"{cause}" or type(cause).__name__, LONGEST_ERROR)
    if isinstance(cause, httpx2.DecodingError):
        return Response(error=told, is_final=True)
    return Response(error=f"the connection failed: {told}")
