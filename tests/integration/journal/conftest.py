"""Fixtures of the journal's integration tests; the plain functions are in `playbooks.py`."""

from tests.integration.journal.playbooks import seeded

__all__ = ["seeded"]
