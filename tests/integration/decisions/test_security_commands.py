"""With a key for commands, the stream takes what was signed by it, once; without one, as ever."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
from pytest_django import Settings

from decisions.command_signature import sign
from decisions.consumer import GROUP, Consumer
from decisions.messages import SYSTEM_ALERTS
from decisions.models import Command, DeadLetter
from orchestrator_project import streams
from orchestrator_project.group_reader import GroupReader
from risk import services as risk
from tests.integration.decisions.build import alerts, command_payload

pytestmark = [pytest.mark.django_db(transaction=True)]
KEY = "a key of thirty-two characters .."


@pytest.fixture(autouse=True)
def keyed(settings: Settings, redis_client: "redis.Redis") -> None:
    settings.COMMAND_HMAC_KEY = KEY


def entry(command: str = "halt", *, key: str = KEY, age: timedelta = timedelta(0), **args: Any) -> dict[str, str]:
    """A signed command as an entry's fields."""
    at = datetime.now(UTC) - age
    signed_at = at.isoformat()
    payload = command_payload(command, at, **{"reason": "the news", **args})
    msg_id = uuid4().hex
    return {
        "msg_id": msg_id,
        "timestamp": signed_at,
        "source": "ui",
        "type": "system_command",
        "payload": json.dumps(payload),
        "metadata": json.dumps({"signed_at": signed_at, "signature": sign(key, msg_id, signed_at, payload)}),
    }


def unsigned(command: str = "halt") -> dict[str, str]:
    return {**entry(command), "metadata": "{}"}


def heard(client: "redis.Redis", *entries: dict[str, str]) -> list[str]:
    """What is dead of these entries, and why."""
    for fields in entries:
        client.xadd(SYSTEM_ALERTS, fields)  # type: ignore[arg-type]
    reader = GroupReader(
        streams.connect_reader(0.01), group=GROUP, consumer="test", streams=[SYSTEM_ALERTS], block_seconds=0.01
    )
    reader.create_groups()
    while Consumer(reader).step():
        pass
    return list(DeadLetter.objects.order_by("id").values_list("reason", flat=True))


def standing() -> int:
    return len(risk.standing_halts())


def test_a_signed_command_is_carried_out(redis_client: "redis.Redis") -> None:
    assert heard(redis_client, entry()) == []
    assert (standing(), Command.objects.get().accepted) == (1, True)


@pytest.mark.parametrize("command", ["halt", "resume", "research", "config"])
def test_an_unsigned_command_is_refused_even_a_halt(redis_client: "redis.Redis", command: str) -> None:
    (reason,) = heard(redis_client, unsigned(command))
    assert reason.startswith("the command is not signed")
    assert (standing(), Command.objects.count()) == (0, 0)
    assert len(alerts(f"dead_letter:{SYSTEM_ALERTS}")) == 1


def test_a_command_by_another_key_is_refused(redis_client: "redis.Redis") -> None:
    (reason,) = heard(redis_client, entry(key="j" * 32))
    assert reason.startswith("the command's signature is wrong")
    assert standing() == 0


def test_a_command_that_is_played_again_is_refused(redis_client: "redis.Redis") -> None:
    halted = entry()
    assert heard(redis_client, halted, entry("resume")) == []
    (reason,) = heard(redis_client, halted)
    assert "came before" in reason
    assert standing() == 0


def test_a_command_is_not_played_again_under_another_id(redis_client: "redis.Redis") -> None:
    (reason,) = heard(redis_client, {**entry(), "msg_id": "another"})
    assert reason.startswith("the command's signature is wrong")


def test_a_command_from_before_the_inbox_began_is_refused_even_a_halt(
    redis_client: "redis.Redis", settings: Settings
) -> None:
    """Its id would not be remembered any more."""
    old = timedelta(seconds=settings.STREAM_RETENTION_SECONDS + 1)
    (reason,) = heard(redis_client, entry(age=old))
    assert "too long ago" in reason
    assert heard(redis_client, entry(age=timedelta(hours=1))) == [reason]  # a late halt counts all the same
    assert standing() == 1


def test_what_is_refused_keeps_nobody_else_from_using_its_id(redis_client: "redis.Redis") -> None:
    signed = entry()
    heard(redis_client, {**signed, "metadata": "{}"})
    heard(redis_client, signed)
    assert standing() == 1


def test_without_a_key_nothing_has_to_be_signed(redis_client: "redis.Redis", settings: Settings) -> None:
    settings.COMMAND_HMAC_KEY = ""
    assert heard(redis_client, unsigned()) == []
    assert standing() == 1


def test_the_example_of_the_documentation_signs(redis_client: "redis.Redis") -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "streams.md").read_text()
    code = re.search(r"```python\n(.*?)\n\ncommand\(", text, re.DOTALL)[1]
    example: dict[str, Any] = {}
    exec(code, example)  # noqa: S102 - what the documentation tells people to run
    for by in ("ada", "größte"):
        example["command"](redis_client, KEY, "halt", by, reason="the «news»", more={"n": 1, "rate": "0.10"})
    assert heard(redis_client) == []
    assert list(Command.objects.values_list("issued_by", "accepted")) == [("ada", True), ("größte", True)]
