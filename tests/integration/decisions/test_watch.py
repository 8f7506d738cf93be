"""What runs beside the consumer: round after round, whatever one of them meets, until it is stopped."""

import threading

import pytest
import redis
from django.db import OperationalError

from decisions.alerts_out import watch


@pytest.mark.parametrize("met", [OperationalError("away"), redis.ConnectionError("away"), ValueError("a mistake")])
def test_a_round_that_fails_does_not_end_the_watch(met: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[int] = []
    third = threading.Event()

    def look_and_deliver() -> None:
        rounds.append(1)
        if len(rounds) < 3:
            raise met
        third.set()

    monkeypatch.setattr(watch, "EVERY_SECONDS", 0.001)
    monkeypatch.setattr(watch, "look_and_deliver", look_and_deliver)
    running = watch.Watch()
    running.start()
    assert third.wait(10)
    running.stop()
    running.join(10)
    assert not running.is_alive()
