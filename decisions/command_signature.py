"""Who may command: signatures of `system_command` messages by a key that the sender shares with us.

Signed are the `msg_id`, `metadata.signed_at` and the payload, so that none can be changed or used for another message.
The signature is HMAC-SHA-256 (RFC 2104), in hexadecimal digits, in `metadata.signature`; what goes into it is
`signed_text`. A message id takes effect once, and what is too old to be remembered is refused: so nothing signed once
can be played again.
"""

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from decisions.messages import BadMessage, Envelope

AHEAD = timedelta(seconds=60)
"""How far a sender's clock may be ahead of ours."""


def signed_text(msg_id: str, signed_at: str, payload: dict[str, Any]) -> str:
    """What is signed: a line each for id and time as sent, then the payload as JSON with its keys in order, without
    spaces and with nothing but ASCII. Fractions are strings there, as in all our messages."""
    return f"{msg_id}\n{signed_at}\n{json.dumps(payload, sort_keys=True, separators=(',', ':'), default=str)}"


def sign(key: str, msg_id: str, signed_at: str, payload: dict[str, Any]) -> str:
    """The signature, in hexadecimal digits."""
    text = signed_text(msg_id, signed_at, payload).encode(errors="backslashreplace")
    return hmac.new(key.encode(), text, hashlib.sha256).hexdigest()


def check_signature(envelope: Envelope, *, key: str, now: datetime, remembered: timedelta) -> None:
    """Raises `BadMessage` unless the command was signed by the key, at a time from which a message that took effect
    would still be `remembered`; `now` is the wall clock."""
    signature, signed_at = (envelope.metadata.get(name) for name in ("signature", "signed_at"))
    if not isinstance(signature, str) or not isinstance(signed_at, str):
        raise BadMessage("the command is not signed: metadata.signature and metadata.signed_at are needed")
    expected = sign(key, envelope.msg_id, signed_at, envelope.payload)
    if not hmac.compare_digest(expected.encode(), signature.encode(errors="replace")):
        raise BadMessage("the command's signature is wrong: another key, or it was changed after it was signed")
    age = now - _moment(signed_at)
    if not -AHEAD <= age <= remembered:
        raise BadMessage(f"the command was signed at {signed_at}: too long ago, or ahead; it may be an old one again")


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise BadMessage(f"metadata.signed_at {text[:40]!r} is no time with its zone, as ISO 8601 has it")
