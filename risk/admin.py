"""Pages of the gate: its state, halts, what people did, verdicts rule by rule, refusals.

What the page of the risk state tells, and what people may do there, stands in `decisions.risk_admin`: it takes the
market's clock, positions and orders.
"""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.utils.html import format_html

from journal.admin_base import register, shown_on
from journal.presentation import (
    NOTHING,
    Notice,
    Section,
    Table,
    facts_of,
    label,
    link,
    moment,
    number,
    pill,
    shown,
    table_of,
    tone_of,
)
from risk.models import Halt, RiskAction, RiskRejection, RiskState, Verdict

register(
    RiskState,
    list_display=(
        "account", "day", "day_start_equity", "peak_equity", "equity", "equity_at", "loss_streak", "cooldown_until",
    ),
)  # fmt: skip
register(
    Halt,
    list_display=("kind", "reason", "started_at", "started_by", "until", "ended_at", "ended_by", "end_reason"),
    list_filter=("kind", ("ended_at", admin.EmptyFieldListFilter)),
    search_fields=("reason", "started_by", "ended_by", "end_reason"),
    date_hierarchy="started_at",
)
register(
    RiskAction,
    list_display=("created_at", "action", "by", "reason", "detail", "source", "market_time"),
    list_filter=("action", "source", "by"),
    search_fields=("by", "reason", "detail"),
    date_hierarchy="created_at",
)
register(
    Verdict,
    list_display=("symbol", "action", "outcome", "approved", "cycle_number", "created_at", "decision_id"),
    list_filter=("outcome", "approved", "action", "symbol"),
    search_fields=("symbol", "decision_id", "content_hash"),
    date_hierarchy="created_at",
)


@admin.display(description="Refused by")
def refused_by(rejection: RiskRejection) -> str:
    """The rules that refused it."""
    return ", ".join(label(each["rule"]) for each in rejection.failed_rules)


@admin.display(description="In words")
def in_words(rejection: RiskRejection) -> str:
    """Their sentences."""
    return format_html('<span class="sentence">{}</span>', " ".join(each["reason"] for each in rejection.failed_rules))


register(
    RiskRejection,
    list_display=("created_at", "verdict", refused_by, in_words),
    date_hierarchy="created_at",
)

GRANTED = ("contracts", "size_pct", "leverage", "limit_price", "stop_loss", "take_profit", "reduce_only")
"""What an approval allows."""
FRACTIONS = ("daily_loss", "drawdown", "trade_size", "total_exposure", "sl_distance")
"""The rules that measure a fraction."""


@shown_on(Halt)
def halt_page(halt: Halt) -> Iterator[Section]:
    """Whether it stands, and what ends it or ended it."""
    if halt.ended_at is not None:
        yield Notice(title=f"{label(halt.kind)}: ended by {halt.ended_by}", text=halt.end_reason, tone="plain")
        return
    ending = f"until {halt.until:%Y-%m-%d %H:%M} UTC" if halt.until else "until a person resumes"
    yield Notice(title=f"{label(halt.kind)}: nothing is opened {ending}", text=halt.reason, tone="bad")


@shown_on(Verdict)
def verdict_page(verdict: Verdict) -> Iterator[Section]:
    """The verdict in words and every rule with what it measured."""
    yield Notice(title=str(verdict).replace("_", " "), text=refusals(verdict), tone=tone_of(verdict.outcome))
    yield rules_table(verdict)
    if verdict.approved:
        yield facts_of("What may be sent", {name: _granted(verdict.results.get(name)) for name in GRANTED})
    yield table_of("Refusal", RiskRejection.objects.filter(verdict=verdict), "created_at", "failed_rules")


@shown_on(RiskRejection)
def rejection_page(rejection: RiskRejection) -> Iterator[Section]:
    """Why it was refused, and the rules that did not refuse."""
    if rejection.verdict is not None:
        yield Notice(title="Refused by the risk gate", text=refusals(rejection.verdict), tone="warn")
        yield rules_table(rejection.verdict)


def rules_table(verdict: Verdict) -> Table:
    """Each rule with measured value, limit, verdict and its sentence; what spoke against the order first."""
    results = sorted(verdict.results.get("results", []), key=lambda result: result["verdict"] == "pass")
    rows = [
        [
            label(result["rule"]),
            pill(result["verdict"]),
            _figure(result["rule"], result["measured"]),
            _figure(result["rule"], result["limit"]),
            result["reason"],
        ]
        for result in results
    ]
    return Table(title="Rules", headers=("Rule", "Verdict", "Measured", "Limit", "In words"), rows=rows)


def refusals_table(title: str, rejections: Iterable[RiskRejection]) -> Table:
    """Refused proposals, each with the rules that refused it and their sentences."""
    rows = [
        [
            link(rejection, moment(rejection.created_at, short=True)),
            shown("proposal", str(rejection.verdict or "").replace("_", " "), short=True),
            refused_by(rejection),
            in_words(rejection),
        ]
        for rejection in rejections
    ]
    return Table(title=title, headers=("Created", "Proposal", "Refused by", "In words"), rows=rows)


def _figure(rule: str, text: str | None) -> str:
    """A measured value or a limit to six digits, a fraction as per cent; the verdict's own document has them all."""
    if text is None:
        return NOTHING
    return number("rule_pct" if rule in FRACTIONS else "measured", Decimal(f"{Decimal(text):.6g}"))


def _granted(value: Any) -> Any:
    """A number travels as text."""
    return Decimal(value) if isinstance(value, str) else value


def refusals(verdict: Verdict) -> str:
    """The sentences that speak against the order, a line each."""
    against = [result for result in verdict.results.get("results", []) if result["verdict"] in ("reject", "halt")]
    return "\n".join(result["reason"] for result in against) if not verdict.approved else ""
