"""`manage.py reflect`: where reflection stands; with --now a deep reflection before it is due."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from decisions.clock import now_for_record
from journal.person import name_of
from orchestrator_project.command_line import CommandWithExamples
from reflection import closings, due, question
from reflection.models import Reflection
from reflection.status import Row, status
from reflection.tasks import wake

REFUSED = 1
NAMES = {"trades": "the number of trades", "hours": "the time", "person": "a person"}

EXAMPLES = """
examples:
  manage.py reflect
  manage.py reflect --json
  manage.py reflect --now --by ada

exit codes: 0 done, 1 refused by the facts, 2 a mistake in what was typed
Whoever works on the queue `reflect` carries it out. Versions of the playbook: `manage.py playbook history`.
"""


class Command(CommandWithExamples):
    help = "Show what was reviewed and reflected on and what is due; --now asks for a deep reflection at once."
    examples = EXAMPLES

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--now", action="store_true", help="begin a deep reflection, due or not")
        parser.add_argument(
            "--by", metavar="NAME", help="with --now: who asks; by default the name you are logged in with"
        )
        parser.add_argument("--json", action="store_true", help="as JSON")

    def handle(self, *_: Any, **options: Any) -> None:
        now = now_for_record()
        if options["by"] is not None and not options["now"]:
            raise CommandError("--by goes with --now: nobody asks for anything otherwise", returncode=2)
        if options["now"]:
            _begin(now, name_of(options["by"]))
        result = status(now)
        self.stdout.write(json.dumps(result, indent=2) if options["json"] else "\n".join(as_text(result)))


def _begin(now: datetime, by: str) -> None:
    closings.note_missed(now)
    if (why := question.why_postponed(now)) is not None:
        raise CommandError(f"Refused. It would be {why}.", returncode=REFUSED)
    try:
        due.begin(now, by)
    except due.NothingToLookAt as error:
        raise CommandError(f"Refused. {error}", returncode=REFUSED) from error
    wake("work")


def as_text(result: Row) -> Iterator[str]:
    """The status as lines: a heading and what there is to say."""
    yield f"Market time  {_short(result['market_time'])}"
    if result["postponed"]:
        yield f"Postponed    {result['postponed'].removeprefix('postponed ')}"
    if result["open"] is not None:
        yield f"Under way    since {_short(result['open']['as_of'])}, {_about(result['open'])}"
    yield f"Last         {_last(result['last'])}"
    yield f"Next         {_next(result['next'])}"
    reviews = result["reviews"]
    counts = f"{reviews['reviewed']} reviewed, {reviews['waiting']} waiting, {reviews['not_reviewed']} not reviewed"
    yield f"Trades       {counts}"
    yield from (f"  trade {each['trade']} waits: {each['reason']}" for each in reviews["why_waiting"])
    yield from (f"  trade {each['trade']} was not reviewed: {each['reason']}" for each in reviews["why_not"])
    yield f"Suggestions  {len(result['suggestions']) or 'none'} for the next deep reflection"
    yield from (f"  trade {each['trade']}: {each['suggestion']}" for each in result["suggestions"])
    yield f"New versions {_promotion(result['promotion'])}"


def _about(deep: Row) -> str:
    why = f"; {deep['reason']}" if deep["reason"] else ""
    return f"made due by {_cause(deep)}, {deep['new_trades']} new trades{why}"


def _cause(deep: Row) -> str:
    return f"{deep['asked_by']}" if deep["cause"] == "person" else NAMES[deep["cause"]]


def _last(deep: Row | None) -> str:
    if deep is None:
        return "none so far"
    written = f"wrote version {deep['new_version']}" if deep["new_version"] else deep["reason"] or "wrote nothing"
    if deep["status"] == Reflection.Status.GIVEN_UP:
        written = f"came to nothing: {deep['reason']}"
    return f"{_short(deep['as_of'])}, {deep['new_trades']} new trades, made due by {_cause(deep)}: {written}"


def _next(found: Row) -> str:
    if found["due"]:
        return f"due now, by {NAMES[found['due']]}"
    trades = f"after {found['after_trades']} more closed trades"
    if found["at"] is None:
        return f"{trades}; none has closed since the last one"
    return f"{trades}, or at {_short(found['at'])}; {found['new_trades']} new trades so far"


def _short(moment: str) -> str:
    return f"{datetime.fromisoformat(moment):%Y-%m-%d %H:%M} UTC"


def _promotion(mode: str) -> str:
    told = {
        "immediate": "trade from the next cycle on",
        "manual": "are challengers until a person decides",
        "auto": "are challengers until their record decides",
    }
    return f"{told[mode]} (PLAYBOOK_PROMOTION={mode})"
