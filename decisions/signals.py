"""What the cycles tell the apps above."""

from django.dispatch import Signal

cycle_analysed = Signal()
"""Sent after the commit of an analysis that can be acted on, with `cycle_id`. Audits of the screener are not among
them. Whoever listens keeps nothing back: the cycle goes on without them."""
