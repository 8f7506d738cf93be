"""The fault plan: what goes wrong at the simulated venue, how often, and to whom.

Whether a fault befalls an order or a message follows from the plan's seed and the identity of what it would befall, by
a hash. So a venue that is stopped in the middle and started again goes on with the same plan, and two accounts to which
the same happens have the same faults.
"""

from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Seconds = Annotated[float, Field(strict=True, gt=0, le=3600)]
"""Of wall time."""

FaultName = Literal[
    "drop_fill", "delay_fill", "duplicate_fill", "reorder_fills", "lose_reply", "reject", "partial_fill", "late_stop",
    "no_stop", "lag_positions", "disagree_positions",
]  # fmt: skip


class Fault(BaseModel):
    """A fault and the share, from 0 to 1, of what it could befall."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: Share


class TimedFault(Fault):
    """A fault that passes after so many seconds."""

    seconds: Seconds


class Duplicate(Fault):
    """`same_message` is the share of the duplicates that come under the message id of the original."""

    same_message: Share = 0.0


class PartialFill(Fault):
    """`cancel_rest` is the share of the partial fills whose last part is cancelled instead of executed."""

    cancel_rest: Share = 0.0


class Lag(TimedFault):
    """`repeat` is the share of the late updates that come at once, with the state before the newest change."""

    repeat: Share = 0.0


class Disagreement(Fault):
    """It lasts for so many messages of the venue in a row."""

    messages: Annotated[int, Field(strict=True, ge=1, le=1000)]


def _spelt_out(value: Any) -> Any:
    """A bare number is the share."""
    return {"share": value} if isinstance(value, int | float) else value


Plain = Annotated[Fault, BeforeValidator(_spelt_out)]
_NEVER = Fault(share=0.0)


class FaultPlan(BaseModel):
    """The faults of a venue; a plan that names none has none. What each does is told in docs/failures.md."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: Annotated[int, Field(strict=True)] = 0
    drop_fill: Plain = _NEVER
    delay_fill: Annotated[TimedFault, BeforeValidator(_spelt_out)] = TimedFault(share=0.0, seconds=1.0)
    duplicate_fill: Annotated[Duplicate, BeforeValidator(_spelt_out)] = Duplicate(share=0.0)
    reorder_fills: Annotated[TimedFault, BeforeValidator(_spelt_out)] = TimedFault(share=0.0, seconds=1.0)
    lose_reply: Plain = _NEVER
    reject: Plain = _NEVER
    partial_fill: Annotated[PartialFill, BeforeValidator(_spelt_out)] = PartialFill(share=0.0)
    late_stop: Annotated[TimedFault, BeforeValidator(_spelt_out)] = TimedFault(share=0.0, seconds=1.0)
    no_stop: Plain = _NEVER
    lag_positions: Annotated[Lag, BeforeValidator(_spelt_out)] = Lag(share=0.0, seconds=1.0)
    disagree_positions: Annotated[Disagreement, BeforeValidator(_spelt_out)] = Disagreement(share=0.0, messages=1)

    @property
    def quiet(self) -> bool:
        """Whether nothing goes wrong."""
        return all(fault.share == 0 for name in FAULT_NAMES if isinstance(fault := getattr(self, name), Fault))

    def befalls(self, fault: FaultName, identity: str) -> bool:
        share = float(getattr(self, fault).share)
        return share > 0 and self.draw(fault, identity) < share

    def draw(self, purpose: str, identity: str) -> float:
        """A number from 0 to below 1, always the same for one seed, purpose and identity."""
        digest = sha256(f"{self.seed}/{purpose}/{identity}".encode()).digest()
        return int.from_bytes(digest[:6]) / 2**48  # 48 bits: exact in a float, so never rounded up to 1

    def stop_after(self, order: str) -> float | None:
        """Seconds from an order's first execution until its stop stands: 0 at once, None never."""
        if self.befalls("no_stop", order):
            return None
        return self.late_stop.seconds if self.befalls("late_stop", order) else 0.0

    def parts_of(self, order: str) -> int:
        """In how many parts a market order is executed: 1 when it is whole."""
        if not self.befalls("partial_fill", order):
            return 1
        return 2 + int(self.draw("parts", order) * 2)

    def cancels_rest(self, order: str) -> bool:
        """Whether the last of an order's parts is cancelled instead of executed."""
        return self.draw("cancel_rest", order) < self.partial_fill.cancel_rest


FAULT_NAMES = tuple(name for name in FaultPlan.model_fields if name != "seed")
NO_FAULTS = FaultPlan()
