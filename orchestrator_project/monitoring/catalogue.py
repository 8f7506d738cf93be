"""Every figure that `/metrics` gives, by name: what it counts, in which unit, told apart by what.

Durations are seconds, shares fractions, money USD. Counters only grow, and go on where they were after a restart of
anything; a gauge is how things stand now.
"""

from dataclasses import dataclass
from typing import Literal

PREFIX = "orchestrator_"
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""The upper bounds of every histogram: from a stage with nothing to ask to the longest deadline of a model."""


Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric, without the prefix; a counter's name is without the `_total` that Prometheus puts behind it."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str


_COUNTERS = (
    ("cycles", ("outcome",), "Decision cycles that ended."),
    (
        "model_calls",
        ("purpose", "model", "source", "outcome"),
        "Requests to models; offline and replay cost nothing.",
    ),
    ("model_cost_usd", ("purpose", "model", "source"), "What they cost at the services' prices."),
    ("model_tokens", ("purpose", "kind"), "Tokens: input, output, cache_write, cache_read."),
    ("screenings", ("signal",), "Screenings of the small model."),
    ("gate_verdicts", ("outcome",), "Proposals judged by the risk gate."),
    ("gate_refusals", ("rule",), "Refusals by the rule that refused; a proposal may fail several."),
    ("order_steps", ("status",), "Orders that came to a status."),
    ("fills", ("intent", "status", "exit_reason"), "Messages of the venue about orders and exits, each once."),
    ("alerts", ("severity", "category"), "Alerts told on system:alerts."),
    ("stream_messages", ("stream",), "Messages that took effect."),
    ("dead_letters", ("stream",), "Messages that could not be used."),
)
_HISTOGRAMS = (
    (
        "cycle_seconds",
        (),
        "From tick to end of a cycle; without those that found the one before still running.",
    ),
    ("stage_seconds", ("stage",), "Work of a stage in a cycle, waiting for its turn left out."),
    ("model_call_seconds", ("purpose",), "One request to a model, retries included."),
)
_GAUGES = (
    ("info", ("mode",), "Always 1; mode is sandbox or live."),
    ("up", ("server",), "Whether Postgres and Redis answered this scrape."),
    ("ready", ("check",), "Whether a check of /readyz passes."),
    ("heartbeat_age_seconds", ("of",), "Since beat, and each task of its schedule, were last seen alive."),
    ("open_cycles", (), "Cycles that have not ended."),
    ("oldest_open_cycle_seconds", (), "Age of the oldest of them, 0 without one."),
    ("last_cycle_age_seconds", (), "Since the newest end of a cycle."),
    ("snapshot_age_seconds", ("instrument",), "Since the newest snapshot of an instrument came in."),
    ("positions_age_seconds", (), "Since the newest report of the trade server came in."),
    ("stream_length", ("stream",), "Entries on a stream."),
    ("stream_lag", ("stream",), "Entries that no consumer was given yet."),
    ("stream_pending", ("stream",), "Entries given to a consumer and not acknowledged."),
    ("stream_oldest_seconds", ("stream",), "Age of the oldest entry that is not acknowledged, 0 without one."),
    ("consumers", (), "Stream consumers seen within a minute."),
    ("queue_length", ("queue",), "Task messages that wait for a worker."),
    ("unacknowledged_tasks", (), "Task messages that a worker has."),
    ("redis_memory_bytes", (), "Memory that Redis uses."),
    ("database_bytes", (), "Size of the database on the disk."),
    ("outbox_waiting", (), "Messages of ours that are not published yet."),
    ("live_orders", ("status",), "Orders that count in the limits."),
    ("waiting_fills", (), "Executions that fit nowhere yet."),
    ("discrepancies", (), "Differences between record and venue that stand."),
    ("blocked_instruments", (), "Instruments that wait for a person."),
    ("risk_state", ("state",), "1 for the account's state: running, cooldown, halted; unknown before a report."),
    ("halts", ("kind",), "1 for a halt that stands."),
    ("equity_usd", (), "The account's equity as last reported."),
    ("peak_equity_usd", (), "The peak that the drawdown is measured from."),
    ("daily_loss_ratio", (), "Today's fall of equity net of transfers, above 0 when it fell."),
    ("drawdown_ratio", (), "Fall from the peak, likewise."),
    ("exposure_ratio", (), "Notional of positions and live openings over equity."),
    ("limit_ratio", ("limit",), "The limits: daily_loss, drawdown, exposure."),
    ("loss_streak", (), "Losing trades in a row."),
    ("positions", (), "Positions that the venue reports, and our open trades beyond them."),
    ("unrealized_pnl_usd", (), "Unrealised P&L as last reported."),
    ("realized_pnl_usd", (), "P&L booked from fills, before fees and funding."),
    ("fees_usd", (), "Fees booked; paid is above 0."),
    ("funding_usd", (), "Funding booked; received is above 0."),
    ("model_spend_today_usd", (), "What models have cost in the market day."),
    ("model_budget_usd", (), "What they may cost a day."),
    ("playbook_version", (), "The version that trades."),
)  # fmt: skip

_KINDS: tuple[tuple[Kind, tuple[tuple[str, tuple[str, ...], str], ...]], ...] = (
    ("counter", _COUNTERS),
    ("histogram", _HISTOGRAMS),
    ("gauge", _GAUGES),
)
FIGURES = {name: Figure(name, kind, labels, help_) for kind, group in _KINDS for name, labels, help_ in group}


def exposed_names() -> frozenset[str]:
    """Every name that a query may use."""
    names: set[str] = set()
    for figure in FIGURES.values():
        if figure.kind == "counter":
            names.add(f"{PREFIX}{figure.name}_total")
        elif figure.kind == "histogram":
            names.update(f"{PREFIX}{figure.name}{part}" for part in ("_bucket", "_sum", "_count"))
        else:
            names.add(PREFIX + figure.name)
    return frozenset(names)


def as_table() -> str:
    """All of it as a Markdown table, for the documentation."""
    rows = [
        f"| `{PREFIX}{figure.name}{'_total' if figure.kind == 'counter' else ''}` | {figure.kind} "
        f"| {', '.join(figure.labels)} | {figure.help} |"
        for figure in FIGURES.values()
    ]
    return "\n".join(["| name | kind | told apart by | what it is |", "|---|---|---|---|", *rows, ""])
