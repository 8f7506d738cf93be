"""Telling people what the risk services found."""

from collections.abc import Iterable

from decisions import outbox
from risk.services import RiskNotice


def publish(notices: Iterable[RiskNotice]) -> None:
    """Each notice becomes an alert, published after the commit."""
    for notice in notices:
        outbox.record_alert(notice.severity, notice.category, notice.title, notice.detail, notice.action_taken)
