"""What happened to accounts. Only ever added to."""

from django.db import models
from django.db.models import F

from journal.constraints import one_of


class AccountEvent(models.Model):
    """Somebody came in, was kept out, or changed the second factor of an account."""

    class Event(models.TextChoices):
        SIGNED_IN = "signed_in"
        VERIFIED = "verified"
        SIGNED_OUT = "signed_out"
        REFUSED = "refused"
        LOCKED_OUT = "locked_out"
        FACTOR_ENROLLED = "factor_enrolled"
        CODES_WRITTEN = "codes_written"
        FACTOR_REMOVED = "factor_removed"
        PASSWORD_SET = "password_set"  # noqa: S105 - the name of an event

    username = models.CharField(max_length=150, help_text="As it was typed.")
    event = models.CharField(max_length=20, choices=Event)
    by = models.CharField(max_length=150, blank=True, help_text="Who did it, where it was somebody else.")
    detail = models.TextField(blank=True)
    address = models.GenericIPAddressField(null=True)
    user_agent = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "account_events"
        indexes = (models.Index(F("created_at").desc(), name="idx_account_event_created"),)
        constraints = (
            one_of(
                "account_event",
                "event",
                [
                    "signed_in",
                    "verified",
                    "signed_out",
                    "refused",
                    "locked_out",
                    "factor_enrolled",
                    "codes_written",
                    "factor_removed",
                    "password_set",
                ],
            ),
        )

    def __str__(self) -> str:
        return f"{self.username}: {self.event}"
