"""The tasks of reflection: hints that there is something to do; what, stands in the database.

Delivery: acknowledged after the work, run again after a lost worker; a second run finds the piece claimed or done.
"""

import logging

import redis
from celery import current_app, shared_task
from kombu.exceptions import OperationalError as BrokerError

from decisions import clock
from decisions.rounds import on_its_own
from journal.performance_snapshots import write_due
from reflection import closings, desk, period_record, shadow_question, trial

log = logging.getLogger(__name__)


def wake(task: str, *ids: int) -> None:
    """Send a task of these by its name. One that cannot be sent is made up for by the sweep."""
    try:
        current_app.send_task(f"reflection.tasks.{task}", args=ids)
    except (BrokerError, redis.RedisError) as error:
        log.warning("reflection waits for the sweep: %s", error)


@shared_task
def closed(trade_id: int) -> None:
    """A trade was closed: note it, and do what there is to do."""
    now = clock.now_for_record()
    closings.note(trade_id, now)
    work()


@shared_task
def work() -> None:
    """Do one piece, and have the next one done by whoever is free."""
    if desk.work(clock.now_for_record()):
        wake("work")


@shared_task
def sweep() -> None:
    """Find what nobody was told of or works on any more, and the deep reflection that is due by the clock."""
    with on_its_own("looking after reflection"):
        desk.see_to_it(clock.now_for_record())
    work()


@shared_task
def write_performance() -> None:
    """Write the performance of the hours, days and weeks that are over."""
    with on_its_own("writing the performance of a period"):
        write_due(clock.now_for_record(), costs=period_record.model_costs, prices=period_record.price_spans)


@shared_task
def ask_challenger(question_id: int) -> None:
    """Ask the challenger what the champion was asked, and follow what both have said."""
    now = clock.now_for_record()
    shadow_question.ask(question_id, now)
    trial.go_on(now)


@shared_task
def try_challenger() -> None:
    """Once a minute bring the shadow books forward, and see to the questions that nobody was told of."""
    with on_its_own("trying the challenger"):
        for question_id in trial.unasked():
            wake("ask_challenger", question_id)
        trial.go_on(clock.now_for_record())
