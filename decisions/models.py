"""Decision cycles and everything they leave: snapshots, model calls, orders, fills, and what could not be read.

The few cycles and orders that are not over yet are asked for by the time of their end, which is null, and not by their
state: a prepared statement is planned without its parameters, so only what stands in its text can lead it to an index
of those few. With the state among the parameters it reads the whole table. The end and the state agree by constraint.

Enumerations are closed in the database too. Wall times end in `_at` with `auto_now_add` or are set from the wall clock;
`slot_at`, `MarketRecord.at` and `PositionReport.as_of` are market time.
"""

import uuid

from django.db import models
from django.db.models import F, Q

from journal.constraints import one_of


class State(models.TextChoices):
    """Where a cycle is. Only ever forward, by (round, state)."""

    COLLECTING = "collecting"
    SCREENING = "screening"
    RESEARCHING = "researching"
    ANALYZING = "analyzing"
    RISK_CHECK = "risk_check"
    EXECUTING = "executing"
    CONFIRMING = "confirming"
    JOURNALING = "journaling"
    DONE = "done"


class Outcome(models.TextChoices):
    """How a cycle ended; one word for each reason, so that reasons for not trading are never confused."""

    TRADED = "traded"
    ORDER_WORKING = "order_working"
    MODEL_HOLD = "model_hold"
    SCREENED_OUT = "screened_out"
    GATE_REJECTED = "gate_rejected"
    PLAYBOOK_BLOCKED = "playbook_blocked"
    HALTED = "halted"
    COOLDOWN = "cooldown"
    STALE_DATA = "stale_data"
    NO_DATA = "no_data"
    MODEL_ERROR = "model_error"
    MODEL_REFUSAL = "model_refusal"
    INVALID_OUTPUT = "invalid_output"
    RESEARCH_ERROR = "research_error"
    BUDGET = "budget"
    SIZE_TOO_SMALL = "size_too_small"
    ORDER_REJECTED = "order_rejected"
    ORDER_EXPIRED = "order_expired"
    ORDER_CANCELLED = "order_cancelled"
    ORDER_UNKNOWN = "order_unknown"
    INSTRUMENT_BLOCKED = "instrument_blocked"
    ABANDONED = "abandoned"
    PREVIOUS_STILL_RUNNING = "previous_still_running"


class DecisionCycle(models.Model):
    """One decision about one instrument in one slot: its inputs, its answers, its end."""

    work_began = 0.0
    """Monotonic seconds when the claim of this instance began; never stored."""

    instrument = models.CharField(max_length=30)
    slot_at = models.DateTimeField()
    decision_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    state = models.CharField(max_length=20, choices=State, default=State.COLLECTING)
    round = models.PositiveSmallIntegerField(default=1)
    outcome = models.CharField(max_length=30, choices=Outcome, null=True)
    reason = models.TextField(blank=True, help_text="Why it ended so, in plain words.")

    claim = models.UUIDField(null=True, help_text="The delivery that works on the current stage.")
    claimed_until = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0, help_text="Claims of the current stage.")
    last_error = models.TextField(blank=True)

    snapshot = models.JSONField(null=True)
    positions = models.JSONField(null=True)
    account = models.JSONField(null=True)
    openings_blocked = models.CharField(
        max_length=30, blank=True, help_text="The outcome that stands in the way of an opening."
    )
    openings_blocked_reason = models.TextField(blank=True)
    bypass_reason = models.CharField(max_length=200, blank=True)
    screener_signal = models.BooleanField(null=True)
    shadow_audit = models.BooleanField(default=False)
    warnings = models.TextField(blank=True, help_text="What was wrong with the decision without stopping it.")
    research_reasons = models.JSONField(default=list)
    research = models.JSONField(null=True)
    research_error = models.TextField(blank=True)
    decision = models.JSONField(null=True)
    playbook_version = models.IntegerField(null=True)
    stage_ms = models.JSONField(default=dict, help_text="Stage -> milliseconds of work.")

    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "decision_cycles"
        indexes = (
            models.Index(F("slot_at").desc(), name="idx_cycle_slot"),
            models.Index(fields=["outcome", "slot_at"], name="idx_cycle_outcome"),
            models.Index(fields=["finished_at"], name="idx_cycle_finished"),
            # What is seldom so, to be found among a million.
            models.Index(fields=["slot_at"], condition=Q(shadow_audit=True), name="idx_cycle_audit"),
            models.Index(fields=["slot_at"], condition=Q(round=2), name="idx_cycle_second_round"),
            models.Index(
                fields=["openings_blocked", "slot_at"], condition=~Q(openings_blocked=""), name="idx_cycle_blocked"
            ),
        )
        constraints = (
            models.UniqueConstraint(fields=["instrument", "slot_at"], name="cycle_one_per_slot"),
            models.UniqueConstraint(
                fields=["instrument"], condition=Q(finished_at__isnull=True), name="cycle_one_open"
            ),
            one_of("cycle_state", "state", State.values),
            one_of("cycle_outcome", "outcome", Outcome.values),
            models.CheckConstraint(
                condition=Q(state="done", outcome__isnull=False, finished_at__isnull=False)
                | (~Q(state="done") & Q(outcome__isnull=True, finished_at__isnull=True)),
                name="cycle_done_has_outcome",
            ),
            models.CheckConstraint(condition=Q(round__in=[1, 2]), name="cycle_round"),
        )

    def __str__(self) -> str:
        return f"cycle {self.pk} {self.instrument} {self.slot_at:%Y-%m-%d %H:%M}"


class ModelCall(models.Model):
    """One request to a model, written before its reply is believed."""

    class Purpose(models.TextChoices):
        SCREEN = "screen"
        ANALYZE = "analyze"
        RESEARCH = "research"
        REFLECT = "reflect"

    class Source(models.TextChoices):
        """Who answered. Only `live` calls cost real money."""

        LIVE = "live"
        OFFLINE = "offline"
        REPLAY = "replay"

    cycle = models.ForeignKey(DecisionCycle, on_delete=models.PROTECT, null=True, related_name="model_calls")
    purpose = models.CharField(max_length=20, choices=Purpose)
    model = models.CharField(max_length=100)
    source = models.CharField(max_length=10, choices=Source, default=Source.LIVE)
    shadow = models.BooleanField(default=False, help_text="Asked to measure, never to trade.")
    system_prompt = models.TextField()
    prompt = models.TextField()
    raw_reply = models.TextField(blank=True)
    outcome = models.CharField(max_length=20)
    http_status = models.PositiveSmallIntegerField(null=True)
    error = models.TextField(blank=True)
    stop_reason = models.CharField(max_length=40, blank=True)
    request_id = models.CharField(max_length=100, blank=True)
    input_tokens = models.IntegerField(default=0)
    output_tokens = models.IntegerField(default=0)
    cache_write_tokens = models.IntegerField(default=0)
    cache_read_tokens = models.IntegerField(default=0)
    cost_usd = models.DecimalField(max_digits=12, decimal_places=6, default=0)
    latency_ms = models.IntegerField()
    attempts = models.PositiveSmallIntegerField(default=1)
    market_time = models.DateTimeField(help_text="Market time of the call: budget days are counted by it.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "model_calls"
        indexes = (
            models.Index(F("created_at").desc(), name="idx_call_created"),
            # With the cost: what a day has cost so far is asked in every cycle, and the calls are long rows.
            models.Index(fields=["market_time"], include=["cost_usd"], name="idx_call_market_time"),
            models.Index(fields=["model", "purpose"], name="idx_call_model"),
            models.Index(fields=["outcome", "id"], condition=~Q(outcome="ok"), name="idx_call_trouble"),
            models.Index(fields=["id"], condition=Q(shadow=True), name="idx_call_shadow"),
            models.Index(fields=["purpose", "id"], name="idx_call_purpose"),
            models.Index(fields=["source", "id"], condition=~Q(source="live"), name="idx_call_not_live"),
        )
        constraints = (
            one_of("call_purpose", "purpose", ["screen", "analyze", "research", "reflect"]),
            one_of("call_source", "source", ["live", "offline", "replay"]),
            models.CheckConstraint(condition=Q(cost_usd__gte=0), name="call_cost"),
        )

    def __str__(self) -> str:
        return f"{self.purpose} by {self.model}: {self.outcome}"


class ModelStatus(models.Model):
    """What the API says of a model we use: the newest look-up, one row a model."""

    class Lifecycle(models.TextChoices):
        """`unknown` is a model that the API does not have."""

        ACTIVE = "active"
        DEPRECATED = "deprecated"
        RETIRED = "retired"
        UNKNOWN = "unknown"

    model = models.CharField(max_length=100, unique=True)
    lifecycle = models.CharField(max_length=20, choices=Lifecycle)
    retires_at = models.DateTimeField(null=True)
    detail = models.TextField(blank=True)
    checked_at = models.DateTimeField(help_text="When the API last answered about it, wall time.")

    class Meta:
        db_table = "model_status"
        verbose_name_plural = "model status"
        constraints = (one_of("model_lifecycle", "lifecycle", ["active", "deprecated", "retired", "unknown"]),)

    def __str__(self) -> str:
        return f"{self.model}: {self.lifecycle}"


class ScreenerLog(models.Model):
    """One screening, and what the big model said where it was asked too."""

    cycle = models.OneToOneField(DecisionCycle, on_delete=models.PROTECT, null=True, related_name="screening")
    symbol = models.CharField(max_length=30)
    signal = models.BooleanField()
    reason = models.TextField(blank=True)
    snapshot_json = models.JSONField(null=True)
    opus_action = models.CharField(max_length=20, blank=True)
    opus_agreed = models.BooleanField(null=True)
    tokens_used = models.IntegerField(null=True)
    latency_ms = models.IntegerField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "screener_logs"
        indexes = (
            models.Index(F("created_at").desc(), name="idx_screener_created"),
            models.Index(fields=["signal"], name="idx_screener_signal"),
            models.Index(fields=["symbol", "id"], name="idx_screener_symbol"),
            models.Index(fields=["opus_action", "id"], condition=~Q(opus_action=""), name="idx_screener_opus"),
            models.Index(fields=["id"], condition=Q(opus_agreed=False), name="idx_screener_disagreed"),
        )

    def __str__(self) -> str:
        return f"{self.symbol}: {'signal' if self.signal else 'no signal'}"


class ResearchCache(models.Model):
    """A research that may answer again while it is fresh. `asked_at` is market time."""

    query = models.TextField()
    response_json = models.JSONField()
    source = models.CharField(max_length=20, default="perplexity")
    ttl_seconds = models.IntegerField(default=3600)
    asked_at = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "research_cache"
        verbose_name_plural = "research cache"
        indexes = (
            models.Index(fields=["query"], name="idx_research_query"),
            models.Index(F("created_at").desc(), name="idx_research_created"),
        )

    def __str__(self) -> str:
        return self.query[:80]


class ScheduledEvent(models.Model):
    """A scheduled release that moves markets."""

    kind = models.CharField(max_length=20)
    name = models.CharField(max_length=100)
    scheduled_at = models.DateTimeField()
    impact = models.CharField(max_length=10, choices=[(word, word) for word in ("high", "medium", "low")])
    currency = models.CharField(max_length=3, default="USD")
    source = models.CharField(max_length=200)
    fetched_at = models.DateTimeField()
    manual = models.BooleanField(default=False, help_text="Entered or changed by a person: no feed replaces it.")

    class Meta:
        db_table = "scheduled_events"
        indexes = (models.Index(fields=["scheduled_at"], name="idx_event_scheduled"),)
        constraints = (
            models.UniqueConstraint(fields=["name", "scheduled_at"], name="event_once"),
            one_of("event_kind", "kind", ["FOMC", "CPI", "NFP", "GDP", "FED_SPEECH"]),
            one_of("event_impact", "impact", ["high", "medium", "low"]),
        )

    def __str__(self) -> str:
        return f"{self.name} {self.scheduled_at:%Y-%m-%d %H:%M}"


class CalendarFeed(models.Model):
    """An official calendar feed: when it was last read well, and what was wrong since."""

    name = models.CharField(max_length=50, unique=True)
    tried_at = models.DateTimeField()
    fetched_at = models.DateTimeField(null=True, help_text="When it last answered with events.")
    error = models.TextField(blank=True, help_text="Why the newest try failed; the events of the last good one stay.")

    class Meta:
        db_table = "calendar_feeds"

    def __str__(self) -> str:
        return self.name


class OrderKind(models.TextChoices):
    """What an order is for."""

    DECISION = "decision"
    PROTECTION = "protection"
    CLOSE_ALL = "close_all"


class OrderStatus(models.TextChoices):
    """What is known of an order."""

    PENDING = "pending"
    SENT = "sent"
    ACCEPTED = "accepted"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


LIVE = (
    OrderStatus.PENDING,
    OrderStatus.SENT,
    OrderStatus.ACCEPTED,
    OrderStatus.PARTIALLY_FILLED,
    OrderStatus.UNKNOWN,
)
"""The orders that still count in every limit: those without an `ended_at`."""


class Order(models.Model):
    """An order: the intent, written before it is sent, and what became of it."""

    kind = models.CharField(max_length=20, choices=OrderKind, default=OrderKind.DECISION)
    cycle = models.ForeignKey(DecisionCycle, on_delete=models.PROTECT, null=True, related_name="orders")
    trade = models.ForeignKey("journal.Trade", on_delete=models.PROTECT, null=True, related_name="orders")
    decision_id = models.UUIDField()
    client_order_id = models.CharField(max_length=32, unique=True)
    venue_order_id = models.CharField(max_length=64, blank=True)
    symbol = models.CharField(max_length=30)
    action = models.CharField(max_length=20)
    side = models.CharField(max_length=4)
    pos_side = models.CharField(max_length=5)
    order_type = models.CharField(max_length=10)
    size = models.DecimalField(max_digits=20, decimal_places=8)
    size_pct = models.DecimalField(max_digits=12, decimal_places=8, null=True)
    limit_price = models.DecimalField(max_digits=20, decimal_places=8, null=True)
    stop_loss = models.DecimalField(max_digits=20, decimal_places=8, null=True)
    take_profit = models.DecimalField(max_digits=20, decimal_places=8, null=True)
    leverage = models.DecimalField(max_digits=5, decimal_places=2, default=1)
    reduce_only = models.BooleanField()
    judged_price = models.DecimalField(max_digits=20, decimal_places=8, help_text="The price the gate judged it at.")
    notional_usd = models.DecimalField(max_digits=20, decimal_places=4, help_text="What it reserves of the limits.")
    filled_size = models.DecimalField(max_digits=20, decimal_places=8, default=0)
    status = models.CharField(max_length=20, choices=OrderStatus, default=OrderStatus.PENDING)
    reason = models.TextField(blank=True)
    entry_id = models.CharField(max_length=40, blank=True, help_text="Its entry on trade:orders.")
    streams_life = models.CharField(
        max_length=36,
        blank=True,
        help_text="The life of the streams it was written in: an emptied Redis begins another.",
    )
    expires_at = models.DateTimeField(help_text="Wall time for market orders, market time for limit orders.")
    created_at = models.DateTimeField(auto_now_add=True)
    sent_at = models.DateTimeField(null=True)
    cancel_asked_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "orders"
        indexes = (
            models.Index(F("created_at").desc(), name="idx_order_created"),
            models.Index(fields=["status"], name="idx_order_status"),
            models.Index(fields=["symbol", "-id"], name="idx_order_symbol"),
            models.Index(fields=["symbol"], condition=Q(ended_at__isnull=True), name="idx_order_live"),
        )
        constraints = (
            models.UniqueConstraint(fields=["decision_id"], name="order_one_per_decision"),
            models.CheckConstraint(
                condition=Q(status__in=LIVE, ended_at__isnull=True) | (~Q(status__in=LIVE) & Q(ended_at__isnull=False)),
                name="order_ended_has_time",
            ),
            models.CheckConstraint(condition=Q(size__gt=0, filled_size__gte=0), name="order_size"),
            models.CheckConstraint(
                condition=Q(reduce_only=True) | Q(stop_loss__isnull=False), name="order_opening_has_stop"
            ),
            one_of("order_status", "status", OrderStatus.values),
            one_of("order_kind", "kind", OrderKind.values),
            one_of("order_side", "side", ["buy", "sell"]),
            one_of("order_pos_side", "pos_side", ["long", "short"]),
            one_of("order_type", "order_type", ["market", "limit"]),
            one_of("order_action", "action", ["OPEN_LONG", "OPEN_SHORT", "CLOSE", "ADD", "REDUCE"]),
        )

    def __str__(self) -> str:
        return f"{self.action} {self.size.normalize():f} {self.symbol}"


class OrderTransition(models.Model):
    """One step in the life of an order: from what to what, when, and why. Only ever added."""

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="transitions")
    from_status = models.CharField(max_length=20, choices=OrderStatus)
    to_status = models.CharField(max_length=20, choices=OrderStatus)
    cause = models.TextField()
    at = models.DateTimeField(help_text="Wall time.")

    class Meta:
        db_table = "order_transitions"
        indexes = (models.Index(fields=["at"], name="idx_transition_at"),)
        constraints = (
            one_of("transition_from", "from_status", OrderStatus.values),
            one_of("transition_to", "to_status", OrderStatus.values),
        )

    def __str__(self) -> str:
        return f"{self.from_status} -> {self.to_status}"


class Fill(models.Model):
    """A message about an order or an exit, kept once by its fill id, with what was booked of it."""

    fill_id = models.CharField(max_length=64, unique=True)
    order = models.ForeignKey(Order, on_delete=models.PROTECT, null=True, related_name="fills")
    trade = models.ForeignKey("journal.Trade", on_delete=models.PROTECT, null=True, related_name="fills")
    client_order_id = models.CharField(max_length=64, blank=True)
    venue_order_id = models.CharField(max_length=64, blank=True)
    algo_id = models.CharField(max_length=64, blank=True)
    symbol = models.CharField(max_length=30)
    pos_side = models.CharField(max_length=5)
    side = models.CharField(max_length=4)
    intent = models.CharField(max_length=10)
    status = models.CharField(max_length=20)
    price = models.DecimalField(max_digits=20, decimal_places=8, null=True)
    size = models.DecimalField(max_digits=20, decimal_places=8, null=True)
    fee_usd = models.DecimalField(max_digits=20, decimal_places=4, null=True)
    pnl_usd = models.DecimalField(max_digits=20, decimal_places=4, null=True)
    cumulative_size = models.DecimalField(max_digits=20, decimal_places=8, null=True)
    exit_reason = models.CharField(max_length=30, blank=True)
    reject_reason = models.TextField(blank=True)
    filled_at = models.DateTimeField()
    waiting = models.JSONField(
        null=True, help_text="The whole message of an execution whose order is not known yet: it is not booked so far."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "fills"
        indexes = (
            models.Index(fields=["id"], condition=Q(waiting__isnull=False), name="idx_fill_waiting"),
            models.Index(F("filled_at").desc(), name="idx_fill_filled"),
            models.Index(fields=["symbol", "-id"], name="idx_fill_symbol"),
            models.Index(fields=["client_order_id"], name="idx_fill_client_order"),
        )

    def __str__(self) -> str:
        return f"{self.status} {self.intent} of {self.symbol}"


class FundingPayment(models.Model):
    """Funding received (positive) or paid (negative), booked once by its id."""

    funding_id = models.CharField(max_length=64, unique=True)
    trade = models.ForeignKey("journal.Trade", on_delete=models.PROTECT, null=True, related_name="funding_payments")
    symbol = models.CharField(max_length=30)
    pos_side = models.CharField(max_length=5)
    amount_usd = models.DecimalField(max_digits=20, decimal_places=4)
    rate = models.DecimalField(max_digits=20, decimal_places=12)
    paid_at = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "funding_payments"
        indexes = (models.Index(F("paid_at").desc(), name="idx_funding_paid"),)

    def __str__(self) -> str:
        return f"{self.amount_usd} USD on {self.symbol}"


class MarketRecord(models.Model):
    """A market snapshot as it was read: what decisions look at, and the price history of our own."""

    symbol = models.CharField(max_length=30)
    at = models.DateTimeField()
    price = models.DecimalField(max_digits=20, decimal_places=8)
    payload = models.JSONField()
    received_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "market_snapshots"
        verbose_name = "market snapshot"
        indexes = (models.Index(F("at").desc(), name="idx_market_at"),)
        constraints = (models.UniqueConstraint(fields=["symbol", "at"], name="market_once"),)

    def __str__(self) -> str:
        return f"{self.symbol} {self.price.normalize():f} at {self.at:%Y-%m-%d %H:%M}"


class MarketAlertRecord(models.Model):
    """A market alert as it was read."""

    symbol = models.CharField(max_length=30)
    kind = models.CharField(max_length=50)
    severity = models.CharField(max_length=10)
    detail = models.TextField()
    value = models.DecimalField(max_digits=30, decimal_places=12, null=True)
    market_time = models.DateTimeField()
    received_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "market_alerts"
        verbose_name = "market alert"
        indexes = (
            models.Index(fields=["symbol", "received_at"], name="idx_market_alert"),
            models.Index(fields=["received_at"], name="idx_market_alert_received"),
        )

    def __str__(self) -> str:
        return f"{self.kind} on {self.symbol}"


class PositionReport(models.Model):
    """The newest position update: one row, replaced by every newer one."""

    account = models.CharField(max_length=50, unique=True)
    as_of = models.DateTimeField()
    told_at = models.DateTimeField(help_text="When the venue sent it, wall time.")
    payload = models.JSONField()
    received_at = models.DateTimeField()
    recent_fills = models.JSONField(default=list, help_text="What the update told of the last 24 hours.")
    reconciled_at = models.DateTimeField(null=True, help_text="When the record was last compared with the venue.")

    class Meta:
        db_table = "position_reports"

    def __str__(self) -> str:
        return f"positions as of {self.as_of:%Y-%m-%d %H:%M}"


class Discrepancy(models.Model):
    """The record and the venue differ about an instrument: since when, by what, and what became of it."""

    class Kind(models.TextChoices):
        POSITION_WITHOUT_TRADE = "position_without_trade"
        TRADE_WITHOUT_POSITION = "trade_without_position"
        SIZE = "size"
        DIRECTION = "direction"
        BOTH_SIDES = "both_sides"

    symbol = models.CharField(max_length=30)
    kind = models.CharField(max_length=30, choices=Kind)
    ours = models.CharField(max_length=200, blank=True)
    theirs = models.CharField(max_length=200, blank=True)
    first_told_at = models.DateTimeField(help_text="When the first report that showed it came in, wall time.")
    last_told_at = models.DateTimeField(help_text="When the newest report that showed it came in.")
    told = models.BooleanField(default=False, help_text="Whether a person was told.")
    resolved_at = models.DateTimeField(null=True)
    resolution = models.TextField(blank=True)

    class Meta:
        db_table = "discrepancies"
        verbose_name_plural = "discrepancies"
        indexes = (models.Index(F("first_told_at").desc(), name="idx_discrepancy_told"),)
        constraints = (
            models.UniqueConstraint(
                fields=["symbol", "kind"], condition=Q(resolved_at__isnull=True), name="discrepancy_once"
            ),
            one_of(
                "discrepancy_kind",
                "kind",
                [
                    "position_without_trade",
                    "trade_without_position",
                    "size",
                    "direction",
                    "both_sides",
                ],
            ),
        )

    def __str__(self) -> str:
        return f"{self.symbol}: {self.kind}"


class InstrumentBlock(models.Model):
    """Something that keeps an instrument from opening until a person or a reconciliation lifts it."""

    symbol = models.CharField(max_length=30)
    reason = models.TextField()
    started_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True)
    ended_by = models.CharField(max_length=150, blank=True)

    class Meta:
        db_table = "instrument_blocks"
        permissions = (("lift_block", "Can lift the block of an instrument"),)
        constraints = (
            models.UniqueConstraint(fields=["symbol"], condition=Q(ended_at__isnull=True), name="block_once"),
        )

    def __str__(self) -> str:
        return f"{self.symbol}: {self.reason}"


class Command(models.Model):
    """A command that a person sent on the stream: applied, or refused with the reason. Never changed."""

    command = models.CharField(max_length=20)
    args = models.JSONField()
    issued_by = models.CharField(max_length=100)
    issued_at = models.DateTimeField()
    accepted = models.BooleanField()
    detail = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "system_commands"
        indexes = (models.Index(F("created_at").desc(), name="idx_command_created"),)

    def __str__(self) -> str:
        return f"{self.command} by {self.issued_by}"


class ScreenerSwitch(models.Model):
    """A change of one of the screener's switches at run time; the newest of each name is in force. Never changed."""

    name = models.CharField(max_length=50)
    value = models.BooleanField()
    changed_by = models.CharField(max_length=100)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "screener_switches"
        verbose_name_plural = "screener switches"
        indexes = (models.Index(fields=["name", "-id"], name="idx_switch_newest"),)
        constraints = (
            one_of(
                "switch_name",
                "name",
                ["SCREENER_ENABLED", "SCREENER_BYPASS_ON_POSITION", "SCREENER_BYPASS_ON_NEWS"],
            ),
        )

    def __str__(self) -> str:
        return f"{self.name}={self.value}"


class ResearchRequest(models.Model):
    """A person asked for research: the next cycle of the instrument does it."""

    symbol = models.CharField(max_length=30)
    requested_by = models.CharField(max_length=100)
    created_at = models.DateTimeField(auto_now_add=True)
    cycle = models.ForeignKey(DecisionCycle, on_delete=models.PROTECT, null=True, related_name="research_requests")

    class Meta:
        db_table = "research_requests"
        indexes = (models.Index(fields=["symbol"], condition=Q(cycle__isnull=True), name="idx_research_wanted"),)

    def __str__(self) -> str:
        return f"research on {self.symbol} for {self.requested_by}"


class InboxMessage(models.Model):
    """A message that took effect, written in the effect's own transaction, so that it takes effect once."""

    msg_id = models.CharField(max_length=64, unique=True)
    stream = models.CharField(max_length=50)
    entry_id = models.CharField(max_length=40)
    type = models.CharField(max_length=50)
    received_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "inbox"
        verbose_name = "inbox message"
        indexes = (models.Index(fields=["received_at"], name="idx_inbox_received"),)

    def __str__(self) -> str:
        return f"{self.type} {self.msg_id}"


class DeadLetter(models.Model):
    """An entry that could not be read or applied, whole, with the reason."""

    stream = models.CharField(max_length=50)
    entry_id = models.CharField(max_length=40)
    reason = models.TextField()
    raw = models.TextField(help_text="The entry's fields as JSON; bytes that are not UTF-8 are escaped.")
    deliveries = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "dead_letters"
        indexes = (models.Index(F("created_at").desc(), name="idx_dead_created"),)
        constraints = (models.UniqueConstraint(fields=["stream", "entry_id"], name="dead_once"),)

    def __str__(self) -> str:
        return f"{self.stream} {self.entry_id}: {self.reason[:80]}"


class OutboxMessage(models.Model):
    """A message of ours, written with the fact it tells of and published after the commit, by whoever comes first."""

    msg_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    stream = models.CharField(max_length=50)
    type = models.CharField(max_length=50)
    severity = models.CharField(max_length=10, blank=True)
    category = models.CharField(max_length=50, blank=True)
    payload = models.JSONField()
    metadata = models.JSONField(default=dict)
    repeated = models.PositiveIntegerField(default=0, help_text="How often the same came again and was not told.")
    created_at = models.DateTimeField(auto_now_add=True)
    sent_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "outbox"
        indexes = (
            models.Index(fields=["id"], condition=Q(sent_at__isnull=True), name="idx_outbox_unsent"),
            models.Index(fields=["category", "created_at"], name="idx_outbox_category"),
            models.Index(fields=["sent_at"], name="idx_outbox_sent"),
        )

    def __str__(self) -> str:
        return f"{self.type} {self.category}".strip()


class AlertDelivery(models.Model):
    """An alert on its way to people outside by one channel, written with the alert itself."""

    class Channel(models.TextChoices):
        TELEGRAM = "telegram"
        WEBHOOK = "webhook"

    class State(models.TextChoices):
        PENDING = "pending"
        SENT = "sent"
        COUNTED = "counted", "counted in another"
        GIVEN_UP = "given_up"

    # The constraint's index begins with the alert.
    alert = models.ForeignKey(OutboxMessage, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    channel = models.CharField(max_length=10, choices=Channel)
    state = models.CharField(max_length=10, choices=State, default=State.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    next_try_at = models.DateTimeField(null=True, help_text="Not before; none: at once.")
    error = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "alert_deliveries"
        verbose_name_plural = "alert deliveries"
        indexes = (
            models.Index(fields=["channel"], condition=Q(ended_at__isnull=True), name="idx_delivery_pending"),
            models.Index(fields=["channel", "ended_at"], name="idx_delivery_ended"),
        )
        constraints = (
            models.UniqueConstraint(fields=["alert", "channel"], name="delivery_once"),
            one_of("delivery_channel", "channel", ["telegram", "webhook"]),
            one_of("delivery_state", "state", ["pending", "sent", "counted", "given_up"]),
            models.CheckConstraint(
                condition=Q(state="pending", ended_at__isnull=True) | (~Q(state="pending") & Q(ended_at__isnull=False)),
                name="delivery_end",
            ),
        )

    def __str__(self) -> str:
        return f"{self.channel}: {self.state}"
