"""A chain of decisions as the tabs of a page: what was seen, asked, answered, judged, sent and done."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from decisions.chain import Chain
from decisions.messages import MarketSnapshot
from decisions.models import DecisionCycle, ModelCall
from decisions.schemas import Analysis, AnalysisAnswer, Decision, ResearchAnswer
from journal.presentation import (
    Document,
    Notice,
    Section,
    Tab,
    Table,
    facts_of,
    indicators_table,
    label,
    link,
    link_out,
    pretty,
    shown,
    table_of,
)
from risk.admin import rules_table

SCREENINGS = ("symbol", "signal", "reason", "opus_action", "opus_agreed", "latency_ms")
CALLS = ("purpose", "model", "outcome", "cost_usd", "latency_ms", "input_tokens", "output_tokens", "error")
VERDICTS = ("symbol", "action", "outcome", "approved", "created_at")
ORDERS = (
    "created_at", "action", "kind", "order_type", "size", "filled_size", "limit_price", "stop_loss", "take_profit",
    "status", "reason",
)  # fmt: skip
TRANSITIONS = ("at", "from_status", "to_status", "cause")
FILLS = (
    "filled_at", "intent", "status", "price", "size", "fee_usd", "pnl_usd", "exit_reason", "reject_reason",
)  # fmt: skip

NUMBER = re.compile(r"-?\d+(\.\d+)?")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def decision_tabs(chain: Chain) -> Iterator[Tab]:
    """What every cycle of the chain left, a tab for each stage, the cycles one below another in it."""
    for title, sections in (
        ("Snapshot", _snapshot),
        ("Screener", _screener),
        ("Research", _research),
        ("Model", _model),
        ("Verdict", _verdict),
    ):
        told = [section for cycle in chain.cycles for section in sections(chain, cycle)]
        yield Tab(title=title, sections=told or [_nothing(title)])
    yield Tab(title="Orders", sections=[*_orders(chain)], count=len(chain.orders))


def _nothing(title: str) -> Notice:
    return Notice(title="Nothing", text=NOTHING_THERE[title], tone="plain")


NOTHING_THERE = {
    "Snapshot": "No snapshot was collected.",
    "Screener": "The small model was not asked.",
    "Research": "No news were searched for.",
    "Model": "The big model was not asked.",
    "Verdict": "The risk gate was not asked: nothing was proposed.",
}


def _titled(chain: Chain, cycle: DecisionCycle, title: str) -> str:
    """The title, and which of several decisions it is about."""
    return title if len(chain.cycles) == 1 else f"{title}: {occasion(cycle)}"


def occasion(cycle: DecisionCycle) -> str:
    """What a cycle decided, and when."""
    action = str(((cycle.decision or {}).get("decision") or {}).get("action") or cycle.outcome or cycle.state)
    return f"{action.replace('_', ' ')}, {cycle.slot_at:%Y-%m-%d %H:%M}"


# --- what was seen ----------------------------------------------------------------------------------------------------


def _snapshot(chain: Chain, cycle: DecisionCycle) -> Iterator[Section]:
    """The figures; a trade's page has the indicators side by side already."""
    sections = list(snapshot_sections(cycle.snapshot, _titled(chain, cycle, "Snapshot")))
    yield from sections[:1] if chain.of_trade else sections


def snapshot_sections(payload: Mapping[str, Any] | None, title: str = "Snapshot") -> Iterator[Section]:
    """A snapshot's figures, and its indicators by timeframe."""
    if payload is not None:
        yield facts_of(title, figures(payload, MarketSnapshot))
        yield indicators_table({"": payload.get("indicators")})


def figures(document: Mapping[str, Any], schema: type[BaseModel]) -> dict[str, Any]:
    """The plain members of a document in the order of its schema, numbers and times that travel as text as such."""
    return {
        name: _read(value) for name in schema.model_fields if not isinstance(value := document.get(name), dict | list)
    }


def _read(value: Any) -> Any:
    """The number or the time that a text is; everything else as it is."""
    if not isinstance(value, str):
        return value
    if NUMBER.fullmatch(value):
        return Decimal(value)
    try:
        return datetime.fromisoformat(value) if MOMENT.fullmatch(value) else value
    except ValueError:
        return value


def _screener(chain: Chain, cycle: DecisionCycle) -> Iterator[Section]:
    if cycle.bypass_reason:
        title = _titled(chain, cycle, "Bypassed")
        yield Notice(
            title=title, text=f"The big model was asked whatever the screener says: {cycle.bypass_reason}", tone="info"
        )
    if screenings := chain.screenings.get(cycle.pk, ()):
        yield table_of(_titled(chain, cycle, "Screening"), screenings, *SCREENINGS)


# --- research ---------------------------------------------------------------------------------------------------------


def _research(chain: Chain, cycle: DecisionCycle) -> Iterator[Section]:
    """Why news were searched for, what was found, and the pages it rests on."""
    if cycle.research_error:
        yield Notice(title=_titled(chain, cycle, "It failed"), text=cycle.research_error, tone="warn")
    if cycle.research is None:
        return
    answer = cycle.research.get("answer") or {}
    asked = {
        "why": _reasons(cycle.research_reasons or []),
        "query": cycle.research.get("query"),
        "asked_at": _read(cycle.research.get("asked_at")),
    }
    yield facts_of(_titled(chain, cycle, "What was found"), {**asked, **figures(answer, ResearchAnswer)})
    if points := answer.get("key_points"):
        yield _listed(_titled(chain, cycle, "Key points"), points)
    yield sources_table(cycle.research, _titled(chain, cycle, "Sources"))


def _reasons(reasons: Iterable[Any]) -> str:
    """Why news were searched for: kinds of trigger, each with its detail."""
    told = (": ".join(map(str, each)) if isinstance(each, list) else str(each) for each in reasons)
    return "; ".join(told).replace("_", " ")


def sources_table(research: Mapping[str, Any], title: str = "Sources") -> Table:
    """The pages that a search returned, each with a link where its address is one of a page."""
    rows = [
        [link_out(str(each.get("url", "")), str(each.get("title", ""))), shown("date", each.get("date"))]
        for each in research.get("citations") or []
        if isinstance(each, dict)
    ]
    return Table(title=title, headers=("Page", "Dated"), rows=rows)


def _listed(title: str, lines: Iterable[Any]) -> Table:
    return Table(title=title, headers=("In words",), rows=[[shown("line", str(line))] for line in lines])


# --- the big model ----------------------------------------------------------------------------------------------------


def _model(chain: Chain, cycle: DecisionCycle) -> Iterator[Section]:
    """What it wanted and why, what it was shown, and what it said word by word."""
    yield from _wanted(chain, cycle)
    calls = chain.calls.get(cycle.pk, ())
    if calls:
        yield table_of(_titled(chain, cycle, f"Model calls, {cost(calls)} USD"), calls, *CALLS)
    for call in calls:
        yield from call_documents(call, _titled(chain, cycle, call.get_purpose_display()))


def cost(calls: Iterable[ModelCall]) -> Decimal:
    """What calls cost together, in USD."""
    return sum((call.cost_usd for call in calls), Decimal(0))


def call_documents(call: ModelCall, title: str) -> Iterator[Document]:
    """What a model was told and asked, its reply's own words, and the reply as it came."""
    yield Document(title=f"{title}: system prompt", text=call.system_prompt)
    yield Document(title=f"{title}: prompt", text=call.prompt)
    if words := reply_words(call.raw_reply):
        yield Document(title=f"{title}: reply in words", text=words)
    yield Document(title=f"{title}: raw reply", text=call.raw_reply or "There was none.")


def _wanted(chain: Chain, cycle: DecisionCycle) -> Iterator[Section]:
    if cycle.decision is None:
        return
    proposal, analysis = cycle.decision.get("decision") or {}, cycle.decision.get("analysis") or {}
    wanted = figures(proposal, Decision) | figures(cycle.decision, AnalysisAnswer) | figures(analysis, Analysis)
    yield facts_of(_titled(chain, cycle, "What the big model wanted"), wanted)
    if cycle.warnings:
        yield Notice(title=_titled(chain, cycle, "What was wrong with it"), text=cycle.warnings, tone="warn")
    said = [
        *(("Observation", line) for line in analysis.get("key_observations") or []),
        *(("Risk", line) for line in analysis.get("risk_factors") or []),
        *(("Cited fact", f"{fact.get('path')} = {fact.get('value')}") for fact in proposal.get("cited_facts") or []),
    ]
    rows = [[kind, shown("text", str(text))] for kind, text in said]
    yield Table(title=_titled(chain, cycle, "What it rests on"), headers=("Kind", "In words"), rows=rows)


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


# --- the gate, the orders ---------------------------------------------------------------------------------------------


def _verdict(chain: Chain, cycle: DecisionCycle) -> Iterator[Section]:
    verdict = chain.verdicts.get(cycle.decision_id)
    if verdict is not None:
        yield table_of(_titled(chain, cycle, "Verdict of the risk gate"), [verdict], *VERDICTS)
        rules = rules_table(verdict)
        yield Table(title=_titled(chain, cycle, "Rules"), headers=rules.headers, rows=rules.rows)


def _orders(chain: Chain) -> Iterator[Section]:
    """What was sent, what became of it step by step, and what was filled."""
    yield table_of("Orders", chain.orders, *ORDERS)
    steps = [
        [
            link(order, str(order).replace("_", " ")),
            *(shown(name, getattr(step, name), short=True) for name in TRANSITIONS),
        ]
        for order in chain.orders
        for step in chain.transitions.get(order.pk, ())
    ]
    yield Table(title="Their lives", headers=("Order", *map(label, TRANSITIONS)), rows=steps)
    yield table_of("Fills", chain.fills, *FILLS)


def calls_table(calls: Iterable[ModelCall], title: str) -> Table:
    """What was paid to models, a row for each purpose and model."""
    groups: dict[tuple[str, str, str], list[ModelCall]] = {}
    for call in calls:
        groups.setdefault((call.purpose, call.model, call.source), []).append(call)
    rows = [
        [
            shown("purpose", purpose),
            shown("model", model),
            shown("source", source),
            str(len(group)),
            shown("cost_usd", cost(group)),
        ]
        for (purpose, model, source), group in sorted(groups.items())
    ]
    return Table(title=title, headers=("Purpose", "Model", "Source", "Calls", "Cost USD"), rows=rows)
