"""What a model answers when it looks back, as strict frozen values, and what may be believed of it. Pure.

`decisions.schemas` asks for these and reads them as it does the answers of a cycle. Two things are ours and never the
model's: whether a trade was won, and which version a playbook is.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from decisions.schemas import Answer, Paragraph, Regime, Sentences, any_case, bounded_text
from journal import playbook
from journal.playbook import REGIMES, CalibrationEntry, Lesson, Playbook, StrategyDefinition, TimeFilter, read_playbook

OutcomeName = Literal["win", "loss", "breakeven"]
Outcome = Annotated[OutcomeName, any_case(OutcomeName)]
_Quality = Literal["excellent", "good", "fair", "poor"]
Quality = Annotated[_Quality, any_case(_Quality)]
_Timing = Literal["early", "good", "late"]
Timing = Annotated[_Timing, any_case(_Timing)]
_Timeframe = Literal["15m", "1H", "4H"]
Timeframe = Annotated[_Timeframe, any_case(_Timeframe)]

Point = Annotated[str, *bounded_text(200, slack=2)]
Points = Annotated[tuple[Point, ...], Field(max_length=5)]


class TradeReview(Answer):
    """A closed trade judged with hindsight. Bounded so that tens of reviews fit into one deep reflection."""

    outcome: Outcome = Field(description="As result.outcome says: by the P&L net of fees and funding.")
    execution_quality: Quality = Field(
        description="How well the trade was decided and carried out, whatever it happened to earn."
    )
    entry_timing: Timing = Field(description="Early: the price went against it first. Late: most of the move was over.")
    exit_timing: Timing = Field(description="Early: the move went on. Late: much of the profit was given back.")
    what_went_right: Points
    what_went_wrong: Points
    lesson: Annotated[str, *bounded_text(300, slack=2)] = Field(
        description="One lesson for the next trade of this kind, in a sentence or two."
    )
    should_update_playbook: bool = Field(
        description="Whether the playbook should be changed for what this trade showed."
    )
    playbook_suggestion: Annotated[str, *bounded_text(300, slack=2)] | None = Field(
        description="The change of the playbook to consider with others' evidence; null for none."
    )

    @property
    def suggestion(self) -> str | None:
        """What is queued for the deep reflection, or None."""
        return (self.playbook_suggestion or None) if self.should_update_playbook else None


def outcome_of(pnl_usd: Decimal) -> OutcomeName:
    """What a net P&L is called: the same line that `journal.performance` draws."""
    if pnl_usd == 0:
        return "breakeven"
    return "win" if pnl_usd > 0 else "loss"


def why_invalid(review: TradeReview, pnl_usd: Decimal) -> str | None:
    """Why a review must not be learnt from although it has the right form, or None: it has to know what happened."""
    happened = outcome_of(pnl_usd)
    if review.outcome == happened:
        return None
    return f"the review calls the trade a {review.outcome}, and its net P&L of {pnl_usd} USD is a {happened}"


class ProposedRule(playbook.RegimeRule):
    """A regime's rule as a model writes it: its fixed words in any case."""

    regime: Regime
    preferred_timeframe: Timeframe


class ProposedPlaybook(Answer):
    """A playbook as a model proposes it: all but its version and its date, in the same named lists and bounds."""

    market_regime_rules: Annotated[tuple[ProposedRule, ...], Field(max_length=len(REGIMES))]
    strategy_definitions: Annotated[tuple[StrategyDefinition, ...], Field(min_length=1, max_length=20)]
    lessons_learned: Annotated[tuple[Lesson, ...], Field(max_length=60)]
    confidence_calibration: Annotated[tuple[CalibrationEntry, ...], Field(max_length=20)]
    time_filters: TimeFilter


class DeepReflectionResult(Answer):
    """What a batch of trades taught, and the playbook that follows from it."""

    updated_playbook: ProposedPlaybook = Field(
        description="The whole playbook as it should be from now on; what is left out of it is gone."
    )
    pattern_insights: Sentences = Field(description="What the figures show, each with the count it rests on.")
    bias_findings: Sentences = Field(description="Where the decisions lean one way without reason.")
    discipline_score: Annotated[
        int, Field(ge=0, le=100, description="Points from 0 (no rule was kept) to 100 (every rule was kept).")
    ]
    summary: Paragraph


def playbook_of(result: DeepReflectionResult, *, version: int, now: datetime) -> Playbook:
    """The playbook that a result proposes, as version `version` of market time `now`.

    Raises `journal.playbook.InvalidPlaybook` with every place and what is wrong there: what a model proposes is read
    like what a person types. The rest of the result keeps its worth.
    """
    document = result.updated_playbook.model_dump(mode="json")
    return read_playbook({**document, "version": version, "last_updated": now.astimezone(UTC).isoformat()})
