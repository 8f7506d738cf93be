"""`manage.py risk status`: the account against its limits."""

import json
from argparse import ArgumentParser
from decimal import Decimal
from typing import Any

from decisions.clock import now_for_record
from decisions.risk_command import DONE, Say
from decisions.risk_command.layout import bar, moment, money, percent
from orchestrator_project.terminal import columns
from risk.account_status import AccountStatus, Fall, StandingHalt, account_status

HELP = "the state in a sentence, today's loss and the drawdown against their limits, streak, cooldown, halts"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(options: dict[str, Any], say: Say) -> int:
    found = account_status(now_for_record())
    say(json.dumps(found.as_dict(), indent=2) if options["json"] else as_text(found))
    return DONE


def as_text(found: AccountStatus) -> str:
    """The status as lines: the sentence, the figures, the halts."""
    figures = [
        ("market time", moment(found.now)),
        ("equity", _dated(found.equity, moment(found.equity_at))),
        ("day start", _dated(found.day_start_equity, found.day)),
        ("peak", money(found.peak_equity)),
        ("today", _fall(found.daily_loss)),
        ("drawdown", _fall(found.drawdown)),
        ("loss streak", f"{found.loss_streak} in a row, {found.losses_to_cooldown} start a cooldown"),
        ("cooldown", "none" if found.cooldown_until is None else f"until {moment(found.cooldown_until)}"),
        ("halts", "none" if not found.halts else str(len(found.halts))),
    ]
    return "\n".join([found.sentence, "", *columns(figures), *_halts(found.halts)])


def _dated(amount: Decimal | None, when: str | None) -> str:
    return money(amount) if amount is None else f"{money(amount)}, {when}"


def _fall(fall: Fall) -> str:
    if fall.measured is None or fall.used is None:
        return f"{fall.reason[:1].upper()}{fall.reason[1:]}".replace("_", " ")
    return f"{bar(fall.used)} {percent(fall.measured)} of {percent(fall.limit)}"


def _halts(halts: tuple[StandingHalt, ...]) -> list[str]:
    if not halts:
        return []
    rows = [
        (each.kind, moment(each.since), each.by, moment(each.until) if each.until else "a person", each.reason)
        for each in halts
    ]
    return ["", *columns([("halt", "since", "by", "ended by", "reason"), *rows])]
