"""`manage.py seed`: what a fresh database needs before the first cycle."""

import secrets
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import CommandParser
from django.db import transaction

from decisions.calendar import KNOWN_EVENTS
from decisions.clock import wall_now
from decisions.models import CalendarFeed, ScheduledEvent
from journal.services import seed_first_playbook
from orchestrator_project.command_line import CommandWithExamples
from risk import services as risk

KNOWN_DATES = "Dates known to this program"
"""Its row among the calendar feeds says that they have been read, once."""


EXAMPLES = """
examples:
  manage.py seed
  manage.py seed --admin-username ada

exit codes: 0 written, or there already; 2 a mistake in what was typed
"""


class Command(CommandWithExamples):
    examples = EXAMPLES
    help = "Write the first playbook, the known scheduled events and the first administrator, where they are missing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--admin-username", default=settings.ADMIN_USERNAME, help="default: %(default)s")

    @transaction.atomic
    def handle(self, *_: Any, **options: Any) -> None:
        if seed_first_playbook(wall_now()):
            self.stdout.write("playbook version 1 written")
        risk.lock_state()  # makes the account's row: halting from the admin must not wait for the first report
        self._seed_events()
        self._seed_administrator(options["admin_username"])

    def _seed_events(self) -> None:
        """Once in a database's life: what a feed or a person moved since must not come back."""
        now = wall_now()
        _, is_first = CalendarFeed.objects.get_or_create(
            name=KNOWN_DATES, defaults={"tried_at": now, "fetched_at": now}
        )
        if not is_first:
            return
        for event in KNOWN_EVENTS:
            ScheduledEvent.objects.get_or_create(
                name=event.name,
                scheduled_at=event.scheduled_at,
                defaults={
                    "kind": event.kind,
                    "impact": event.impact,
                    "currency": event.currency,
                    "source": event.source,
                    "fetched_at": now,
                },
            )
        self.stdout.write(f"{len(KNOWN_EVENTS)} scheduled events written")

    def _seed_administrator(self, username: str) -> None:
        users = get_user_model().objects
        if users.filter(is_superuser=True).exists():
            return
        password = secrets.token_urlsafe(12)
        users.create_superuser(username=username, password=password)
        self.stdout.write(f"administrator {username}, password {password} (shown this once)")
