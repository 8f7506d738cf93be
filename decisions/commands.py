"""Commands that a person sends through the UI: applied or refused, and kept either way."""

from datetime import timedelta

from django.conf import settings

from decisions import operator_actions
from decisions.clock import now_for_record, wall_now
from decisions.messages import SystemCommand
from decisions.models import Command, ResearchRequest, ScreenerSwitch
from risk.models import RiskAction
from risk.services import Refused

OLDEST = timedelta(seconds=300)
SWITCHES = ("SCREENER_ENABLED", "SCREENER_BYPASS_ON_POSITION", "SCREENER_BYPASS_ON_NEWS")


def carry_out(message: SystemCommand) -> None:
    """Carry a command out, or refuse it with the reason. Both are kept."""
    message = _storable(message)
    actions = {"halt": _halt, "resume": _resume, "research": _research, "config": _config}
    try:
        if message.command != "halt" and abs(wall_now() - message.issued_at) > OLDEST:
            raise Refused(f"issued more than {OLDEST.seconds} seconds ago, or ahead")
        detail, accepted = actions[message.command](message), True
    except Refused as refusal:
        detail, accepted = str(refusal), False
    Command.objects.create(
        command=message.command,
        args=message.args,
        issued_by=message.issued_by,
        issued_at=message.issued_at,
        accepted=accepted,
        detail=detail,
    )


def _storable(message: SystemCommand) -> SystemCommand:
    """The command as the database can keep it: a halt must not fail for a character in its reason, nor for want of a
    name."""
    named = _text(message.issued_by).strip() or "nobody named"
    return message.model_copy(update={"issued_by": named, "args": _plain(message.args)})


def _plain(value: object) -> object:
    """Arguments as JSON can keep them: their numbers were read as Decimals."""
    if isinstance(value, dict):
        return {_text(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, str):
        return _text(value)
    return value if isinstance(value, bool | int) or value is None else str(value)


def _text(value: object) -> str:
    return str(value).replace("\x00", "\ufffd").encode(errors="replace").decode()


def _reason(message: SystemCommand) -> str:
    reason = message.args.get("reason")
    if not isinstance(reason, str) or not reason.strip():
        raise Refused("args.reason is missing")
    return reason.strip()[:1000]


def _halt(message: SystemCommand) -> str:
    reason = message.args.get("reason")
    told = str(reason).strip()[:1000] if reason else ""
    done = operator_actions.halt(
        by=message.issued_by,
        reason=told or "no reason given",
        source=RiskAction.Source.STREAM,
        now=now_for_record(),
    )
    if message.args.get("close_all"):
        done += " Nothing is closed from the stream: use the admin, or `manage.py risk halt --close-all`."
    return done


def _resume(message: SystemCommand) -> str:
    return operator_actions.resume(
        by=message.issued_by,
        reason=_reason(message),
        source=RiskAction.Source.STREAM,
        now=now_for_record(),
        rebase_peak="rebase_peak" in message.args,
    )


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
