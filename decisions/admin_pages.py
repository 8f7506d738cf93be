"""What the admin's pages show of one another: a cycle with all it left, a trade with its whole chain.

Each function gives the further sections of one table's page; see `journal.admin_base.shown_on`.
"""

from collections.abc import Iterable, Iterator
from uuid import UUID

from decisions import trade_page as trade_page
from decisions.chain import Chain, chain_of_cycle
from decisions.chain_tabs import (
    FILLS,
    ORDERS,
    TRANSITIONS,
    VERDICTS,
    calls_table,
    cost,
    decision_tabs,
    reply_words,
    snapshot_sections,
    sources_table,
)
from decisions.models import DecisionCycle, MarketRecord, ModelCall, Order, OutboxMessage, Outcome, ResearchCache, State
from journal.admin_base import shown_on
from journal.models import Trade
from journal.presentation import (
    Document,
    Facts,
    Notice,
    Section,
    Tab,
    Table,
    facts_of,
    table_of,
    tone_of,
)
from journal.wording import plain
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
TRADES = ("symbol", "direction", "opened_at", "closed_at", "entry_price", "exit_price", "pnl_usd", "status")


@shown_on(DecisionCycle)
def cycle_page(cycle: DecisionCycle) -> Iterator[Section]:
    """How it ended and why, then everything it left, in the order in which it happened."""
    chain = chain_of_cycle(cycle)
    yield _ending(cycle)
    yield _times(cycle, chain)
    yield from decision_tabs(chain)
    found = {order.trade_id for order in chain.orders} | {fill.trade_id for fill in chain.fills}
    changed = [trade_id for trade_id in found if trade_id is not None]
    yield Tab(title="Orders", sections=[table_of("Trade", Trade.objects.filter(pk__in=changed), *TRADES)])
    costs = calls_table(chain.all_calls, f"What models cost: {cost(chain.all_calls)} USD")
    yield Tab(title="Money", sections=[costs])


def _ending(cycle: DecisionCycle) -> Notice:
    if cycle.outcome is None:
        return Notice(title=f"Not ended: {cycle.state}", text=cycle.last_error, tone="info")
    return Notice(title=MEANING[cycle.outcome], text=cycle.reason, tone=tone_of(cycle.outcome))


def _times(cycle: DecisionCycle, chain: Chain) -> Facts:
    """What a reader asks first, and the milliseconds that each stage worked."""
    stages = cycle.stage_ms or {}
    told = {
        "instrument": cycle.instrument,
        "slot_at": cycle.slot_at,
        "outcome": cycle.outcome,
        "openings_blocked": cycle.openings_blocked,
        "openings_blocked_reason": cycle.openings_blocked_reason,
        "bypass_reason": cycle.bypass_reason,
        "shadow_audit": cycle.shadow_audit,
        "round": cycle.round,
        "playbook_version": cycle.playbook_version,
        "model_costs_usd": cost(chain.all_calls),
        "stages": ", ".join(f"{state.label.lower()} {stages[state]:,.0f} ms" for state in State if state in stages),
    }
    return facts_of("At a glance", told)


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
    yield from snapshot_sections(record.payload)


@shown_on(ModelCall)
def call_page(call: ModelCall) -> Iterator[Section]:
    """The call's result, and the reply's own words taken out of their envelope."""
    title = f"{call.get_purpose_display()} by {call.model}: {call.outcome}".replace("_", " ")
    yield Notice(title=title, text=call.error, tone=tone_of(call.outcome))
    if words := reply_words(call.raw_reply):
        yield Document(title="Reply, without its envelope", text=words, is_open=True)


@shown_on(ResearchCache)
def research_page(cached: ResearchCache) -> Iterator[Section]:
    """The pages that the answer rests on."""
    yield sources_table(cached.response_json)


@shown_on(OutboxMessage)
def message_page(message: OutboxMessage) -> Iterator[Section]:
    """An alert as people are told it: what happened, and what was done about it."""
    if message.severity:
        told = [str(message.payload.get(name) or "") for name in ("title", "detail", "action_taken")]
        text = "\n".join(line for line in told[1:] if line)
        yield Notice(title=told[0] or message.category, text=text, tone=tone_of(message.severity))
