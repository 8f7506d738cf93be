"""`manage.py second_factor`: give an account its second factor, take it away, write its recovery codes anew."""

import time
from collections.abc import Callable
from io import StringIO
from typing import Any

import segno
from django.contrib.auth.models import User
from django.core.management.base import CommandError, CommandParser

from journal.person import MISTAKE, Person, add_person, person
from orchestrator_project.accounts import second_factor
from orchestrator_project.accounts.record import Event, note
from orchestrator_project.command_line import CommandWithExamples

REFUSED = 1

EXAMPLES = """
examples:
  manage.py second_factor enrol ada --reason "the first administrator"
  manage.py second_factor codes ada --by eve --reason "the printed ones are lost"
  manage.py second_factor remove ada --by eve --reason "her phone is lost, she was on the telephone"

exit codes: 0 done, 1 refused by the facts, 2 a mistake in what was typed
People set up their own in the admin. `remove` is for somebody who has lost phone and recovery codes: live, they are led
to set up a new one at their next sign-in, so make sure who is asking.
"""


class Command(CommandWithExamples):
    help = "Give an account its second factor, take it away, or write its recovery codes anew."
    examples = EXAMPLES

    def add_arguments(self, parser: CommandParser) -> None:
        words = parser.add_subparsers(dest="word", metavar="WORD", required=True)
        for name, (told, _) in WORDS.items():
            added = words.add_parser(name, help=told, description=f"{told[0].upper()}{told[1:]}.")
            added.add_argument("username", metavar="USER", help="the name the account signs in with")
            add_person(added)

    def handle(self, *_: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["username"]).first()
        if user is None:
            raise CommandError(f"There is no account {options['username']!r}.", returncode=MISTAKE)
        WORDS[options["word"]][1](self, user, person(options))

    def enrol(self, user: User, who: Person) -> None:
        """The picture in the terminal, then a code that proves that an app has read it."""
        key = second_factor.new_key()
        url = second_factor.enrolment_url(user.get_username(), key)
        picture = StringIO()
        segno.make(url).terminal(out=picture, compact=True)
        self.stdout.write(picture.getvalue())
        self.stdout.write(f"Read it with an authenticator app, or type this key: {second_factor.typed_key(key)}")
        try:
            code = input("The code that the app shows now: ").replace(" ", "")
        except EOFError:
            raise CommandError("No code was typed: nothing has changed.", returncode=MISTAKE) from None
        if second_factor.confirm(user, key, code, now=time.time()) is None:
            raise CommandError("This is not the code of this key: nothing has changed.", returncode=REFUSED)
        _note(Event.FACTOR_ENROLLED, user, who)
        self.codes(user, who)

    def codes(self, user: User, who: Person) -> None:
        if not second_factor.has_device(user):
            raise CommandError(
                f"{user.get_username()} has no second factor to recover: `enrol` first.", returncode=REFUSED
            )
        self.stdout.write("Recovery codes, shown this once; the ones before are void:")
        for code in second_factor.write_recovery_codes(user):
            self.stdout.write(f"  {code}")
        _note(Event.CODES_WRITTEN, user, who)

    def remove(self, user: User, who: Person) -> None:
        if not second_factor.remove(user):
            raise CommandError(f"{user.get_username()} has no second factor.", returncode=REFUSED)
        _note(Event.FACTOR_REMOVED, user, who)
        self.stdout.write(f"{user.get_username()} has no second factor any more.")


def _note(event: str, user: User, who: Person) -> None:
    note(event, user.get_username(), by=who["by"], detail=who["reason"])


WORDS: dict[str, tuple[str, Callable[[Command, User, Person], None]]] = {
    "enrol": ("set one up, in place of the one before", Command.enrol),
    "codes": ("write the recovery codes anew", Command.codes),
    "remove": ("take it away, with the recovery codes", Command.remove),
}
"""What each is for, and what it does."""
