"""A command counts when the key's owner signed exactly it, lately; anything else is refused with the reason."""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from decisions import command_signature
from decisions.command_signature import check_signature, sign, signed_text
from decisions.messages import BadMessage, Envelope, decode

KEY = "k" * 32
NOW = datetime(2026, 2, 7, 10, 30, tzinfo=UTC)
AT = "2026-02-07T10:30:00Z"
DAY = timedelta(days=1)
PAYLOAD: dict[str, Any] = {
    "command": "halt",
    "args": {"reason": "the news: «größer»"},
    "issued_by": "ada",
    "issued_at": AT,
}


def envelope(**changes: Any) -> Envelope:
    """A command as it was signed, changed afterwards."""
    signed_at = changes.pop("signed_at", AT)
    signature = changes.pop("signature", sign(KEY, "id-1", signed_at, PAYLOAD))
    metadata = {"signed_at": signed_at, "signature": signature}
    members: dict[str, Any] = {
        "msg_id": "id-1", "timestamp": AT, "source": "ui", "type": "system_command", "payload": PAYLOAD,
        "metadata": metadata,
    }  # fmt: skip
    return Envelope.model_validate(members | changes)


def check(signed: Envelope, now: datetime = NOW) -> None:
    check_signature(signed, key=KEY, now=now, remembered=DAY)


def test_what_the_key_signed_counts() -> None:
    check(envelope())


def test_the_signature_is_that_of_the_standard() -> None:
    """Computed from its definition, RFC 2104, without the module that we use; and the text to the letter."""
    text = (
        'id-1\n2026-02-07T10:30:00Z\n{"args":{"reason":"the news: \\u00abgr\\u00f6\\u00dfer\\u00bb"},"command":"halt",'
        '"issued_at":"2026-02-07T10:30:00Z","issued_by":"ada"}'
    )
    assert signed_text("id-1", AT, PAYLOAD) == text
    block = KEY.encode().ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block) + text.encode()).digest()
    assert sign(KEY, "id-1", AT, PAYLOAD) == hashlib.sha256(bytes(byte ^ 0x5C for byte in block) + inner).hexdigest()


@pytest.mark.parametrize(
    "changes",
    [
        {"msg_id": "id-2"},
        {"payload": PAYLOAD | {"command": "resume"}},
        {"payload": PAYLOAD | {"issued_by": "eve"}},
        {"payload": PAYLOAD | {"args": {}}},
        {"payload": PAYLOAD | {"more": 1}},
        {"signature": "0" * 64},
        {"signature": ""},
        {"signature": "«"},
        {"signature": sign("j" * 32, "id-1", AT, PAYLOAD)},
        {"metadata": {"signed_at": "2026-02-07T10:29:59Z", "signature": sign(KEY, "id-1", AT, PAYLOAD)}},
    ],
    ids=str,
)
def test_what_was_changed_or_signed_by_another_key_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(BadMessage, match="signature is wrong"):
        check(envelope(**changes))


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"signature": "0" * 64},
        {"signed_at": AT},
        {"signed_at": AT, "signature": None},
        {"signed_at": 1, "signature": "0"},
    ],
)
def test_what_is_not_signed_is_refused(metadata: dict[str, Any]) -> None:
    with pytest.raises(BadMessage, match="the command is not signed"):
        check(envelope(metadata=metadata))


@pytest.mark.parametrize(("seconds", "counts"), [(86_400, True), (86_401, False), (-60, True), (-61, False), (0, True)])
def test_what_is_too_old_to_be_remembered_or_ahead_is_refused(seconds: int, counts: bool) -> None:
    now = NOW + timedelta(seconds=seconds)
    if counts:
        check(envelope(), now)
        return
    with pytest.raises(BadMessage, match="too long ago, or ahead"):
        check(envelope(), now)


@pytest.mark.parametrize("signed_at", ["yesterday", "2026-02-07T10:30:00", "0001-01-01T00:00:00+14:00", ""])
def test_a_time_that_is_none_is_told(signed_at: str) -> None:
    with pytest.raises(BadMessage, match="is no time with its zone"):
        check(envelope(signed_at=signed_at))


def test_either_form_of_an_entry_carries_the_signature() -> None:
    signed = envelope()
    check(decode({b"data": signed.model_dump_json().encode()}))


def test_numbers_as_we_read_them_are_signed_as_they_are_written() -> None:
    assert signed_text("id", AT, {"a": Decimal("1.10"), "b": 2, "c": True}).endswith('{"a":"1.10","b":2,"c":true}')


def test_the_comparison_takes_as_long_whatever_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    compare = hmac.compare_digest

    def noted(*both: bytes) -> bool:
        compared.append(both)
        return compare(*both)

    monkeypatch.setattr(command_signature.hmac, "compare_digest", noted)
    check(envelope())
    assert len(compared) == 1
