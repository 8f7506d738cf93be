"""A challenger on trial: cycles that both sides answer, and prices that follow."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from decisions.models import DecisionCycle, Order, OrderStatus
from reflection import challenger, shadow_question, trial
from reflection.models import ShadowContest, ShadowQuestion, ShadowTrade
from tests.integration.decisions.build import NOON
from tests.integration.decisions.model_server import ScriptedModels, left
from tests.integration.decisions.scene import decided, venue_says
from tests.integration.journal.playbooks import by_reflection

HOLD = left("HOLD")


@pytest.fixture
def on_trial(ready: Any, models: ScriptedModels) -> ScriptedModels:
    """Version 1 trades, version 2 challenges it, and every analysed cycle is asked about."""
    ready.PLAYBOOK_PROMOTION = "auto"
    ready.CHALLENGER_SHARE = Decimal(1)
    assert by_reflection("patience").version == 2
    return models


def analysed_cycle(models: ScriptedModels, champion: Any, at: datetime = NOON, **market: Any) -> DecisionCycle:
    """A cycle with this answer of the champion's. What it orders is refused, so that the next one is free to open."""
    models.will_say("analyze", champion)
    cycle = decided(at, **market)
    for order in Order.objects.filter(status=OrderStatus.SENT):
        venue_says(order, "rejected", reject_reason="the real account stays out of it")
    return cycle


def both_answered(
    models: ScriptedModels, champion: Any, challenger_: Any, at: datetime = NOON, **market: Any
) -> ShadowQuestion:
    """A cycle that both were asked about."""
    noted = shadow_question.note(analysed_cycle(models, champion, at, **market).pk)
    assert noted is not None
    models.will_say("analyze", challenger_)
    shadow_question.ask(noted.pk, at)
    noted.refresh_from_db()
    return noted


def went_on(at: datetime) -> ShadowContest:
    """The trial, brought to this market time."""
    trial.go_on(at)
    contest = challenger.contest()
    assert contest is not None
    return contest


def trades(role: str) -> list[ShadowTrade]:
    return list(ShadowTrade.objects.filter(role=role).order_by("id"))


def consequences(asked: ShadowQuestion) -> dict[str, str]:
    """What became of each side's answer, in a word."""
    asked.refresh_from_db()
    return {role: told["outcome"] for role, told in (asked.consequences or {}).items()}
