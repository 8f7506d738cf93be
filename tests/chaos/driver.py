"""One run: a market in lockstep, the plan's faults in the middle of it, a calm end, and the evidence of it all."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import redis
from billiard.pool import LOST_WORKER_TIMEOUT
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection, connections
from kombu.exceptions import OperationalError as BrokerError

from decisions.sandbox import lockstep
from decisions.sandbox.market import SandboxMarket
from decisions.sandbox.opening import open_market
from orchestrator_project import crash_points
from orchestrator_project.streams import backlog
from tests.chaos import garbage
from tests.chaos.crashes import ALONE, Crashes
from tests.chaos.evidence import Evidence
from tests.chaos.plan import LASTING_DISAGREEMENT, Fault, Plan
from tests.chaos.stack import Broken, Stack
from tests.chaos.traffic import INCOMING, Traffic

GROUP = "orchestrator"
LOOK_AROUND_SECONDS = 0.02
STUCK_SECONDS = 90.0
"""Far above every timeout of a run: a slot that takes longer waits for something that will never come."""
SETTLE_SECONDS = 45.0
LEAST_SILENCE_SECONDS, MOST_SILENCE_SECONDS = 1.0, 7.0
"""The venue is silent until somebody has gone on with the order, but not for longer than a market order lives."""
DISAGREEMENT_SECONDS = 15.0
"""The longest time that the market waits for the record to act upon the venue's word."""
IN_ORDER = ("person", "clock")
"""Faults that take the one before back: none overtakes another."""
RECONCILE_EVERY_SECONDS = 4.0
PERSON = "ada"
PASSING = (redis.RedisError, DatabaseError, BrokerError)

REPAIRED = """
SELECT EXISTS (SELECT 1 FROM discrepancies WHERE told OR (resolved_at IS NOT NULL AND resolution <> 'no longer seen'))
"""
UNSENT = "SELECT EXISTS (SELECT 1 FROM orders WHERE status = 'pending')"
CONDITIONS = {
    "held": "SELECT EXISTS (SELECT 1 FROM trades WHERE status = 'open')",
    "flat": "SELECT NOT EXISTS (SELECT 1 FROM trades WHERE status = 'open')",
    "trading": "SELECT NOT EXISTS (SELECT 1 FROM risk_halts WHERE ended_at IS NULL)",
}

UNSETTLED = {
    "open cycles": "SELECT count(*) FROM decision_cycles WHERE state <> 'done'",
    "orders in flight": "SELECT count(*) FROM orders WHERE status IN "
    "('pending', 'sent', 'accepted', 'partially_filled', 'unknown')",
    "unsent messages": "SELECT count(*) FROM outbox WHERE sent_at IS NULL",
    "waiting fills": "SELECT count(*) FROM fills WHERE waiting IS NOT NULL",
    "open differences": "SELECT count(*) FROM discrepancies WHERE resolved_at IS NULL",
}


class MarketDied(BaseException):
    """The market's process would have been killed here. Nothing between may catch it."""


class Stuck(Exception):
    """A slot does not end."""


@dataclass(slots=True)
class Happened:
    """What a run did: its faults as they struck, its violations so far, how long its slots took."""

    faults: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    slot_seconds: list[float] = field(default_factory=list)
    slots: int = 0


class Driver:
    """Runs one plan on a stack. `tell` is given a line for each fault."""

    def __init__(self, stack: Stack, plan: Plan, tell: Callable[[str], None]) -> None:
        self.stack, self.plan, self.tell = stack, plan, tell
        self.random = Random(f"strike {plan.seed}")
        self.happened = Happened()
        self.client = redis.Redis.from_url(stack.redis_url, socket_timeout=5)
        self.traffic = Traffic(self.client)
        self.due = list(plan.faults)
        self.prices: dict[tuple[str, datetime], Decimal] = {}
        self.garbage: list[tuple[str, str, int]] = []
        self.calm = False
        self.child_killed_at = 0.0
        self.slot_began = self.silent_since = 0.0
        self.silent: int | None = None

    def run(self) -> Evidence:
        """The whole run. What is wrong with it so far is in `happened`; the checker judges the evidence."""
        self._prepare()
        crash_points._handler = self._market_at
        try:
            self._slots(self.plan.slots, settings.INSTRUMENTS)
            self._calm_down()
            self._slots(2, ())
            self._settle()
        except (Stuck, Broken) as error:
            self._violation(f"stuck: {error}")
        finally:
            crash_points._handler = None
        self._look_after()
        self._note("settled")
        self.happened.violations += [f"process: {told}" for told in self.stack.unwanted]
        return self._evidence()

    def _prepare(self) -> None:
        connections.close_all()
        self.stack.renew()
        folder = self.stack.folder
        for name in ("armed", "fired"):
            shutil.rmtree(folder / name, ignore_errors=True)
        self.crashes = Crashes(folder)
        self.clock = folder / "clock"
        self.clock.write_text("0")
        self.stack.start(self._plan_of_venue(self.plan.venue))

    # --- slots

    def _slots(self, count: int, instruments: Sequence[str]) -> None:
        """So many slots. A market that dies, or loses its servers, is started again where it was left."""
        lockstep.LOOK_AROUND_SECONDS = LOOK_AROUND_SECONDS
        market, last = None, self.happened.slots + count
        self.slot_began = time.monotonic()
        while self.happened.slots < last:
            try:
                self._strike_between_slots()
                market = market or self._market()
                self._slot(market, instruments)
            except MarketDied:
                market = None
                self._note("the market died and starts again")
            except PASSING as error:
                market = None
                self._note(f"the market ended for {type(error).__name__} and starts again")
                connections.close_all()
                self._keep_going()

    def _slot(self, market: SandboxMarket, instruments: Sequence[str]) -> None:
        lockstep.Lockstep(market, instruments, self._keep_going).run(1)
        now = time.monotonic()
        self.happened.slot_seconds.append(now - self.slot_began)
        self._note(f"slot {self.happened.slots} done in {now - self.slot_began:.2f} s")
        self.happened.slots, self.slot_began = self.happened.slots + 1, now

    def _market(self) -> SandboxMarket:
        """The market where it was left, with the prices of every step kept."""
        market = open_market(instruments=settings.INSTRUMENTS, seed=self.plan.seed, local_dir=self.stack.local_dir)
        step = market.step

        def watched() -> Any:
            made = step()
            for update in made.updates if made else ():
                self.prices[update.symbol, made.closed_at] = update.snapshot.price
            return made

        market.step = watched  # type: ignore[method-assign]
        return market

    def _market_at(self, point: str) -> None:
        if self.crashes.claim(point):
            raise MarketDied(point)

    def _keep_going(self) -> bool:
        """Several times a second: revive the dead, read along, strike what is due."""
        self._look_after()
        waited = time.monotonic() - self.slot_began
        if waited > STUCK_SECONDS:
            raise Stuck(f"slot {self.happened.slots} after {waited:.0f} s: {self._left()}")
        for fault in [] if self.calm else list(self.due):
            if fault.when != "idle" and self._is_due(fault, waited):
                self.due.remove(fault)
                self._strike(fault)
        return True

    def _strike_between_slots(self) -> None:
        """What no cycle is to see the middle of, or what is to be the next that anybody hears of."""
        for fault in [] if self.calm else list(self.due):
            if fault.when == "idle" and fault.slot <= self.happened.slots:
                self.due.remove(fault)
                self._strike(fault)
                self.slot_began = time.monotonic()

    def _is_due(self, fault: Fault, waited: float) -> bool:
        place = self.happened.slots
        if place < fault.slot or (place == fault.slot and waited < fault.after_seconds):
            return False
        before = self.due[: self.due.index(fault)]
        if fault.what in IN_ORDER and any(each.what == fault.what for each in before):
            return False
        if fault.when in CONDITIONS:
            return self._asked(CONDITIONS[fault.when]) is True
        return not fault.when or fault.when in self.crashes.reached()

    def _asked(self, question: str) -> bool | None:
        """The database's answer; None while it has none."""
        try:
            with connection.cursor() as cursor:
                cursor.execute(question)
                return bool(cursor.fetchone()[0])
        except DatabaseError:
            connections.close_all()
            return None

    def _look_after(self) -> None:
        self.stack.watch()
        self._let_speak()
        try:
            self.traffic.collect()
        except redis.RedisError:
            return

    def _let_speak(self) -> None:
        """Let a venue go on that was stopped in its tracks for long enough."""
        if self.silent is None or not self.crashes.silenced():
            return
        now = time.monotonic()
        self.silent_since = self.silent_since or now
        silence = MOST_SILENCE_SECONDS if self._asked(UNSENT) else LEAST_SILENCE_SECONDS
        if self.calm or now - self.silent_since >= silence:
            with suppress(ProcessLookupError):
                os.kill(self.silent, signal.SIGCONT)
            self.silent = None

    # --- faults

    def _strike(self, fault: Fault) -> None:
        """Have it happen. What finds nothing that it could befall waits for the next time."""
        how: Callable[[str], str | None] = {
            "crash": self._arm, "kill": self._kill, "server": self._server, "clock": self._step_clock,
            "garbage": self._garbage, "person": self._person, "venue": self._venue,
        }[fault.what]  # fmt: skip
        began = time.monotonic()
        told = how(fault.whom)
        if told is None:
            self.due.append(fault)
            return
        took = time.monotonic() - began
        self._note(f"slot {self.happened.slots}: {fault}{f' ({told})' if told else ''}, {took:.2f} s")
        self.happened.faults.append(str(fault))

    def _arm(self, whom: str) -> str:
        point, _, how = whom.partition(":")
        self.crashes.arm(point, how or ALONE)
        return "armed"

    def _venue(self, whom: str) -> str | None:
        return {"silence": self._silence, "disagreement": self._disagree}[whom]()

    def _silence(self) -> str | None:
        self.silent, self.silent_since = self.stack.members["venue"].pid, 0.0
        if self.silent is None:
            return None
        self.crashes.silence(self.silent)
        return "with the next order"

    def _disagree(self) -> str:
        """The venue says what is not so until the record has done something about it, and the market waits."""
        self._plan_of_venue({"seed": self.plan.seed, **LASTING_DISAGREEMENT})
        until = time.monotonic() + DISAGREEMENT_SECONDS
        while not (repaired := self._asked(REPAIRED)) and time.monotonic() < until:
            self._look_after()
            time.sleep(0.05)
        self._plan_of_venue(self.plan.venue)
        return "acted upon" if repaired else "nothing was done about it"

    def _plan_of_venue(self, plan: Mapping[str, Any]) -> Path:
        file = self.stack.folder / "venue.json"
        draft = file.with_suffix(".new")
        draft.write_text(json.dumps(plan))
        return draft.rename(file)

    def _kill(self, whom: str) -> str:
        if whom == "worker_child":
            self.child_killed_at = time.time()
        return self.stack.kill(whom, self.random)

    def _server(self, whom: str) -> str:
        if whom == "redis_flushall":
            self.traffic.empty_redis()
        else:
            {
                "redis_kill": self.stack.kill_redis,
                "postgres_restart": self.stack.restart_postgres,
                "postgres_terminate": self.stack.terminate_backends,
            }[whom]()
        return ""

    def _step_clock(self, seconds: str) -> str:
        draft = self.clock.with_suffix(".new")
        draft.write_text(seconds)
        draft.rename(self.clock)
        return ""

    def _garbage(self, kind: str) -> str | None:
        put = garbage.put(self.client, kind, self.random)
        self.garbage += [(each.stream, each.entry_id, self.traffic.lives) for each in put if each.to_be_buried]
        return f"{len(put)} entries" if put else None

    def _person(self, what: str) -> str:
        """A halt goes the UI's way on the stream, the rest by command; both are the product's."""
        if what == "halt":
            wall = datetime.now(UTC) + timedelta(seconds=float(self.clock.read_text()))
            payload = {
                "command": "halt", "args": {"reason": "chaos"}, "issued_by": PERSON, "issued_at": wall.isoformat(),
            }  # fmt: skip
            self.client.xadd(
                "system:alerts",
                {
                    "msg_id": str(uuid4()), "timestamp": wall.isoformat(), "source": "chaos",
                    "type": "system_command", "payload": json.dumps(payload), "metadata": "{}",
                },
            )  # fmt: skip
            return ""
        words = ["resume"] if what == "resume" else ["halt", "--close-all"]
        code, said = self.stack.command("risk", *words, "--by", PERSON, "--reason", "chaos", tick=self._look_after)
        return f"{code}: {' '.join(said.split())[-120:]}"

    # --- the end

    def _calm_down(self) -> None:
        """Faults off. What follows are bars without decisions, so that what rests at the venue comes to its end."""
        self.calm = True
        for fault in self.due:
            self._note(f"never came: {fault}")
        for point in self.crashes.disarm():
            self._note(f"nobody came to {point}")
        self._step_clock("0")
        self._plan_of_venue({"seed": self.plan.seed})

    def _settle(self) -> None:
        """Wait until nothing is on its way any more, nor found when the record is compared once more: a difference may
        be younger than the last look at it. Not to come to rest is a violation."""
        deadline = time.monotonic() + SETTLE_SECONDS
        reconcile_at = time.monotonic() + RECONCILE_EVERY_SECONDS
        compared = False
        while (left := self._left()) or not compared:
            if not left:
                self.stack.command("reconcile", tick=self._look_after)
                compared = True
                continue
            if time.monotonic() > deadline:
                self._violation(f"not settled after {SETTLE_SECONDS:.0f} s: {left}")
                return
            if time.monotonic() > reconcile_at and "open differences" in left:
                self.stack.command("reconcile", tick=self._look_after)
                reconcile_at = time.monotonic() + RECONCILE_EVERY_SECONDS
            self._look_after()
            time.sleep(0.05)

    def _left(self) -> str:
        """What is unfinished, in words."""
        try:
            with connection.cursor() as cursor:
                counts = {}
                for name, query in UNSETTLED.items():
                    cursor.execute(query)
                    counts[name] = cursor.fetchone()[0]
            counts |= {f"unread on {stream}": backlog(self.client, stream, GROUP) for stream in INCOMING}
            counts["tasks that may come again"] = self._tasks_of_the_killed()
        except PASSING as error:
            connections.close_all()
            return f"{type(error).__name__}: {error}"
        return ", ".join(f"{count} {name}" for name, count in counts.items() if count)

    def _tasks_of_the_killed(self) -> int:
        """Tasks that are queued or at work, while one of them may be a killed child's: its worker takes a while to
        miss the child, and then gives its task back."""
        killed_at = max(self.child_killed_at, self.crashes.newest_death())
        if time.time() - killed_at > LOST_WORKER_TIMEOUT + 1:
            return 0
        return sum(map(self.client.llen, settings.QUEUES)) + self.client.hlen("unacked")

    def _evidence(self) -> Evidence:
        connections.close_all()
        return Evidence(
            ledger=self.stack.local_dir / "venue" / "ledger.sqlite3",
            database=self.stack.database,
            traffic=self.traffic,
            prices=self.prices,
            garbage=self.garbage,
            venue_faults=frozenset(self.plan.venue) - {"seed"},
        )

    def verify(self) -> None:
        """The product's own verification of its verdicts."""
        code, said = self.stack.command("risk", "verify", "--all")
        if code:
            self._violation(f"verdicts: {' '.join(said.split())[-400:]}")

    def met(self) -> set[str]:
        """Every kind of fault that the run has really met."""
        struck = {fault for fault in self.happened.faults if not fault.startswith("crash:")}
        if not self.crashes.silenced():
            struck.discard("venue:silence")
        crashed = {f"crash:{point}" for point in self.crashes.reached()}
        return struck | crashed | {f"venue:{name}" for name in self.plan.venue if name != "seed"}

    def _violation(self, told: str) -> None:
        self.happened.violations.append(told)
        self._note(f"VIOLATION {told}")

    def _note(self, told: str) -> None:
        self.tell(f"{datetime.now(UTC):%H:%M:%S.%f} {told}")
