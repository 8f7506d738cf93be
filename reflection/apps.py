"""The app's place in Django, and what it hears of the apps below."""

from typing import Any

from django.apps import AppConfig
from django.conf import settings


class ReflectionConfig(AppConfig):
    name = "reflection"
    verbose_name = "Reflection"

    def ready(self) -> None:
        from decisions import awaited
        from decisions.signals import cycle_analysed
        from journal.signals import trade_closed

        trade_closed.connect(_look_at, dispatch_uid="reflection of a closed trade")
        cycle_analysed.connect(_ask_challenger, dispatch_uid="the challenger's question")
        awaited.register(_trial_is_settled, _try_challenger)  # first: a deep reflection is shown its record
        awaited.register(_is_settled, _ask)


def _look_at(trade_id: int, **_: Any) -> None:
    """A trade was closed. In lockstep the driver asks, at a moment that is the same in every run."""
    from reflection.tasks import wake

    if not settings.SANDBOX_LOCKSTEP:
        wake("closed", trade_id)


def _is_settled() -> bool:
    from decisions.clock import now_for_record
    from reflection import desk

    return desk.is_settled(now_for_record())


def _ask() -> None:
    from reflection.tasks import wake

    wake("sweep")


def _ask_challenger(cycle_id: int, **_: Any) -> None:
    """A cycle was analysed: note the question for the challenger, and have it asked."""
    from reflection import shadow_question
    from reflection.tasks import wake

    if (noted := shadow_question.note(cycle_id)) is not None:
        wake("ask_challenger", noted.pk)


def _trial_is_settled() -> bool:
    from decisions.clock import now_for_record
    from reflection import trial

    return trial.is_settled(now_for_record())


def _try_challenger() -> None:
    from reflection.tasks import wake

    wake("try_challenger")
