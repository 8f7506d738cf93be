"""Contract terms of the instruments that the sandbox trades.

BTC and ETH are OKX's public instrument list as recorded on 2026-09-25. The others carry OKX's contract values (base
coin a contract) as its API clients quote them, with the 0.01 contract lots of the recorded two; they have not been
recorded and serve the sandbox only. Ticks are the finest that the historical candles show (SOL and DOGE were quoted one
digit finer in 2022 than later), so that every recorded price is a multiple of its tick. A live market's snapshots carry
the exchange's own terms.
"""

import re
from collections.abc import Mapping
from decimal import Decimal

from decisions.messages import InstrumentSpecification

MOST_SIMULATED = 50
_SIMULATED = re.compile(r"^SIM([1-9][0-9]?)-USDT-SWAP$")


class UnknownInstrumentError(ValueError):
    """A symbol whose contract terms are not known. The text says which are."""


def _terms(ct_val: str, tick_size: str) -> InstrumentSpecification:
    lot = Decimal("0.01")
    return InstrumentSpecification(ct_val=Decimal(ct_val), lot_size=lot, min_size=lot, tick_size=Decimal(tick_size))


SPECIFICATIONS: Mapping[str, InstrumentSpecification] = {
    "BTC-USDT-SWAP": _terms("0.01", "0.1"),
    "ETH-USDT-SWAP": _terms("0.1", "0.01"),
    "SOL-USDT-SWAP": _terms("1", "0.001"),
    "BNB-USDT-SWAP": _terms("0.01", "0.1"),
    "XRP-USDT-SWAP": _terms("100", "0.0001"),
    "DOGE-USDT-SWAP": _terms("1000", "0.000001"),
    "ADA-USDT-SWAP": _terms("100", "0.0001"),
    "AVAX-USDT-SWAP": _terms("1", "0.001"),
    "LINK-USDT-SWAP": _terms("1", "0.001"),
    "LTC-USDT-SWAP": _terms("1", "0.01"),
}
_SIMULATED_TERMS = _terms("1", "0.001")


def specification(symbol: str) -> InstrumentSpecification:
    """The terms of `symbol`, or of `SIM1-USDT-SWAP` to `SIM50-USDT-SWAP`, which exist in the generated market only.

    Raises `UnknownInstrumentError`.
    """
    if symbol in SPECIFICATIONS:
        return SPECIFICATIONS[symbol]
    simulated = _SIMULATED.match(symbol)
    if simulated and int(simulated[1]) <= MOST_SIMULATED:
        return _SIMULATED_TERMS
    raise UnknownInstrumentError(
        f"no contract terms are known for {symbol}: the sandbox has {', '.join(SPECIFICATIONS)} "
        f"and SIM1-USDT-SWAP to SIM{MOST_SIMULATED}-USDT-SWAP; add a line to decisions/sandbox/instruments.py"
    )
