"""What the monitoring remembers, so that a scrape stays cheap however long the record grows."""

from django.db import models


class FoldedTotals(models.Model):
    """What the rows of one source up to an id add up to: the counters begin with it, and read the rows after it."""

    source = models.CharField(max_length=30, unique=True)
    up_to = models.BigIntegerField(default=0, help_text="The last id that is folded in.")
    totals = models.JSONField(default=list, help_text="[figure, labels, amount as text] of every series.")
    folded_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "monitoring_totals"
        verbose_name_plural = "folded totals"

    def __str__(self) -> str:
        return f"{self.source} up to {self.up_to}"
