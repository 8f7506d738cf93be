"""The account's state in a sentence, and everything else that a person should know first. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from decisions.dashboard.facts import Facts, Halt, Heard
from decisions.dashboard.lookups import state_page, today
from decisions.dashboard.parts import Addresses, Tone
from decisions.dashboard.words import moment
from journal.wording import duration

STATE_TONES: Mapping[str, Tone] = {"running": "good", "cooldown": "warn", "halted": "bad", "unknown": "info"}
NAMED = 4
"""Things out of date that are named; the others are counted."""
KINDS = {"daily_loss": "daily loss", "drawdown": "drawdown", "manual": "by hand"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A sentence that leads to what it tells of."""

    text: str
    address: str
    tone: Tone


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """Whether real money moves, and the account's state in a sentence; then everything else that keeps it from
    trading, or that waits for a person."""

    mode: str
    meaning: str
    is_live: bool
    sentence: str
    tone: Tone
    address: str
    lines: tuple[Line, ...]


def headline(facts: Facts, to: Addresses) -> Headline:
    """A system that has fallen silent is not shown as running, whatever its state was when it was last heard of."""
    lines = tuple(_lines(facts, to))
    tone = STATE_TONES[facts.account.state]
    if tone == "good" and any(line.tone == "bad" for line in lines):
        tone = "bad"
    elif tone == "good" and lines:
        tone = "warn"
    return Headline(
        mode="LIVE" if facts.is_live else "SANDBOX",
        meaning="real money moves" if facts.is_live else "no real money moves",
        is_live=facts.is_live,
        sentence=_sentence(facts),
        tone=tone,
        address=state_page(facts.account, to),
        lines=lines,
    )


def _sentence(facts: Facts) -> str:
    account, now = facts.account, facts.now
    if account.halts:
        halts = "; ".join(_halted(halt, now) for halt in account.halts)
        return f"Halted {halts}. Nothing is opened, exits go on."
    if account.cooldown_until is not None:
        left = duration(account.cooldown_until - now)
        return f"Cooling down until {moment(account.cooldown_until)}, {left} more. Nothing is opened, exits go on."
    if facts.stale and account.state == "running":
        if len(facts.stale) == len(facts.heard):
            return "Silent: nothing new comes in. It was running when last heard of."
        return "Running, but not everything is up to date."
    return account.sentence


def _halted(halt: Halt, now: datetime) -> str:
    """Why, since when, by whom and until when."""
    ending = f"until {moment(halt.until)}" if halt.until else "until a person resumes"
    since = f"since {moment(halt.since)} ({duration(now - halt.since)})"
    return f"({KINDS.get(halt.kind, halt.kind)}) {since} by {halt.by}, {ending}: {halt.reason.rstrip('.')}"


def _lines(facts: Facts, to: Addresses) -> Iterator[Line]:
    if facts.stale:
        named = [f"{each.name} {_age(each, facts.wall)}" for each in facts.stale]
        further = [f"{len(named) - NAMED} more"] if len(named) > NAMED else []
        yield Line(text=f"Out of date: {', '.join(named[:NAMED] + further)}.", address="#panel-heard", tone="bad")
    account = facts.account
    if account.halts and account.cooldown_until:
        text = f"Cooling down too, until {moment(account.cooldown_until)}."
        yield Line(text=text, address=state_page(account, to), tone="warn")
    if not facts.spending.budget.allows_openings:
        text = f"The day's money for models is spent: {facts.spending.budget}. Nothing is opened."
        yield Line(text=text, address=to.rows("decisions.modelcall", **today(facts.now)), tone="warn")
    for trouble in facts.troubles:
        if trouble.count:
            yield Line(text=f"{trouble.what}: {trouble.count}.", address=trouble.address, tone="warn")


def _age(heard: Heard, wall: datetime) -> str:
    return "never came" if heard.wall_at is None else f"{duration(wall - heard.wall_at)} old"
