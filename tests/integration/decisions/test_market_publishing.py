from typing import Any

from decisions.messages import MARKET_ALERTS, MARKET_SNAPSHOTS
from decisions.sandbox.market import Step, publish_step
from decisions.sandbox.opening import open_market
from orchestrator_project import streams

SYMBOLS = ["BTC-USDT-SWAP", "ETH-USDT-SWAP", "SOL-USDT-SWAP"]


def step_with_an_alert() -> Step:
    market = open_market(instruments=SYMBOLS)
    while step := market.step():
        if any(update.alerts for update in step.updates):
            return step
    raise AssertionError("the generated market does not end")


def test_a_step_is_published_whole_and_only_once(redis_client: Any) -> None:
    step = step_with_an_alert()
    with streams.connect() as client:
        ids = publish_step(client, step)
        assert publish_step(client, step) == ids
    snapshots, alerts = (redis_client.xrange(stream) for stream in (MARKET_SNAPSHOTS, MARKET_ALERTS))
    assert len(snapshots) == 3
    assert len(alerts) == len(ids) - 3 > 0
    expected = {envelope.msg_id for _, envelope in step.envelopes()}
    assert {fields["msg_id"] for _, fields in snapshots + alerts} == expected
