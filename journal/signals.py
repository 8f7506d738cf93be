"""What the record tells the apps above it."""

from django.dispatch import Signal

trade_closed = Signal()
"""Sent after the commit that closed a trade, with `trade_id` (the row's primary key)."""
