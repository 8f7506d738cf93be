"""The risk state on real Postgres against a reference that is worked out from the whole history, step by step.

Every verdict on an opening and every order sent or not is foretold by the reference; after every step what is stored of
the day's start, the peak, the losses in a row, the cooldown and the halts is what the reference says.
"""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.integration.risk.account_machine import SYMBOLS, Account


@pytest.fixture(autouse=True)
def surroundings(ready: Any) -> None:
    """Five instruments, the limits of the reference, and market orders that no slow machine lets expire."""
    ready.RISK_LIMITS = replace(ready.RISK_LIMITS, max_total_exposure_pct=Decimal("0.09"))
    ready.INSTRUMENTS = SYMBOLS
    ready.ORDER_TTL_MARKET_SECONDS = 3600


def run(examples: int, steps: int) -> None:
    patiently = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    run_state_machine_as_test(Account, settings=patiently)


@pytest.mark.timeout(900)  # a failure is shrunk for minutes
@pytest.mark.django_db(transaction=True)
def test_whatever_befalls_the_account_its_state_is_as_the_rules_say() -> None:
    run(examples=25, steps=50)


@pytest.mark.prove
@pytest.mark.timeout(3600)
@pytest.mark.django_db(transaction=True)
def test_so_it_is_after_twenty_thousand_steps() -> None:
    run(examples=100, steps=200)
