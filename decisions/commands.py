"""Commands that a person sends through the UI: applied or refused, and kept either way."""

from datetime import timedelta

from django.conf import settings

from decisions import orders
from decisions.clock import now_for_record, wall_now
from decisions.messages import SystemCommand
from decisions.models import Command, ResearchRequest, ScreenerSwitch
from decisions.notices import publish
from risk import services as risk
from risk.models import Halt

OLDEST = timedelta(seconds=300)
SWITCHES = ("SCREENER_ENABLED", "SCREENER_BYPASS_ON_POSITION", "SCREENER_BYPASS_ON_NEWS")


class Refused(ValueError):
    """The command is not carried out; the text says why."""


def carry_out(message: SystemCommand) -> None:
    """Carry a command out, or refuse it with the reason. Both are kept."""
    actions = {"halt": _halt, "resume": _resume, "research": _research, "config": _config}
    try:
        if message.command != "halt" and abs(wall_now() - message.issued_at) > OLDEST:
            raise Refused(f"issued more than {OLDEST.seconds} seconds ago, or ahead")
        detail, accepted = actions[message.command](message), True
    except Refused as refusal:
        detail, accepted = str(refusal), False
    Command.objects.create(
        command=message.command,
        args=_plain(message.args),
        issued_by=message.issued_by,
        issued_at=message.issued_at,
        accepted=accepted,
        detail=detail,
    )


def _plain(value: object) -> object:
    """Arguments as JSON can keep them: their numbers were read as Decimals."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value if isinstance(value, str | bool | int) or value is None else str(value)


def _reason(message: SystemCommand) -> str:
    reason = message.args.get("reason")
    if not isinstance(reason, str) or not reason.strip():
        raise Refused("args.reason is missing")
    return reason.strip()[:1000]


def _halt(message: SystemCommand) -> str:
    reason = message.args.get("reason")
    told = str(reason)[:1000] if reason else "no reason given"
    risk.lock_state()
    publish(risk.begin_halt(Halt.Kind.MANUAL, told, now=now_for_record(), by=message.issued_by))
    orders.withdraw_working("a person halted trading")
    return told


def _resume(message: SystemCommand) -> str:
    reason = _reason(message)
    risk.lock_state()
    lifted = risk.resume(now=now_for_record(), by=message.issued_by, reason=reason)
    return f"lifted: {', '.join(halt.kind for halt in lifted) or 'nothing'}"


def _research(message: SystemCommand) -> str:
    symbol = message.args.get("symbol")
    if symbol not in settings.INSTRUMENTS:
        raise Refused(f"args.symbol must be one of {', '.join(settings.INSTRUMENTS)}")
    ResearchRequest.objects.create(symbol=symbol, requested_by=message.issued_by)
    return f"the next cycle of {symbol} researches"


def _config(message: SystemCommand) -> str:
    unknown = set(message.args) - set(SWITCHES)
    if unknown or not message.args:
        raise Refused(f"only {', '.join(SWITCHES)} may be set")
    if not all(isinstance(value, bool) for value in message.args.values()):
        raise Refused("values must be true or false")
    for name, value in message.args.items():
        ScreenerSwitch.objects.create(name=name, value=value, changed_by=message.issued_by)
    return ", ".join(f"{name}={value}" for name, value in message.args.items())
