"""The gate's memory: the account's risk state, its halts, every verdict and every refusal."""

from django.db import models
from django.db.models import F, Q

from journal.constraints import one_of


class RiskState(models.Model):
    """One row an account, changed only under its row lock.

    Equities are in USD as reported, net transfers beside them as they stood when the reference was taken.
    """

    account = models.CharField(max_length=50, unique=True)
    day = models.DateField(null=True, help_text="The UTC day that day_start_equity belongs to.")
    day_start_equity = models.DecimalField(max_digits=20, decimal_places=4, null=True)
    day_start_transfers = models.DecimalField(max_digits=20, decimal_places=4, default=0)
    peak_equity = models.DecimalField(max_digits=20, decimal_places=4, null=True)
    peak_transfers = models.DecimalField(max_digits=20, decimal_places=4, default=0)
    equity = models.DecimalField(max_digits=20, decimal_places=4, null=True)
    net_transfers = models.DecimalField(max_digits=20, decimal_places=4, default=0)
    equity_at = models.DateTimeField(null=True)
    loss_streak = models.PositiveIntegerField(default=0)
    streak_from = models.DateTimeField(null=True, help_text="Trades closed up to then count in no streak any more.")
    cooldown_until = models.DateTimeField(null=True)
    warned_on = models.JSONField(default=dict, help_text="Rule -> the day its warning went out.")
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "risk_state"
        permissions = (
            ("halt_trading", "Can halt trading and close every position"),
            ("resume_trading", "Can resume trading and re-base the peak"),
        )

    def __str__(self) -> str:
        return f"risk state of {self.account}"


class Halt(models.Model):
    """A halt that stands, or stood: openings need none to stand."""

    class Kind(models.TextChoices):
        DAILY_LOSS = "daily_loss"
        DRAWDOWN = "drawdown"
        MANUAL = "manual"

    account = models.CharField(max_length=50)
    kind = models.CharField(max_length=20, choices=Kind)
    reason = models.TextField()
    started_at = models.DateTimeField(help_text="Market time.")
    started_by = models.CharField(max_length=150)
    until = models.DateTimeField(null=True, help_text="When it ends by itself; null when only a person ends it.")
    ended_at = models.DateTimeField(null=True)
    ended_by = models.CharField(max_length=150, blank=True)
    end_reason = models.TextField(blank=True)

    class Meta:
        db_table = "risk_halts"
        constraints = (
            one_of("halt_kind", "kind", ["daily_loss", "drawdown", "manual"]),
            models.UniqueConstraint(fields=["account", "kind"], condition=Q(ended_at__isnull=True), name="halt_once"),
        )

    def __str__(self) -> str:
        return f"{self.kind} since {self.started_at:%Y-%m-%d %H:%M}"


class RiskAction(models.Model):
    """What a person did to the account's risk state or to an instrument's block, and why. Never changed."""

    class Action(models.TextChoices):
        HALT = "halt"
        RESUME = "resume"
        REBASE_PEAK = "rebase_peak"
        CLOSE_ALL = "close_all"
        LIFT_BLOCK = "lift_block"

    class Source(models.TextChoices):
        STREAM = "stream"
        ADMIN = "admin"
        COMMAND = "command"

    account = models.CharField(max_length=50)
    action = models.CharField(max_length=20, choices=Action)
    source = models.CharField(max_length=10, choices=Source)
    by = models.CharField(max_length=150)
    reason = models.TextField()
    detail = models.TextField(blank=True, help_text="What it changed.")
    market_time = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "risk_actions"
        indexes = (models.Index(F("created_at").desc(), name="idx_risk_action_created"),)
        constraints = (
            one_of("risk_action", "action", ["halt", "resume", "rebase_peak", "close_all", "lift_block"]),
            one_of("risk_action_source", "source", ["stream", "admin", "command"]),
        )

    def __str__(self) -> str:
        return f"{self.action} by {self.by}"


class Verdict(models.Model):
    """What the gate was shown and what it said, chained by hash to the verdict before. Never changed."""

    decision_id = models.UUIDField(unique=True)
    cycle_number = models.BigIntegerField(null=True)
    symbol = models.CharField(max_length=30)
    action = models.CharField(max_length=20)
    approved = models.BooleanField()
    outcome = models.CharField(max_length=30)
    inputs = models.JSONField()
    results = models.JSONField()
    previous_hash = models.CharField(max_length=64)
    content_hash = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "risk_verdicts"
        indexes = (models.Index(F("created_at").desc(), name="idx_verdict_created"),)

    def __str__(self) -> str:
        return f"{self.action} {self.symbol}: {self.outcome}"


class RiskRejection(models.Model):
    """A proposal that the gate refused."""

    verdict = models.OneToOneField(Verdict, on_delete=models.PROTECT, related_name="rejection", null=True)
    decision_json = models.JSONField()
    failed_rules = models.JSONField()
    account_state = models.JSONField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "risk_rejections"
        indexes = (models.Index(F("created_at").desc(), name="idx_risk_created"),)

    def __str__(self) -> str:
        return f"refused {self.created_at:%Y-%m-%d %H:%M}"
