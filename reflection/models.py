"""What reflection leaves behind: its logs, and the shadow trades of a playbook that has to earn its place."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F

from journal.constraints import one_of


class ReflectionLog(models.Model):
    """One reflection: what was shown, what came back, what it changed."""

    class ReflectionType(models.TextChoices):
        POST_TRADE = "post_trade"
        PERIODIC = "periodic"

    reflection_type = models.CharField(max_length=20, choices=ReflectionType)
    trade_ids = ArrayField(models.IntegerField(), null=True)
    input_prompt = models.TextField(blank=True)
    output_json = models.JSONField(null=True)
    playbook_changes = models.JSONField(null=True)
    old_version = models.IntegerField(null=True)
    new_version = models.IntegerField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "reflection_logs"
        indexes = (
            models.Index(fields=["reflection_type"], name="idx_reflection_type"),
            models.Index(F("created_at").desc(), name="idx_reflection_created"),
        )
        constraints = (one_of("reflection_type", "reflection_type", ["post_trade", "periodic"]),)

    def __str__(self) -> str:
        return f"{self.reflection_type} reflection {self.created_at:%Y-%m-%d %H:%M}"


class ShadowTrade(models.Model):
    """A trade that a challenger playbook would have made: money that was never at risk."""

    playbook_version = models.IntegerField()
    cycle_number = models.BigIntegerField()
    symbol = models.CharField(max_length=30)
    direction = models.CharField(max_length=5)
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    entry_price = models.DecimalField(max_digits=20, decimal_places=8)
    exit_price = models.DecimalField(max_digits=20, decimal_places=8, null=True)
    size = models.DecimalField(max_digits=20, decimal_places=8)
    pnl_usd = models.DecimalField(max_digits=20, decimal_places=4, null=True)
    exit_reason = models.CharField(max_length=30, blank=True)
    decision_json = models.JSONField()

    class Meta:
        db_table = "shadow_trades"
        indexes = (models.Index(fields=["playbook_version"], name="idx_shadow_playbook"),)
        constraints = (
            one_of("shadow_direction", "direction", ["LONG", "SHORT"]),
            models.UniqueConstraint(fields=["playbook_version", "cycle_number"], name="shadow_once_a_cycle"),
        )

    def __str__(self) -> str:
        return f"shadow {self.direction} {self.symbol} of playbook {self.playbook_version}"
