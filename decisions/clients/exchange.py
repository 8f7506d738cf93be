"""The attempts at one question to a model, whoever is asked: how long, how often, and what is told of the last one.

The libraries' own retries are off: they obey a server that asks for an hour, and their time-outs hold for each phase
anew.
"""

import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from decisions.clients import attempts, bounded, cassette
from decisions.clients.reply import LONGEST_ERROR, LONGEST_RAW, Reply, storable


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


Send = Callable[[float], Response]
"""One attempt, which may take so many seconds."""


class Exchange:
    """The attempts at one question, within its bounds and under its name. A recording is not waited for.

    `tell` says what there is to add to the error of an attempt that no other follows.
    """

    def __init__(
        self,
        bounds: bounded.Bounds,
        name: str,
        tell: "Callable[[Exchange, Response], Iterable[str]]",
        *,
        is_replay: bool = False,
    ) -> None:
        self.attempts = 0
        self.bounds = bounds
        self.error_before = ""
        """What the attempt before the newest one failed for."""
        self._name = name
        self._tell = tell
        self._is_replay = is_replay
        self._told: Response | None = None

    def run(self, send: Send) -> Response:
        """Send until there is an answer, a lasting failure, or no time; failures that pass are waited for."""
        while True:
            response = self._attempt(send)
            if response.is_missing:
                self.attempts -= 1
                # In a later attempt: the recorded run had no time left for it, and ended with the one before.
                return self._told or response
            self._told = self._as_last(response)
            pause = self._pause(response)
            if pause is None:
                self.error_before = self._told.error
                return self._told
            self.error_before = response.error
            if not self._is_replay:
                time.sleep(pause)

    def noted_on(self, reply: Reply, response: Response) -> Reply:
        """The reply with what came of the exchange."""
        return replace(
            reply,
            status=response.status,
            raw=storable(response.body, LONGEST_RAW),
            error=response.error,
            error_type=response.error_type,
            retry_after=storable(response.headers.get("retry-after", "")),
            attempts=self.attempts,
            latency_ms=round(self.bounds.spent() * 1000),
        )

    def _attempt(self, send: Send) -> Response:
        self.attempts += 1
        number = f" attempt {self.attempts}" if self.attempts > 1 else ""
        token = cassette.occasion.set(self._name + number)
        try:
            return send(self.bounds.remaining())
        finally:
            cassette.occasion.reset(token)

    def _pause(self, response: Response) -> float | None:
        """Seconds until the next attempt, or None for no other."""
        if response.is_final or not response.error:
            return None
        return attempts.pause_before_next(
            self.attempts,
            response.status,
            response.headers,
            remaining=self.bounds.remaining(),
            chance=random.random(),  # noqa: S311 - spreads pauses, guards nothing
            now=datetime.now(UTC),
        )

    def _as_last(self, response: Response) -> Response:
        """The response as it is told when no attempt follows it."""
        if not response.error:
            return response
        told = "; ".join([response.error, *self._tell(self, response)])
        return replace(response, error=storable(told, 2 * LONGEST_ERROR))


def missing(miss: cassette.Miss) -> Response:
    """The response in place of one that the recording does not have."""
    return Response(error=storable(str(miss), LONGEST_ERROR), is_final=True, is_missing=True)
