"""Counters out of the record: the same from every process, after every restart, and cheap at any number of rows.

Each source is a table. Its rows up to an id that will not change any more are folded into one row of sums, once a
minute (`fold`); a scrape adds the rows after that id, which are those of the last minutes and are read by primary key.
Ids commit out of order, so a row is folded only `SETTLED_SECONDS` after it was written.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from django.db import connection, transaction

from orchestrator_project.models import FoldedTotals
from orchestrator_project.monitoring.catalogue import SECONDS

SETTLED_SECONDS = 300
"""Longer than any transaction lasts that writes a row here, and than a model's call is told of once more."""
BATCH = 50_000
"""Ids folded in one transaction."""

Series = tuple[str, tuple[str, ...]]
"""The name of a figure and its labels."""


@dataclass(frozen=True, slots=True)
class Source:
    """A table, how its rows add up, and which of them may still change.

    `figures` is SQL over `part`, the rows of an id range, that gives figure, labels and amount. `unsettled` is SQL for
    the ids of rows that may still change, whatever their age.
    """

    name: str
    table: str
    columns: str
    figures: tuple[str, ...]
    written: str = "created_at"
    unsettled: str = ""

    def summed(self) -> str:
        """SQL with the parameters `after` and `up_to`."""
        part = f"SELECT {self.columns} FROM {self.table} WHERE id > %(after)s AND id <= %(up_to)s"  # noqa: S608
        return f"WITH part AS MATERIALIZED ({part}) " + " UNION ALL ".join(self.figures)

    def settled(self) -> str:
        """SQL for the last id up to which nothing changes any more. OFFSET 0 keeps the planner from looking for the
        smallest id along the primary key, past all that are settled."""
        newest = (
            f"SELECT id FROM {self.table} WHERE {self.written} < now() - %(age)s::interval ORDER BY id DESC LIMIT 1"  # noqa: S608
        )
        if not self.unsettled:
            return f"SELECT coalesce(({newest}), 0)"
        oldest = f"SELECT min(id) - 1 FROM ({self.unsettled} OFFSET 0) AS unsettled"  # noqa: S608
        return f"SELECT least(coalesce(({newest}), 0), ({oldest}))"


def _counted(figure: str, *labels: str, rows: str = "part", where: str = "true") -> str:
    return _added(figure, "count(*)", *labels, rows=rows, where=where)


def _added(figure: str, amount: str, *labels: str, rows: str = "part", where: str = "true") -> str:
    grouped = f" GROUP BY {', '.join(labels)}" if labels else ""
    return (
        f"SELECT '{figure}', {_as_text(*labels)}, coalesce({amount}, 0)::numeric"  # noqa: S608
        f" FROM {rows} WHERE {where}{grouped}"
    )


def _histogram(figure: str, seconds: str, *labels: str, rows: str = "part", where: str = "true") -> str:
    """Rows a bucket, and the sum of the seconds. A bucket's bound belongs to it, hence the signs."""
    bounds = ", ".join(str(-bound) for bound in reversed(SECONDS))
    bucket = f"{len(SECONDS)} - width_bucket(-({seconds})::float8, ARRAY[{bounds}]::float8[])"
    return (
        _counted(f"{figure}_bucket", *labels, bucket, rows=rows, where=where)
        + " UNION ALL "
        + _added(f"{figure}_sum", f"sum({seconds})", *labels, rows=rows, where=where)
    )


def _as_text(*labels: str) -> str:
    return f"ARRAY[{', '.join(f'({label})::text' for label in labels)}]::text[]"


_STAGES = "(SELECT key AS stage, value::float8 / 1000 AS seconds FROM part, jsonb_each_text(stage_ms)) AS stages"
_RULES = "(SELECT each ->> 'rule' AS rule FROM part, jsonb_array_elements(failed_rules) AS each) AS refusals"
_KINDS = ", ".join(f"('{kind}', {kind}_tokens)" for kind in ("input", "output", "cache_write", "cache_read"))
_TOKENS = f"(SELECT purpose, kind, tokens FROM part, LATERAL (VALUES {_KINDS}) AS each (kind, tokens)) AS told"  # noqa: S608

SOURCES = (
    Source(
        "cycles",
        "decision_cycles",
        "outcome, stage_ms, created_at, finished_at",
        (
            _counted("cycles", "outcome", where="outcome IS NOT NULL"),
            _histogram(
                "cycle_seconds",
                "greatest(extract(epoch FROM finished_at - created_at), 0)",
                where="finished_at IS NOT NULL AND outcome <> 'previous_still_running'",
            ),
            _histogram("stage_seconds", "seconds", "stage", rows=_STAGES),
        ),
        unsettled="SELECT id FROM decision_cycles WHERE finished_at IS NULL",
    ),
    Source(
        "model_calls",
        "model_calls",
        "purpose, model, source, outcome, cost_usd, latency_ms,"
        " input_tokens, output_tokens, cache_write_tokens, cache_read_tokens",
        (
            _counted("model_calls", "purpose", "model", "source", "outcome"),
            _added("model_cost_usd", "sum(cost_usd)", "purpose", "model", "source"),
            _added("model_tokens", "sum(tokens)", "purpose", "kind", rows=_TOKENS),
            _histogram("model_call_seconds", "latency_ms::float8 / 1000", "purpose"),
        ),
    ),
    Source("screenings", "screener_logs", "signal", (_counted("screenings", "signal"),)),
    Source("verdicts", "risk_verdicts", "outcome", (_counted("gate_verdicts", "outcome"),)),
    Source("rejections", "risk_rejections", "failed_rules", (_counted("gate_refusals", "rule", rows=_RULES),)),
    Source("order_steps", "order_transitions", "to_status", (_counted("order_steps", "to_status"),), written="at"),
    Source(
        "fills",
        "fills",
        "intent, status, exit_reason, pnl_usd, fee_usd",
        (
            _counted("fills", "intent", "status", "exit_reason"),
            _added("realized_pnl_usd", "sum(pnl_usd)"),
            _added("fees_usd", "sum(fee_usd)"),
        ),
        unsettled="SELECT id FROM fills WHERE waiting IS NOT NULL",
    ),
    Source("funding", "funding_payments", "amount_usd", (_added("funding_usd", "sum(amount_usd)"),)),
    Source(
        "alerts",
        "outbox",
        "severity, split_part(category, ':', 1) AS category, stream",
        (_counted("alerts", "severity", "category", where="stream = 'system:alerts'"),),
    ),
    Source("messages", "inbox", "stream", (_counted("stream_messages", "stream"),), written="received_at"),
    Source("dead_letters", "dead_letters", "stream", (_counted("dead_letters", "stream"),)),
)

LAST_ID = 2**63 - 1


def totals() -> dict[Series, Decimal]:
    """Every series of every source, as of now."""
    known = {row.source: row for row in FoldedTotals.objects.all()}
    summed: dict[Series, Decimal] = {}
    for source in SOURCES:
        row = known.get(source.name, FoldedTotals(source=source.name))
        summed |= _added_up(row.totals, _read(source, after=row.up_to, up_to=LAST_ID))
    return summed


def fold() -> int:
    """Fold in what has settled since the last time, a batch a transaction. Returns how many ids."""
    return sum(_fold_source(source) for source in SOURCES)


def _fold_source(source: Source) -> int:
    FoldedTotals.objects.get_or_create(source=source.name)
    folded = 0
    while step := _fold_batch(source):
        folded += step
    return folded


@transaction.atomic
def _fold_batch(source: Source) -> int:
    """One batch under the row's lock: of two that fold at once the second goes on where the first ended."""
    row = FoldedTotals.objects.select_for_update().get(source=source.name)
    settled = _settled(source)
    if settled <= row.up_to:
        return 0
    up_to = min(settled, row.up_to + BATCH)
    summed = _added_up(row.totals, _read(source, after=row.up_to, up_to=up_to))
    step, row.up_to = up_to - row.up_to, up_to
    row.totals = [[figure, list(labels), str(amount)] for (figure, labels), amount in sorted(summed.items())]
    row.save()
    return step


def _settled(source: Source) -> int:
    with connection.cursor() as cursor:
        cursor.execute(source.settled(), {"age": f"{SETTLED_SECONDS} seconds"})
        (settled,) = cursor.fetchone()
    return int(settled)


def _read(source: Source, *, after: int, up_to: int) -> dict[Series, Decimal]:
    with connection.cursor() as cursor:
        cursor.execute(source.summed(), {"after": after, "up_to": up_to})
        return {(figure, tuple(labels)): Decimal(amount) for figure, labels, amount in cursor.fetchall()}


def _added_up(folded: list[tuple[str, list[str], str]], tail: Mapping[Series, Decimal]) -> dict[Series, Decimal]:
    summed: dict[Series, Decimal] = defaultdict(Decimal)
    for figure, labels, told in folded:
        summed[figure, tuple(labels)] += Decimal(told)
    for series, amount in tail.items():
        summed[series] += amount
    return dict(summed)
