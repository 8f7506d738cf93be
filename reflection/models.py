"""What reflection leaves behind: its work, its logs, and the shadow trades of a playbook that has to earn its place."""

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import F, Q

from decisions.models import DecisionCycle
from journal.constraints import one_of
from journal.models import Trade


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
            GinIndex(fields=["trade_ids"], name="idx_reflection_trades"),
        )
        constraints = (one_of("reflection_type", "reflection_type", ["post_trade", "periodic"]),)

    def __str__(self) -> str:
        return f"{self.reflection_type} reflection {self.created_at:%Y-%m-%d %H:%M}"


class Reflection(models.Model):
    """One piece of looking back: the review of a closed trade, or the deep reflection on a period.

    It waits until it is done or given up. A worker claims it, one at a time of all; a claim ends by itself after its
    lease. A trade has one row: closed again by other executions, it waits again.
    """

    class Kind(models.TextChoices):
        POST_TRADE = "post_trade"
        PERIODIC = "periodic"

    class Status(models.TextChoices):
        WAITING = "waiting"
        DONE = "done"
        GIVEN_UP = "given_up"

    class Cause(models.TextChoices):
        """What made a deep reflection due."""

        TRADES = "trades"
        HOURS = "hours"
        PERSON = "person"

    kind = models.CharField(max_length=20, choices=Kind)
    status = models.CharField(max_length=10, choices=Status, default=Status.WAITING)
    reason = models.TextField(blank=True, help_text="Why it waits, or why nothing came of it.")
    as_of = models.DateTimeField(help_text="Market time: when the trade closed, or the period's end.")
    attempts = models.PositiveSmallIntegerField(default=0)
    not_before = models.DateTimeField(null=True, help_text="A failed attempt is not repeated sooner, wall time.")
    claim = models.UUIDField(null=True, help_text="The worker that is at it.")
    claimed_until = models.DateTimeField(null=True)

    trade = models.OneToOneField(Trade, on_delete=models.PROTECT, null=True, related_name="reflection")
    gross_pnl_usd = models.DecimalField(
        max_digits=20, decimal_places=4, null=True, help_text="The trade's when it was noted; null: not known."
    )
    excursion = models.JSONField(null=True, help_text="As the review was shown it.")
    suggestion = models.TextField(blank=True, help_text="What the review suggests for the playbook.")
    considered_in = models.ForeignKey(
        "self",
        on_delete=models.PROTECT,
        null=True,
        related_name="considered",
        help_text="The deep reflection that the trade is new to.",
    )

    cause = models.CharField(max_length=10, choices=Cause, blank=True)
    asked_by = models.CharField(max_length=150, blank=True)
    period_start = models.DateTimeField(null=True)

    log = models.OneToOneField(ReflectionLog, on_delete=models.PROTECT, null=True, related_name="reflection")
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "reflections"
        indexes = (
            models.Index(fields=["as_of"], condition=Q(status="waiting"), name="idx_reflection_waiting"),
            models.Index(fields=["kind", "-as_of"], name="idx_reflection_kind"),
        )
        constraints = (
            one_of("reflections_kind", "kind", ["post_trade", "periodic"]),
            one_of("reflections_status", "status", ["waiting", "done", "given_up"]),
            models.CheckConstraint(
                condition=Q(kind="post_trade", trade__isnull=False, period_start__isnull=True, cause="")
                | Q(
                    kind="periodic",
                    trade__isnull=True,
                    period_start__isnull=False,
                    cause__in=["trades", "hours", "person"],
                ),
                name="reflections_of_trade_or_period",
            ),
            models.CheckConstraint(
                condition=Q(status="waiting", finished_at__isnull=True)
                | (~Q(status="waiting") & Q(finished_at__isnull=False, claim__isnull=True)),
                name="reflections_finished",
            ),
            models.UniqueConstraint(
                fields=["kind"], condition=Q(kind="periodic", status="waiting"), name="reflections_one_deep"
            ),
            models.UniqueConstraint(
                fields=["status"], condition=Q(claim__isnull=False), name="reflections_one_at_a_time"
            ),
        )

    def __str__(self) -> str:
        what = f"review of trade {self.trade_id}" if self.trade_id else "deep reflection"
        return f"{what} as of {self.as_of:%Y-%m-%d %H:%M}"


class Suggested(models.Manager["PlaybookSuggestion"]):
    """The reviews that suggest a change of the playbook."""

    def get_queryset(self) -> models.QuerySet["PlaybookSuggestion"]:
        return super().get_queryset().exclude(suggestion="")


class PlaybookSuggestion(Reflection):
    """A change of the playbook that a review suggests. It waits until a deep reflection that came to an end has
    considered it."""

    objects: ClassVar[Suggested] = Suggested()

    class Meta:
        proxy = True

    def __str__(self) -> str:
        return f"suggestion after trade {self.trade_id}"


class ShadowContest(models.Model):
    """A challenger against the version that trades: asked on the same cycles, each with a shadow book of its own.

    It ends when either of the two is another version. `books` are the two books' memories, by role.
    """

    challenger_version = models.IntegerField()
    champion_version = models.IntegerField()
    start_equity = models.DecimalField(max_digits=20, decimal_places=4, help_text="Of both books: the account's then.")
    started_at = models.DateTimeField(help_text="Market time.")
    played_until = models.DateTimeField(null=True, help_text="How far the books have been brought, market time.")
    books = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "shadow_contests"
        constraints = (
            models.UniqueConstraint(fields=["challenger_version", "champion_version"], name="shadow_contest_once"),
        )

    def __str__(self) -> str:
        return f"playbook {self.challenger_version} against {self.champion_version}"


class ShadowQuestion(models.Model):
    """A cycle whose question the challenger is asked too: once. Its answer and the champion's are followed together, or
    neither is."""

    class Status(models.TextChoices):
        WAITING = "waiting"
        ANSWERED = "answered"
        FOLLOWED = "followed"
        LEFT_OUT = "left_out"

    contest = models.ForeignKey(ShadowContest, on_delete=models.PROTECT, related_name="questions")
    cycle = models.ForeignKey(DecisionCycle, on_delete=models.PROTECT, related_name="shadow_questions")
    snapshot_at = models.DateTimeField(help_text="Market time of the snapshot that it is about.")
    status = models.CharField(max_length=10, choices=Status, default=Status.WAITING)
    reason = models.TextField(blank=True, help_text="Why it was left out.")
    claimed_until = models.DateTimeField(null=True, help_text="Somebody is asking, wall time.")
    answer = models.JSONField(null=True, help_text="The challenger's.")
    consequences = models.JSONField(null=True, help_text="What became of each answer in its book, by role.")
    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "shadow_questions"
        indexes = (
            models.Index(
                fields=["contest", "snapshot_at"],
                condition=Q(status__in=["waiting", "answered"]),
                name="idx_shadow_due",
            ),
        )
        constraints = (
            one_of("shadow_question_status", "status", ["waiting", "answered", "followed", "left_out"]),
            models.UniqueConstraint(fields=["contest", "cycle"], name="shadow_asked_once"),
        )

    def __str__(self) -> str:
        return f"shadow question of cycle {self.cycle_id}"


class Role(models.TextChoices):
    """Whose shadow book."""

    CHALLENGER = "challenger"
    CHAMPION = "champion"


class ShadowTrade(models.Model):
    """A trade of a shadow book: money that was never at risk. Written from the book, which is the truth while it is
    open; `pnl_usd` is net of fees and funding."""

    contest = models.ForeignKey(ShadowContest, on_delete=models.PROTECT, related_name="trades")
    role = models.CharField(max_length=10, choices=Role)
    playbook_version = models.IntegerField()
    cycle_number = models.BigIntegerField()
    symbol = models.CharField(max_length=30)
    direction = models.CharField(max_length=5)
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    strategy = models.CharField(max_length=50, blank=True)
    regime = models.CharField(max_length=20, blank=True)
    confidence = models.DecimalField(max_digits=4, decimal_places=3)
    entry_price = models.DecimalField(max_digits=20, decimal_places=8)
    exit_price = models.DecimalField(max_digits=20, decimal_places=8, null=True)
    stop_loss = models.DecimalField(max_digits=20, decimal_places=8, null=True)
    take_profit = models.DecimalField(max_digits=20, decimal_places=8, null=True)
    size = models.DecimalField(max_digits=20, decimal_places=8)
    entry_notional_usd = models.DecimalField(max_digits=20, decimal_places=4)
    gross_pnl_usd = models.DecimalField(max_digits=20, decimal_places=4)
    fees_usd = models.DecimalField(max_digits=20, decimal_places=4)
    funding_usd = models.DecimalField(max_digits=20, decimal_places=4)
    pnl_usd = models.DecimalField(max_digits=20, decimal_places=4, null=True)
    exit_reason = models.CharField(max_length=30, blank=True)

    class Meta:
        db_table = "shadow_trades"
        indexes = (models.Index(fields=["playbook_version"], name="idx_shadow_playbook"),)
        constraints = (
            one_of("shadow_direction", "direction", ["LONG", "SHORT"]),
            one_of("shadow_role", "role", ["challenger", "champion"]),
            models.UniqueConstraint(fields=["contest", "role", "cycle_number"], name="shadow_once_a_cycle"),
            models.CheckConstraint(
                condition=Q(closed_at__isnull=True, pnl_usd__isnull=True, exit_reason="")
                | (Q(closed_at__isnull=False, pnl_usd__isnull=False, exit_price__isnull=False) & ~Q(exit_reason="")),
                name="shadow_closed_completely",
            ),
        )

    def __str__(self) -> str:
        return f"shadow {self.direction} {self.symbol} of playbook {self.playbook_version}"


class ShadowLook(models.Model):
    """One look at the two records of a contest, made once, and what it found. Never changed."""

    class Verdict(models.TextChoices):
        BETTER = "better"
        WORSE = "worse"
        UNDECIDED = "undecided"

    contest = models.ForeignKey(ShadowContest, on_delete=models.PROTECT, related_name="looks")
    number = models.PositiveSmallIntegerField()
    verdict = models.CharField(max_length=10, choices=Verdict)
    level = models.FloatField(help_text="The p-value at which the difference counts as beyond chance.")
    net_better = models.FloatField(help_text="p-value of the challenger's higher net result.")
    net_worse = models.FloatField(help_text="p-value of its lower net result.")
    calibration_better = models.FloatField(null=True, help_text="p-value of its lower Brier score.")
    days = models.IntegerField(help_text="Market days on which the records differ.")
    record = models.JSONField(help_text="The figures of both records then.")
    as_of = models.DateTimeField(help_text="Market time.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "shadow_looks"
        constraints = (
            one_of("shadow_verdict", "verdict", ["better", "worse", "undecided"]),
            models.UniqueConstraint(fields=["contest", "number"], name="shadow_look_once"),
        )

    def __str__(self) -> str:
        return f"look {self.number} at {self.contest}: {self.verdict}"
