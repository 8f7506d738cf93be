"""The record: trades, playbook versions, the account's history, performance.

Trades are built from fills and funding alone (see `journal.services`). Playbook versions, promotions and decisions are
only ever added.
"""

import uuid

from django.db import models
from django.db.models import F, Q

from journal.constraints import one_of


class Trade(models.Model):
    """One position in one instrument, from its first fill to its last.

    Sizes are in contracts, money in USD. `size` is all that was ever entered, `open_size` what is still open;
    `entry_value` and `exit_value` are sums of price x contracts x `ct_val`, so that the average prices follow by cost
    basis. `pnl_usd` is net of fees and funding, and null on a closed trade whose result is not known.
    """

    class Direction(models.TextChoices):
        LONG = "LONG"
        SHORT = "SHORT"

    class Status(models.TextChoices):
        OPEN = "open"
        CLOSED = "closed"
        CANCELLED = "cancelled"

    class Origin(models.TextChoices):
        DECISION = "decision"
        RECONCILED = "reconciled"

    trade_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    duration_seconds = models.IntegerField(null=True)
    symbol = models.CharField(max_length=30)
    direction = models.CharField(max_length=5, choices=Direction)
    entry_price = models.DecimalField(max_digits=20, decimal_places=8)
    exit_price = models.DecimalField(max_digits=20, decimal_places=8, null=True)
    stop_loss = models.DecimalField(max_digits=20, decimal_places=8, null=True)
    take_profit = models.DecimalField(max_digits=20, decimal_places=8, null=True)
    size = models.DecimalField(max_digits=20, decimal_places=8)
    size_pct = models.DecimalField(max_digits=5, decimal_places=4, null=True)
    leverage = models.DecimalField(max_digits=5, decimal_places=2, default=1)
    pnl_usd = models.DecimalField(max_digits=20, decimal_places=4, null=True)
    pnl_pct = models.DecimalField(max_digits=10, decimal_places=6, null=True)
    fees_usd = models.DecimalField(max_digits=20, decimal_places=4, default=0)
    strategy_used = models.CharField(max_length=50, blank=True)
    confidence_at_entry = models.DecimalField(max_digits=4, decimal_places=3, null=True)
    market_regime = models.CharField(max_length=20, blank=True)
    opus_reasoning = models.TextField(blank=True)
    indicators_entry = models.JSONField(null=True)
    indicators_exit = models.JSONField(null=True)
    research_context = models.JSONField(null=True)
    self_review = models.JSONField(null=True)
    exit_reason = models.CharField(max_length=30, blank=True)
    status = models.CharField(max_length=10, choices=Status, default=Status.OPEN)
    okx_order_id = models.CharField(max_length=64, blank=True)
    okx_algo_id = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    decision_id = models.UUIDField(null=True, help_text="The decision that opened it.")
    playbook_version = models.IntegerField(null=True)
    origin = models.CharField(max_length=10, choices=Origin, default=Origin.DECISION)
    ct_val = models.DecimalField(max_digits=20, decimal_places=8)
    open_size = models.DecimalField(max_digits=20, decimal_places=8)
    entry_value = models.DecimalField(max_digits=38, decimal_places=16)
    exit_value = models.DecimalField(max_digits=38, decimal_places=16, default=0)
    gross_pnl_usd = models.DecimalField(max_digits=20, decimal_places=4, default=0)
    funding_usd = models.DecimalField(max_digits=20, decimal_places=4, default=0)
    stop_confirmed_at = models.DateTimeField(null=True)
    stop_lost_at = models.DateTimeField(null=True, help_text="When a confirmed stop was seen to be gone, wall time.")

    class Meta:
        db_table = "trades"
        indexes = (
            models.Index(fields=["symbol"], name="idx_trades_symbol"),
            models.Index(fields=["status"], name="idx_trades_status"),
            models.Index(F("opened_at").desc(), name="idx_trades_opened_at"),
            models.Index(fields=["strategy_used"], name="idx_trades_strategy"),
            models.Index(fields=["market_regime"], name="idx_trades_regime"),
            models.Index(F("closed_at").desc(), name="idx_trades_closed_at"),
            models.Index(fields=["symbol", "-opened_at"], name="idx_trades_symbol_opened"),
            models.Index(fields=["decision_id"], name="idx_trades_decision"),
        )
        constraints = (
            one_of("trades_direction", "direction", ["LONG", "SHORT"]),
            one_of("trades_status", "status", ["open", "closed", "cancelled"]),
            one_of("trades_origin", "origin", ["decision", "reconciled"]),
            models.CheckConstraint(
                condition=Q(stop_loss__isnull=False) | Q(origin="reconciled"), name="trades_stop_unless_reconciled"
            ),
            models.CheckConstraint(
                condition=Q(size__gt=0, open_size__gte=0, open_size__lte=F("size"), entry_price__gt=0),
                name="trades_sizes",
            ),
            models.CheckConstraint(
                condition=Q(status="open", closed_at__isnull=True, open_size__gt=0)
                | Q(status__in=["closed", "cancelled"], closed_at__isnull=False, open_size=0),
                name="trades_closed_completely",
            ),
            # Open trades are asked for by this null, not by their status: a prepared statement is planned without its
            # parameters, and only what stands in its text can lead it to the index of the few that are open.
            models.UniqueConstraint(
                fields=["symbol"], condition=Q(closed_at__isnull=True), name="trades_one_open_per_symbol"
            ),
        )

    def __str__(self) -> str:
        return f"{self.direction} {self.symbol} {self.opened_at:%Y-%m-%d %H:%M}"


class TradeNote(models.Model):
    """What a person has to say about a trade: never changed, never deleted."""

    trade = models.ForeignKey(Trade, on_delete=models.PROTECT, related_name="notes")
    author = models.CharField(max_length=150)
    text = models.CharField(max_length=5000)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "trade_notes"
        permissions = (("annotate_trade", "Can write notes about trades and set their tags"),)
        constraints = (
            models.CheckConstraint(condition=Q(text__regex=r"\S"), name="note_text"),
            models.CheckConstraint(condition=~Q(author=""), name="note_author"),
        )

    def __str__(self) -> str:
        return f"note of {self.author} on {self.trade}"


class TradeTag(models.Model):
    """A word by which a person finds a trade again. It stands until somebody takes it off."""

    trade = models.ForeignKey(Trade, on_delete=models.PROTECT, related_name="tags")
    tag = models.CharField(max_length=30)
    added_by = models.CharField(max_length=150)
    added_at = models.DateTimeField(auto_now_add=True)
    removed_by = models.CharField(max_length=150, blank=True)
    removed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "trade_tags"
        indexes = (models.Index(fields=["tag"], condition=Q(removed_at__isnull=True), name="idx_tag_standing"),)
        constraints = (
            models.CheckConstraint(condition=Q(tag__regex=r"^[a-z0-9][a-z0-9-]*$"), name="tag_word"),
            models.CheckConstraint(
                condition=Q(removed_at__isnull=True, removed_by="") | Q(removed_at__isnull=False) & ~Q(removed_by=""),
                name="tag_removed_by_somebody",
            ),
            models.UniqueConstraint(
                fields=["trade", "tag"], condition=Q(removed_at__isnull=True), name="tag_once_a_trade"
            ),
        )

    def __str__(self) -> str:
        return self.tag


class PlaybookVersion(models.Model):
    """A playbook as it was written: never changed, never deleted."""

    class TriggeredBy(models.TextChoices):
        REFLECTION = "reflection"
        MANUAL = "manual"
        INIT = "init"

    version = models.IntegerField(unique=True)
    playbook_json = models.JSONField()
    content_hash = models.CharField(max_length=64)
    change_summary = models.TextField(blank=True)
    triggered_by = models.CharField(max_length=30, choices=TriggeredBy)
    performance_at_update = models.JSONField(null=True)
    created_by = models.CharField(max_length=150, blank=True, default="")
    reason = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "playbook_versions"
        permissions = (
            ("edit_playbook", "Can write a new version of the playbook"),
            ("promote_playbook", "Can promote, reject and roll back versions of the playbook"),
        )
        indexes = (models.Index(F("version").desc(), name="idx_playbook_version"),)
        constraints = (
            one_of("playbook_triggered_by", "triggered_by", ["reflection", "manual", "init"]),
            models.CheckConstraint(condition=Q(version__gte=1), name="playbook_version_positive"),
        )

    def __str__(self) -> str:
        return f"playbook {self.version}"


class Promotion(models.Model):
    """A playbook version began to trade. The newest promotion names the active version."""

    playbook = models.ForeignKey(PlaybookVersion, on_delete=models.PROTECT, related_name="promotions")
    promoted_by = models.CharField(max_length=150)
    reason = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "playbook_promotions"

    def __str__(self) -> str:
        return f"{self.playbook} by {self.promoted_by}"


class ChallengerDecision(models.Model):
    """What was decided about a version that waited to trade: once for each, never changed, never deleted."""

    class Decision(models.TextChoices):
        APPROVED = "approved"
        REJECTED = "rejected"
        SUPERSEDED = "superseded"

    playbook = models.OneToOneField(PlaybookVersion, on_delete=models.PROTECT, related_name="decision")
    decision = models.CharField(max_length=10, choices=Decision)
    decided_by = models.CharField(max_length=150)
    reason = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "playbook_decisions"
        constraints = (one_of("playbook_decision", "decision", ["approved", "rejected", "superseded"]),)

    def __str__(self) -> str:
        return f"{self.playbook} {self.decision} by {self.decided_by}"


class AccountUpdate(models.Model):
    """The account's money as the venue reported it, one row a report: the account's history."""

    as_of = models.DateTimeField(help_text="Market time.")
    equity = models.DecimalField(max_digits=20, decimal_places=4)
    available = models.DecimalField(max_digits=20, decimal_places=4)
    margin_used = models.DecimalField(max_digits=20, decimal_places=4)
    unrealized_pnl = models.DecimalField(max_digits=20, decimal_places=4)
    net_transfers_usd = models.DecimalField(max_digits=20, decimal_places=4)
    received_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "account_history"
        indexes = (models.Index(F("as_of").desc(), F("id").desc(), name="idx_account_as_of"),)

    def __str__(self) -> str:
        return f"{self.equity} USD at {self.as_of:%Y-%m-%d %H:%M}"


class PerformanceSnapshot(models.Model):
    """Performance of one period, written once when the period has ended."""

    class SnapshotType(models.TextChoices):
        HOURLY = "hourly"
        DAILY = "daily"
        WEEKLY = "weekly"

    snapshot_type = models.CharField(max_length=20, choices=SnapshotType)
    period_end = models.DateTimeField()
    equity = models.DecimalField(max_digits=20, decimal_places=4, null=True)
    total_pnl = models.DecimalField(max_digits=20, decimal_places=4, null=True)
    win_rate = models.DecimalField(max_digits=5, decimal_places=4, null=True)
    profit_factor = models.DecimalField(max_digits=8, decimal_places=4, null=True)
    sharpe_ratio = models.DecimalField(max_digits=8, decimal_places=4, null=True)
    max_drawdown = models.DecimalField(max_digits=10, decimal_places=4, null=True)
    total_trades = models.IntegerField(null=True)
    metrics_json = models.JSONField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "performance_snapshots"
        indexes = (
            models.Index(fields=["snapshot_type"], name="idx_perf_type"),
            models.Index(F("created_at").desc(), name="idx_perf_created"),
        )
        constraints = (
            one_of("perf_type", "snapshot_type", ["hourly", "daily", "weekly"]),
            models.UniqueConstraint(fields=["snapshot_type", "period_end"], name="perf_one_per_period"),
        )

    def __str__(self) -> str:
        return f"{self.snapshot_type} to {self.period_end:%Y-%m-%d %H:%M}"
