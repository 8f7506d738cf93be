"""Whether the models that we use are still there: looked up, remembered, told, and held against openings.

While a model is retired, or not known to the API, nothing is opened; positions are managed as far as the models answer.
It ends with a look-up that finds the model again, or with a setting that names another. `lifecycle` is the API's signal
of retirement: a date that has passed only means that it is due (so says the documentation of its model list).

The offline model and recordings need no look-up, and what was found of the real API does not touch them.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings

from decisions import alerts
from decisions.clients import claude
from decisions.clients.catalogue import successor
from decisions.clock import wall_now
from decisions.models import ModelStatus
from decisions.outbox import redis_client

Lifecycle = ModelStatus.Lifecycle

LOOKED_UP_EVERY = timedelta(days=1)
TRIED_EVERY = timedelta(minutes=10)
"""For a model that could not be looked up, is gone, or may go any moment."""

GONE = (Lifecycle.RETIRED, Lifecycle.UNKNOWN)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A model in use, the setting that names it, and what the last look-up found: nothing before the first one."""

    model: str
    setting: str
    lifecycle: ModelStatus.Lifecycle | None = None
    retires_at: datetime | None = None
    checked_at: datetime | None = None
    detail: str = ""

    @property
    def is_gone(self) -> bool:
        return self.lifecycle in GONE

    @property
    def cure(self) -> str:
        """What a person does about it."""
        return f"Set {self.setting} to {successor(self.model) or 'a model that is offered today'} and restart"

    def __str__(self) -> str:
        if self.lifecycle == Lifecycle.UNKNOWN:
            return f"{self.setting}={self.model}: the API does not know this model"
        date = "" if self.retires_at is None else f" (retirement date {self.retires_at:%Y-%m-%d})"
        return f"{self.setting}={self.model}: {self.lifecycle or 'never looked up'}{date}"


def models_in_use() -> dict[str, str]:
    """The models of Anthropic that we ask, each with the settings that name it."""
    names: dict[str, list[str]] = {}
    for setting in ("OPUS_MODEL", "HAIKU_MODEL"):
        names.setdefault(getattr(settings, setting), []).append(setting)
    return {model: " and ".join(each) for model, each in names.items()}


def standings() -> list[Standing]:
    """The models in use and how they stand."""
    in_use = models_in_use()
    rows = {row.model: row for row in ModelStatus.objects.filter(model__in=in_use)}
    return [
        _standing(rows[model], setting) if model in rows else Standing(model=model, setting=setting)
        for model, setting in in_use.items()
    ]


def _standing(row: ModelStatus, setting: str) -> Standing:
    return Standing(
        model=row.model,
        setting=setting,
        lifecycle=Lifecycle(row.lifecycle),
        retires_at=row.retires_at,
        checked_at=row.checked_at,
        detail=row.detail,
    )


def blocked_by_models() -> str | None:
    """Why nothing may be opened for want of a model, or None. A model never looked up blocks nothing."""
    if claude.source() != "live":
        return None
    return "; ".join(str(each) for each in standings() if each.is_gone) or None


# --- looking up -------------------------------------------------------------------------------------------------------


def look_up_if_due(now: datetime) -> None:
    """At wall time `now`, look up what was never looked up, or a day ago; after ten minutes what could not be, is gone,
    or is past the date of its retirement."""
    if claude.source() != "live":
        return
    for standing in standings():
        if _is_due(standing, now) and _is_first_to_try(standing.model):
            try:
                look_up(standing.model, now)
            except claude.LookupFailed as failure:
                _tell_failure(standing, str(failure), now)


def _is_due(standing: Standing, now: datetime) -> bool:
    if standing.checked_at is None or standing.is_gone or standing.checked_at <= now - LOOKED_UP_EVERY:
        return True
    return standing.retires_at is not None and standing.retires_at <= now


def _is_first_to_try(model: str) -> bool:
    """Whether nobody has tried within the last ten minutes: several workers may ask at once."""
    return bool(redis_client().set(f"model-look-up:{model}", "1", nx=True, ex=TRIED_EVERY))


def look_up(model: str, now: datetime) -> None:
    """Ask the API about a model now, keep what it says, and tell what a person has to know.

    Raises `claude.LookupFailed` when the API cannot be asked: what was known of the model stays.
    """
    _keep(model, claude.look_up(model), now)


def note_gone(model: str, detail: str) -> None:
    """A call met an API that does not know the model: what the next look-up would find, known at once."""
    if claude.source() == "live":
        _keep(model, claude.ModelFacts(model=model, lifecycle="unknown", retires_at=None, detail=detail), wall_now())


def _keep(model: str, facts: claude.ModelFacts, now: datetime) -> None:
    found = {"lifecycle": facts.lifecycle, "retires_at": facts.retires_at, "detail": facts.detail, "checked_at": now}
    row, _ = ModelStatus.objects.update_or_create(model=model, defaults=found)
    if (setting := models_in_use().get(model)) is not None:
        _tell(_standing(row, setting), now)


# --- telling ----------------------------------------------------------------------------------------------------------


def _tell(standing: Standing, now: datetime) -> None:
    """A model that is gone is told once a day (UTC), one that will go once a week."""
    detail = f"{standing}. {standing.cure}. {standing.detail}".strip()
    if standing.is_gone:
        alerts.record_once(
            "CRITICAL",
            "model_gone",
            {"model": standing.model, "day": f"{now:%Y-%m-%d}"},
            title=f"The model {standing.model} is gone",
            detail=detail,
            action_taken="Nothing is opened; positions are managed as far as the models answer",
        )
    elif standing.lifecycle == Lifecycle.DEPRECATED:
        alerts.record_once(
            "WARN",
            "model_deprecated",
            {"model": standing.model, "week": f"{now:%G-W%V}"},
            title=f"The model {standing.model} will go",
            detail=detail,
            action_taken="None",
        )


def _tell_failure(standing: Standing, failure: str, now: datetime) -> None:
    log.warning("the model %s could not be looked up: %s", standing.model, failure)
    alerts.record_once(
        "WARN",
        "model_lookup",
        {"model": standing.model, "day": f"{now:%Y-%m-%d}"},
        title=f"The model {standing.model} could not be looked up",
        detail=f"{failure}. Last known: {standing}",
        action_taken="None: the last known status stays",
    )
