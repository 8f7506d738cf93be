"""The voice of the sandbox venue: puts on the streams what its ledger holds for them, by the fault plan."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime

import redis

from decisions.messages import TRADE_FILLS, Message, PositionUpdate, encode
from orchestrator_project.crash_points import reached
from orchestrator_project.streams import publish_many

from .ledger_outbox import Held, Outbox, Unpublished
from .venue import Announcement, Occasion, VenueAccount, announcements


class Announcer:
    """Says everything at least once, under the same ids when it says it again; raises `redis.RedisError`."""

    def __init__(self, client: redis.Redis, outbox: Outbox, wall_now: Callable[[], datetime]) -> None:
        self._client = client
        self._outbox = outbox
        self._wall_now = wall_now
        self._waiting = outbox.unpublished()
        self._held = outbox.held()
        self._newest_update: PositionUpdate | None = None

    @property
    def holds_back(self) -> bool:
        return bool(self._held)

    def what_to_say(
        self,
        account: VenueAccount,
        messages: Sequence[tuple[str, Message]],
        *,
        replies: Collection[str],
        heartbeat: bool,
    ) -> list[Announcement] | None:
        """What is said of the messages where something may go wrong; None where all is well."""
        before = self._newest_update
        for _, message in messages:
            if isinstance(message, PositionUpdate):
                self._newest_update = message
        if account.faults.quiet:
            return None
        occasion = Occasion(
            account_id=account.state.account_id,
            replies=replies,
            number=self._outbox.messages_said(),
            quotes=account.state.quotes,
            before=before,
            heartbeat=heartbeat,
        )
        return list(announcements(account.faults, occasion, messages))

    def take(self, waiting: Sequence[Unpublished], *, held: bool) -> None:
        """The ledger holds these for the streams now, and, if `held`, perhaps more that is held back."""
        self._waiting += waiting
        if held:
            self._held = self._outbox.held()

    def publish(self) -> None:
        """Put on the streams, all at once, what the ledger holds for them; then what was held back and is due."""
        overtaking = any(stream == TRADE_FILLS for _, stream, _ in self._waiting)
        if self._waiting:
            publish_many(self._client, [(stream, envelope) for _, stream, envelope in self._waiting])
            reached("messages_published")
            self._outbox.mark_published(self._waiting[-1][0])
            self._waiting = []
        if self._held:
            self._release(overtaking)

    def _release(self, overtaking: bool) -> None:
        """Say what was held back long enough, or was overtaken: of those the newest first."""
        now = self._wall_now()
        due = [held for held in self._held if held.is_due(now) or (held.overtaken and overtaking)]
        if not due:
            return
        for held in sorted(due, key=_release_order):
            if held.verbatim:
                self._client.xadd(held.stream, encode(held.envelope))  # type: ignore[arg-type]
            else:
                publish_many(self._client, [(held.stream, held.envelope)])
        reached("messages_published")
        self._outbox.release(due)
        self._held = [held for held in self._held if held not in due]


def _release_order(held: Held) -> tuple[bool, int]:
    return held.overtaken, -held.sequence if held.overtaken else held.sequence
