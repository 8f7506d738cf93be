"""Database constraints that several tables need."""

from collections.abc import Iterable

from django.db.models import CheckConstraint, Q


def one_of(name: str, field: str, values: Iterable[str]) -> CheckConstraint:
    """The column holds one of a closed set of words (or null, where it may be)."""
    return CheckConstraint(condition=Q(**{f"{field}__in": list(values)}), name=name)
