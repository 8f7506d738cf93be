"""Pages of the gate: its state, halts, verdicts rule by rule, refusals."""

from collections.abc import Iterator
from decimal import Decimal

from django.contrib import admin

from journal.admin_base import register, shown_on
from journal.presentation import NOTHING, Notice, Section, Table, facts_of, label, number, pill, table_of, tone_of
from risk.models import Halt, RiskRejection, RiskState, Verdict

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
    Verdict,
    list_display=("symbol", "action", "outcome", "approved", "cycle_number", "created_at", "decision_id"),
    list_filter=("outcome", "approved", "action", "symbol"),
    search_fields=("symbol", "decision_id", "content_hash"),
    date_hierarchy="created_at",
)
register(
    RiskRejection,
    list_display=("created_at", "verdict", "failed_rules", "account_state"),
    date_hierarchy="created_at",
)

GRANTED = ("contracts", "size_pct", "leverage", "limit_price", "stop_loss", "take_profit", "reduce_only")
"""What an approval allows."""


@shown_on(Verdict)
def verdict_page(verdict: Verdict) -> Iterator[Section]:
    """The verdict in words and every rule with what it measured."""
    yield Notice(title=str(verdict).replace("_", " "), text=refusals(verdict), tone=tone_of(verdict.outcome))
    yield rules_table(verdict)
    if verdict.approved:
        yield facts_of("What may be sent", {name: verdict.results.get(name) for name in GRANTED})
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
            _figure(result["measured"]),
            _figure(result["limit"]),
            result["reason"],
        ]
        for result in results
    ]
    return Table(title="Rules", headers=("Rule", "Verdict", "Measured", "Limit", "In words"), rows=rows)


def _figure(text: str | None) -> str:
    """A measured value or a limit to six digits; the verdict's own document has them all."""
    return NOTHING if text is None else number("measured", Decimal(f"{Decimal(text):.6g}"))


def refusals(verdict: Verdict) -> str:
    """The sentences that speak against the order, a line each."""
    against = [result for result in verdict.results.get("results", []) if result["verdict"] in ("reject", "halt")]
    return "\n".join(result["reason"] for result in against) if not verdict.approved else ""
