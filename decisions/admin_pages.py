"""What the admin's pages show of one another: a cycle with all it left, a trade with its whole chain.

Each function gives the further sections of one table's page; see `journal.admin_base.shown_on`.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from pydantic import BaseModel

from decisions.messages import MarketSnapshot
from decisions.models import DecisionCycle, Fill, MarketRecord, ModelCall, Order, Outcome, ScreenerLog
from decisions.schemas import AnalysisAnswer, Decision
from journal.admin_base import shown_on
from journal.models import Trade
from journal.presentation import (
    Document,
    Notice,
    Section,
    Table,
    facts_of,
    indicators_table,
    plain,
    pretty,
    table_of,
    tone_of,
)
from risk.admin import rules_table
from risk.models import Verdict

MEANING: dict[str, str] = {
    Outcome.TRADED: "The order was sent and filled",
    Outcome.ORDER_WORKING: "A limit order rests at the venue and counts in every limit",
    Outcome.MODEL_HOLD: "The big model was asked and wanted to do nothing",
    Outcome.SCREENED_OUT: "The small model saw nothing that was worth an analysis",
    Outcome.GATE_REJECTED: "The risk gate refused what the model wanted",
    Outcome.PLAYBOOK_BLOCKED: "The playbook forbids what the model wanted",
    Outcome.HALTED: "Trading is halted: nothing may be opened",
    Outcome.COOLDOWN: "After losses in a row nothing may be opened for a while",
    Outcome.STALE_DATA: "The data were too old to open on",
    Outcome.NO_DATA: "There were no data to decide on",
    Outcome.MODEL_ERROR: "A model could not be reached or failed",
    Outcome.MODEL_REFUSAL: "A model refused to answer",
    Outcome.INVALID_OUTPUT: "A model's reply was not valid, so nothing was made of it",
    Outcome.RESEARCH_ERROR: "Research was required and failed",
    Outcome.BUDGET: "The day's money for models is spent: nothing may be opened",
    Outcome.SIZE_TOO_SMALL: "What was left of the size is less than the venue takes",
    Outcome.ORDER_REJECTED: "The venue rejected the order",
    Outcome.ORDER_EXPIRED: "The order expired before it was filled",
    Outcome.ORDER_CANCELLED: "The order was cancelled",
    Outcome.ORDER_UNKNOWN: "Nobody knows what became of the order",
    Outcome.INSTRUMENT_BLOCKED: "The instrument may not open anything until somebody lifts its block",
    Outcome.ABANDONED: "The cycle could not be finished in time and was given up",
    Outcome.PREVIOUS_STILL_RUNNING: "The cycle before it was still at work",
}
"""Every outcome in plain words."""

CYCLES = ("slot_at", "instrument", "state", "outcome", "reason")
CALLS = ("purpose", "model", "outcome", "cost_usd", "latency_ms", "input_tokens", "output_tokens", "error")
ORDERS = (
    "created_at", "action", "kind", "order_type", "size", "filled_size", "limit_price", "stop_loss", "take_profit",
    "status", "reason",
)  # fmt: skip
TRANSITIONS = ("at", "from_status", "to_status", "cause")
FILLS = (
    "filled_at", "intent", "status", "price", "size", "fee_usd", "pnl_usd", "exit_reason", "reject_reason",
)  # fmt: skip
TRADES = ("symbol", "direction", "opened_at", "closed_at", "entry_price", "exit_price", "pnl_usd", "status")
VERDICTS = ("symbol", "action", "outcome", "approved", "created_at")
SCREENINGS = ("symbol", "signal", "reason", "opus_action", "opus_agreed", "latency_ms")


@shown_on(DecisionCycle)
def cycle_page(cycle: DecisionCycle) -> Iterator[Section]:
    """How it ended and why, then everything it left, in the order in which it happened."""
    yield _ending(cycle)
    yield from _snapshot(cycle.snapshot)
    yield table_of("Screening", ScreenerLog.objects.filter(cycle=cycle), *SCREENINGS)
    calls = list(cycle.model_calls.order_by("id"))
    yield table_of(f"Model calls, {sum(call.cost_usd for call in calls)} USD", calls, *CALLS)
    yield from _decision(cycle)
    yield from _verdict(cycle.decision_id)
    yield table_of("Order", cycle.orders.order_by("id"), *ORDERS)
    yield table_of("Fills", Fill.objects.filter(order__cycle=cycle).order_by("id"), *FILLS)
    yield table_of("Trade", _trades_of(cycle), *TRADES)
    for call in calls:
        yield Document(title=f"{call.get_purpose_display()}: prompt", text=call.prompt)
        yield Document(title=f"{call.get_purpose_display()}: raw reply", text=call.raw_reply)


def _ending(cycle: DecisionCycle) -> Notice:
    if cycle.outcome is None:
        return Notice(title=f"Not ended: {cycle.state}", text=cycle.last_error, tone="info")
    return Notice(title=MEANING[cycle.outcome], text=cycle.reason, tone=tone_of(cycle.outcome))


def _snapshot(payload: Mapping[str, Any] | None) -> Iterator[Section]:
    if payload is None:
        return
    yield facts_of("Snapshot", _figures(payload, MarketSnapshot))
    yield indicators_table({"": payload.get("indicators")})


def _figures(document: Mapping[str, Any], schema: type[BaseModel]) -> dict[str, Any]:
    """The plain members of a document in the order of its schema, decimals that travel as text as numbers."""
    return {
        name: Decimal(value) if isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?", value) else value
        for name in schema.model_fields
        if not isinstance(value := document.get(name), dict)
    }


def _decision(cycle: DecisionCycle) -> Iterator[Section]:
    if cycle.decision is None:
        return
    wanted = _figures(cycle.decision.get("decision", {}), Decision) | _figures(cycle.decision, AnalysisAnswer)
    yield facts_of("What the big model wanted", wanted)


def _verdict(decision_id: UUID) -> Iterator[Section]:
    verdict = Verdict.objects.filter(decision_id=decision_id).first()
    yield table_of("Verdict of the risk gate", [verdict] if verdict else [], *VERDICTS)
    if verdict:
        yield rules_table(verdict)


def _trades_of(cycle: DecisionCycle) -> QuerySet[Trade]:
    """The trade it opened, and the one its order changed."""
    return Trade.objects.filter(Q(decision_id=cycle.decision_id) | Q(orders__cycle=cycle)).distinct()


@shown_on(Trade)
def trade_chain(trade: Trade) -> Iterator[Section]:
    """The decisions behind a trade, its orders, fills and funding."""
    orders = list(trade.orders.order_by("id"))
    fills = list(trade.fills.order_by("filled_at", "id"))
    decided = Q(decision_id=trade.decision_id) | Q(pk__in=[order.cycle_id for order in orders])
    cycles = list(DecisionCycle.objects.filter(decided).order_by("slot_at"))
    yield table_of("Decisions", cycles, *CYCLES)
    yield _verdicts([cycle.decision_id for cycle in cycles])
    yield table_of("Orders", orders, *ORDERS)
    yield table_of("Fills", fills, *FILLS)
    yield table_of("Funding", trade.funding_payments.order_by("paid_at"), "paid_at", "amount_usd", "rate")


def _verdicts(decision_ids: Iterable[UUID]) -> Table:
    return table_of("Verdicts", Verdict.objects.filter(decision_id__in=decision_ids).order_by("id"), *VERDICTS)


@shown_on(Order)
def order_page(order: Order) -> Iterator[Section]:
    """What was made of the order."""
    title = f"{order.action} {plain(order.size)} {order.symbol}: {order.status}".replace("_", " ")
    yield Notice(title=title, text=order.reason, tone=tone_of(order.status))
    yield table_of("Its life", order.transitions.order_by("id"), *TRANSITIONS)
    yield table_of("Decision", [order.cycle] if order.cycle else [], *CYCLES)
    yield _verdicts([order.decision_id])
    yield table_of("Fills", order.fills.order_by("id"), *FILLS)
    yield table_of("Trade", [order.trade] if order.trade else [], *TRADES)


@shown_on(Verdict)
def decision_of_verdict(verdict: Verdict) -> Iterator[Section]:
    """The cycle that was judged, and the order that was written."""
    yield table_of("Decision", DecisionCycle.objects.filter(decision_id=verdict.decision_id), *CYCLES)
    yield table_of("Order", Order.objects.filter(decision_id=verdict.decision_id), *ORDERS)


@shown_on(MarketRecord)
def snapshot_page(record: MarketRecord) -> Iterator[Section]:
    """The snapshot as a decision would have seen it."""
    yield from _snapshot(record.payload)


@shown_on(ModelCall)
def call_page(call: ModelCall) -> Iterator[Section]:
    """The call's result, and the reply's own words taken out of their envelope."""
    title = f"{call.get_purpose_display()} by {call.model}: {call.outcome}".replace("_", " ")
    yield Notice(title=title, text=call.error, tone=tone_of(call.outcome))
    if words := reply_words(call.raw_reply):
        yield Document(title="Reply, without its envelope", text=words, is_open=True)


def reply_words(raw_reply: str) -> str:
    """The texts of a reply, JSON among them indented; empty when the reply is no JSON document."""
    try:
        return "\n\n".join(_indented(text) for text in _texts(json.loads(raw_reply)))
    except (ValueError, RecursionError):
        return ""


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            if name == "text" and isinstance(each, str):
                yield each
            else:
                yield from _texts(each)


def _indented(text: str) -> str:
    try:
        return pretty(json.loads(text))
    except ValueError:
        return text
