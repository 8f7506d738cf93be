"""The page of the risk state: how the account stands, and how people halt, resume and close everything.

It stands here and not beside the state, since it takes the market's clock, positions and orders.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from decisions import closing, exposure, operator_actions
from decisions.clock import now_for_record
from decisions.models import LIVE, Order
from decisions.risk_command.limits import limits_in_force
from journal.admin_actions import Action
from journal.admin_base import ReasonForm, offered_on, shown_on
from journal.presentation import (
    Meter,
    Meters,
    Notice,
    Section,
    Table,
    Tone,
    facts_of,
    label,
    pill,
    shown,
    table_of,
)
from risk.account_status import AccountStatus, Fall, account_status
from risk.admin import refusals_table
from risk.gate import WARN_SHARE
from risk.models import Halt, RiskAction, RiskRejection, RiskState
from risk.services import Refused, standing_halts

NEWEST = 20
TONES: dict[str, Tone] = {"running": "good", "cooldown": "warn", "halted": "bad", "unknown": "info"}
HALTS = ("kind", "started_at", "started_by", "reason", "until", "ended_at", "ended_by", "end_reason")
STANDING = ("kind", "started_at", "started_by", "until", "reason")
ACTIONS = ("created_at", "action", "by", "reason", "detail", "source", "market_time")
ORDERS = ("symbol", "action", "order_type", "size", "limit_price", "status", "created_at")


# --- how the account stands -------------------------------------------------------------------------------------------


@shown_on(RiskState)
def state_page(_: RiskState) -> Iterator[Section]:
    """The state in a sentence, the bars against their limits, the limits, and what happened lately."""
    status = account_status(now_for_record())
    yield Notice(title=status.sentence.replace("_", " "), text="\n".join(_causes(status)), tone=TONES[status.state])
    yield Meters(title="Against the limits", meters=[*_falls(status), _streak(status)])
    yield _limits()
    yield table_of("Halts", Halt.objects.order_by("-id")[:NEWEST], *HALTS)
    yield table_of("What people did", RiskAction.objects.order_by("-id")[:NEWEST], *ACTIONS)
    refused = RiskRejection.objects.select_related("verdict").order_by("-id")[:NEWEST]
    yield refusals_table(f"The last {NEWEST} refusals", refused)


def _causes(status: AccountStatus) -> Iterator[str]:
    """Why nothing is opened: every halt, and a cooldown behind them."""
    for halt in status.halts:
        ending = f"until {halt.until:%Y-%m-%d %H:%M} UTC" if halt.until else "until a person resumes"
        yield f"{label(halt.kind)} since {halt.since:%Y-%m-%d %H:%M} UTC by {halt.by}, {ending}: {halt.reason}"
    if status.halts and status.cooldown_until:
        yield f"Cooling down too, until {status.cooldown_until:%Y-%m-%d %H:%M} UTC."


def _falls(status: AccountStatus) -> list[Meter]:
    return [_fall("Today's loss", status.daily_loss), _fall("Drawdown", status.drawdown)]


def _fall(name: str, fall: Fall) -> Meter:
    share = "" if fall.used is None else f" {fall.used:.0%} of the limit is used up.".replace("%", " %")
    return Meter(name=name, used=fall.used, text=f"{fall.reason}{share}", tone=_tone(fall.used))


def _tone(used: Decimal | None) -> Tone:
    if used is None:
        return "info"
    return "bad" if used >= 1 else "warn" if used >= WARN_SHARE else "good"


def _streak(status: AccountStatus) -> Meter:
    used = Decimal(status.loss_streak) / status.losses_to_cooldown
    text = f"{status.loss_streak} in a row; {status.losses_to_cooldown} start a cooldown."
    return Meter(name="Losing trades", used=used, text=text, tone=_tone(used))


def _limits() -> Table:
    """The limits in force, read-only: where each comes from, and the bounds that no setting can pass."""
    rows = [
        [
            limit["name"],
            _amount(limit["name"], limit["value"]),
            pill(limit["source"]),
            *(_amount(limit["name"], limit[bound]) for bound in ("default", "floor", "ceiling")),
            shown("description", limit["description"], short=True),
        ]
        for limit in limits_in_force()
    ]
    headers = ("Limit", "Value", "Source", "Default", "Floor", "Ceiling", "Meaning")
    return Table(title="Limits in force, read from the environment when a process starts", headers=headers, rows=rows)


def _amount(name: str, text: str) -> str:
    """A limit's figure as everywhere in the admin; a floor may be words."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return shown(name, text, short=True)
    if name == "COOLDOWN_AFTER_LOSS_STREAK":
        return shown("cooldown_seconds", int(amount))
    return shown(name.lower(), amount)


# --- what people do ---------------------------------------------------------------------------------------------------


class ResumeForm(ReasonForm):
    """While a drawdown halt stands, the peak may be re-based with the resume; said explicitly."""

    rebase_peak = forms.BooleanField(
        required=False,
        widget=ReasonForm.checkbox_widget,
        label="Re-base the peak",
        label_suffix="",
        help_text=(
            "From now on the drawdown is measured from the equity as last reported. Needed to lift a drawdown halt"
            " while the drawdown is still at its limit or beyond."
        ),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if all(halt.kind != Halt.Kind.DRAWDOWN for halt in standing_halts()):
            del self.fields["rebase_peak"]


def _by_hand(action: Callable[..., str], _: RiskState, **given: Any) -> str:
    """Do it now, in the admin's name. What the facts stand against is told beside the form."""
    try:
        return action(source=RiskAction.Source.ADMIN, now=now_for_record(), **given)
    except Refused as refusal:
        raise ValidationError(str(refusal)) from refusal


def _openings(_: RiskState) -> Iterator[Section]:
    """What a halt stops."""
    orders = Order.objects.filter(status__in=LIVE, reduce_only=False).order_by("id")
    yield table_of("Openings under way: the unsent are dropped, limit orders withdrawn", orders, *ORDERS)


def _everything(state: RiskState) -> Iterator[Section]:
    """What a close-all leaves."""
    positions = exposure.positions(closing.reported())
    rows = [
        [
            each.symbol,
            pill(each.direction),
            shown("size", each.size),
            shown("notional_usd", each.notional_usd),
            shown("exit", closing.exit_in_flight(each.symbol)),
        ]
        for each in positions
    ]
    headers = ("Symbol", "Direction", "Contracts", "Notional USD", "Exit on its way already")
    yield Table(title="Positions to close", headers=headers, rows=rows)
    yield from _openings(state)


def _halts_standing(_: RiskState) -> Iterator[Section]:
    """What stands, and what the drawdown would be measured from."""
    now = now_for_record()
    status = account_status(now)
    yield Meters(title="Against the limits", meters=_falls(status))
    figures = {"peak_equity": status.peak_equity, "equity": status.equity, "reported_at": status.equity_at}
    yield facts_of("The peak, and the equity as last reported", figures)
    yield table_of("Halts that stand", standing_halts(now), *STANDING)


offered_on(
    RiskState,
    Action(
        name="halt",
        title="Halt trading",
        meaning="Nothing more is opened until a person resumes. Positions stay, their stops stay, exits go on.",
        tone="bad",
        permission="risk.halt_trading",
        form=ReasonForm,
        sections=_openings,
        carry_out=partial(_by_hand, operator_actions.halt),
    ),
    Action(
        name="close-all",
        title="Halt and close everything",
        meaning="Nothing more is opened until a person resumes, and every position is closed at market, reduce-only.",
        tone="bad",
        permission="risk.halt_trading",
        form=ReasonForm,
        sections=_everything,
        carry_out=partial(_by_hand, operator_actions.close_all),
    ),
    Action(
        name="resume",
        title="Resume trading",
        meaning=(
            "Lifts a person's halt and the drawdown's, both or none. The halt of a daily loss ends at 00:00 UTC and"
            " never before."
        ),
        tone="good",
        permission="risk.resume_trading",
        form=ResumeForm,
        sections=_halts_standing,
        carry_out=partial(_by_hand, operator_actions.resume),
    ),
)
