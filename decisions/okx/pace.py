"""How often one may ask: each of OKX's endpoints allows a number of requests in two seconds, to one address. Pure."""

from collections import deque
from enum import Enum

WINDOW_SECONDS = 2.2
"""OKX counts over two seconds. The rest is for requests that travel for different times."""


class Endpoint(Enum):
    """A path of the interface, and the requests that it allows in two seconds."""

    CANDLES = "market/candles", 40
    HISTORY_CANDLES = "market/history-candles", 20
    TICKER = "market/ticker", 20
    MARK_PRICE = "public/mark-price", 10
    FUNDING_RATE = "public/funding-rate", 10
    OPEN_INTEREST = "public/open-interest", 20
    INSTRUMENTS = "public/instruments", 20
    TIME = "public/time", 10

    def __init__(self, path: str, allowed: int) -> None:
        self.path = path
        self.allowed = allowed


class Allowance:
    """The requests that one endpoint still allows. Moments are seconds of a clock that only goes forward."""

    def __init__(self, allowed: int, window: float = WINDOW_SECONDS) -> None:
        self._granted: deque[float] = deque(maxlen=allowed)
        self._window = window
        self._rests_until = 0.0

    def claim(self, now: float) -> float:
        """Grant one request. Returns the seconds to wait before it may go."""
        at = max(now, self._rests_until)
        if self._granted and len(self._granted) == self._granted.maxlen:
            at = max(at, self._granted[0] + self._window)
        self._granted.append(at)
        return at - now

    def rest(self, until: float) -> None:
        """Grant nothing before `until`: the server has said that it was asked too often."""
        self._rests_until = max(self._rests_until, until)
