"""The Celery application of the benchmarks: the real one, with a model that answers at once and six empty tasks.

SIM0 is always opened, every other instrument is analysed and held, so that a cycle of SIM0 ends in an order and the
others measure how many cycles a second go through. BENCH_SCREEN_SECONDS and BENCH_ANALYZE_SECONDS have the model think
for so long.
"""

import os
import time
from typing import Any

import django
from celery import current_app, shared_task, signals

from orchestrator_project.celery import app as app

django.setup()

from decisions import outbox  # noqa: E402 - models can be imported only now
from decisions.sandbox.offline_model import user_text  # noqa: E402 - beside it

HOPS = ("cycle", "screen", "research", "analyze", "risk", "execute")
DONE_STREAM = "bench:done"
OPENED = "SIM0-USDT-SWAP"


def instant(request: dict[str, Any]) -> dict[str, Any]:
    """An answer without a thought: a signal, and OPEN_LONG for SIM0 or HOLD for the others."""
    question = user_text(request)
    if "technical_indicators" not in question:
        time.sleep(float(os.environ.get("BENCH_SCREEN_SECONDS", 0)))
        return {"signal": True, "reason": "instant"}
    time.sleep(float(os.environ.get("BENCH_ANALYZE_SECONDS", 0)))
    opens = f'"{OPENED}"' in question
    symbol = OPENED if opens else question.partition('"symbol":"')[2].partition('"')[0]
    return {
        "analysis": {"market_regime": "ranging", "bias": "neutral", "key_observations": [], "risk_factors": []},
        "decision": {
            "action": "OPEN_LONG" if opens else "HOLD",
            "symbol": symbol,
            "size_pct": 0.02 if opens else 0,
            "entry_price": None,
            "stop_loss": 98.5 if opens else None,
            "take_profit": 103.0 if opens else None,
            "order_type": "market",
            "limit_price": None,
            "leverage": None,
            "research_request": None,
            "cited_facts": [{"path": "symbol", "value": symbol}],
        },
        "confidence": 0.5,
        "strategy_used": "momentum_breakout" if opens else "none",
        "reasoning": "instant",
    }


@signals.worker_process_init.connect
def _answer_at_once(**_: Any) -> None:
    from decisions.sandbox import offline_transport

    offline_transport.ANSWERS = dict.fromkeys(offline_transport.ANSWERS, instant)


@shared_task(name="bench.hop")
def hop(place: int) -> None:
    """One of six empty tasks, each on its own queue; the last leaves a mark."""
    if place + 1 < len(HOPS):
        current_app.send_task("bench.hop", args=(place + 1,), queue=HOPS[place + 1])
    else:
        outbox.redis_client().xadd(DONE_STREAM, {"at": str(time.time())})
