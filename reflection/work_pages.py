"""What the admin shows of the work of reflection: reviews, deep reflections, suggestions, and their logs."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from journal.admin_base import register, shown_on
from journal.models import PlaybookVersion, Trade
from journal.presentation import (
    Document,
    Facts,
    Notice,
    Section,
    Tab,
    Table,
    Tone,
    label,
    pretty,
    shown,
    table_of,
)
from reflection.models import PlaybookSuggestion, Reflection, ReflectionLog

TRADES = ("closed_at", "symbol", "direction", "strategy_used", "market_regime", "exit_reason", "pnl_usd")
PIECES = ("as_of", "kind", "status", "reason", "attempts", "finished_at")
EXCURSION = {
    "Against it": "adverse", "In its favour": "favourable", "Against it, in R": "adverse_r",
    "In its favour, in R": "favourable_r", "One R": "risk",
}  # fmt: skip
"""What the figures of an excursion are called."""
LOGS = ("created_at", "reflection_type", "old_version", "new_version")

register(
    Reflection,
    list_display=(
        "as_of", "kind", "status", "trade", "cause", "asked_by", "attempts", "considered_in", "reason", "finished_at",
    ),
    list_filter=("kind", "status", "cause"),
    search_fields=("reason", "suggestion"),
    date_hierarchy="as_of",
    ordering=("-as_of", "-id"),
)  # fmt: skip
register(
    PlaybookSuggestion,
    list_display=("as_of", "suggestion", "trade", "considered_in"),
    search_fields=("suggestion",),
    date_hierarchy="as_of",
    ordering=("-as_of", "-id"),
)
register(
    ReflectionLog,
    list_display=("created_at", "reflection_type", "old_version", "new_version", "playbook_changes"),
    list_filter=("reflection_type",),
    search_fields=("input_prompt",),
    date_hierarchy="created_at",
)


# --- a piece of work --------------------------------------------------------------------------------------------------


@shown_on(Reflection)
@shown_on(PlaybookSuggestion)
def piece_page(piece: Reflection) -> Iterator[Section]:
    """What it is about, how far it is, and what came of it."""
    yield Notice(title=_headline(piece), text=piece.reason, tone=_tone(piece))
    if piece.trade is not None:
        yield table_of("Trade", [piece.trade], *TRADES)
        yield from _excursion(piece.excursion)
        yield table_of(
            "Deep reflection that it is new to", [piece.considered_in] if piece.considered_in else [], *PIECES
        )
    else:
        new = Trade.objects.filter(reflection__considered_in=piece).order_by("closed_at", "id")
        yield table_of("Trades that were new to it", new, *TRADES)
    yield table_of("Log", [piece.log] if piece.log else [], *LOGS)


def _headline(piece: Reflection) -> str:
    what = "Review of a trade" if piece.trade_id else f"Deep reflection, made due by {_cause(piece)}"
    states = {"done": "done", "given_up": "given up", "waiting": "at work" if piece.claim else "waiting"}
    return f"{what}: {states[piece.status]}"


def _cause(piece: Reflection) -> str:
    words = {"trades": "the number of trades", "hours": "the time"}
    return words.get(piece.cause) or piece.asked_by


def _tone(piece: Reflection) -> Tone:
    tones: Mapping[str, Tone] = {"done": "good", "given_up": "warn", "waiting": "info"}
    return tones[piece.status]


def _excursion(kept: Mapping[str, Any] | None) -> Iterator[Section]:
    """How far the price went against the trade and in its favour, or why nobody knows."""
    if not kept:
        return
    figures = [(title, _figure(name, kept[name])) for title, name in EXCURSION.items()]
    yield Facts(title="Excursion", facts=[*figures, ("Snapshots between", shown("recorded", kept["recorded"]))])


def _figure(name: str, kept: Mapping[str, Any]) -> str:
    """A kept figure as it is shown, or the reason why there is none; one that is not in R is a fraction."""
    if kept["value"] is None:
        return shown("reason", kept["reason"])
    return shown(name if name.endswith("_r") else f"{name}_pct", Decimal(kept["value"]))


# --- a log ------------------------------------------------------------------------------------------------------------


@shown_on(ReflectionLog)
def log_page(log: ReflectionLog) -> Iterator[Section]:
    """What it found, what it changed or why it changed nothing, what it looked at, the question and the answer."""
    answered = log.output_json or {}
    changes = log.playbook_changes or {}
    yield _found(log, answered, changes)
    yield from _lists("Changes of the playbook", changes)
    plain = {name: value for name, value in answered.items() if not isinstance(value, list | dict)}
    yield Facts(title="Answer", facts=[(label(name), shown(name, value)) for name, value in plain.items()])
    yield from (section for name, value in answered.items() for section in _lists(label(name), {"": value}))
    yield table_of(
        "Playbook before and after",
        PlaybookVersion.objects.filter(version__in=_versions(log)).order_by("version"),
        *("version", "triggered_by", "change_summary", "created_at"),
    )
    yield table_of("Trades", Trade.objects.filter(pk__in=log.trade_ids or []).order_by("closed_at", "id"), *TRADES)
    if "updated_playbook" in answered:
        yield Document(title="Playbook as it was proposed", text=pretty(answered["updated_playbook"]))


def _found(log: ReflectionLog, answered: Mapping[str, Any], changes: Mapping[str, Any]) -> Notice:
    if log.reflection_type == ReflectionLog.ReflectionType.POST_TRADE:
        return Notice(title="Review of a trade", text=answered.get("lesson", ""), tone="plain")
    if "refused" in changes:
        return Notice(title="A deep reflection that came to nothing", text=" ".join(changes["refused"]), tone="warn")
    written = f"version {log.new_version} was written" if log.new_version else "no version was written"
    return Notice(title=f"Deep reflection: {written}", text=answered.get("summary", ""), tone="good")


def _versions(log: ReflectionLog) -> list[int]:
    return [version for version in (log.old_version, log.new_version) if version is not None]


def _lists(title: str, values: Mapping[str, Any]) -> Iterator[Section]:
    """A table of one column for each list of texts."""
    for lines in values.values():
        if isinstance(lines, list) and lines:
            yield Table(title=title, headers=("In words",), rows=[[shown("line", str(line))] for line in lines])


# --- a trade ----------------------------------------------------------------------------------------------------------


@shown_on(Trade)
def reflections_of_trade(trade: Trade) -> Iterator[Section]:
    """Whether it was reviewed, and the reflections that looked at it."""
    piece = Reflection.objects.filter(trade=trade).first()
    sections: list[Section] = []
    if piece is not None:
        sections += _excursion(piece.excursion)
    sections.append(table_of("Review and why it is there or not", [piece] if piece else [], *PIECES))
    logs = ReflectionLog.objects.filter(trade_ids__contains=[trade.pk]).order_by("-id")
    sections.append(table_of("Reflections that looked at it", logs, *LOGS))
    yield Tab(title="Review", sections=sections)
