"""Watches a running stack from outside: the memory of every process, what Redis holds, what the database is asked.

Statements are counted from Postgres's own log, so that nothing in the watched processes is changed. Those of the
watcher and of the driver of the lockstep run, which asks again and again whether a cycle has ended, are left out.
"""

import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import psycopg
import redis

from orchestrator_project.local import endpoints

STATEMENT = re.compile(r"^(\d+) LOG:  (?:statement|execute [^:]*): (.*)$")
DRIVER = 'FROM "position_reports" WHERE "position_reports"."as_of" >='
"""Only the driver of the run asks whether positions of a moment have been reported."""
REMEMBERED = "sent:"
"""The keys under which a publication is remembered."""
MEGABYTE = 2**20
QUEUE = re.compile(r"--hostname[ =]?([\w-]+)@")


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen at one moment. Memory in MB: of each process what it has resident, less what it shares; of Redis
    what it has allocated."""

    cycles: int
    memory: Mapping[str, float]
    redis_memory: float
    stream_lengths: Mapping[str, int]


@dataclass(slots=True)
class Part:
    """A stretch of the run: cycles that began in it, statements by their text, rows read by table, Redis at its end."""

    cycles: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    statements: Counter[str] = field(default_factory=Counter)
    rows_read: Counter[str] = field(default_factory=Counter)
    lasting_keys: Mapping[str, int] = field(default_factory=dict)
    remembered: tuple[int, float] = (0, 0.0)
    """How many publications Redis remembers, and the MB that they take."""
    redis_memory: float = 0.0
    """MB, all of it."""

    @property
    def statements_a_cycle(self) -> float:
        return self.statements.total() / max(self.cycles, 1)

    @property
    def rows_a_cycle(self) -> float:
        return self.rows_read.total() / max(self.cycles, 1)


class Watch:
    """Looks at the stack of a `LOCAL_DIR` that runs already, `driver` being the process that started the others. Raises
    `psycopg.OperationalError` once it is gone."""

    def __init__(self, local_dir: Path, driver: int) -> None:
        self.driver = driver
        self.database = psycopg.connect(endpoints.database_url(local_dir), autocommit=True)
        self.redis = redis.Redis.from_url(endpoints.redis_url(local_dir), decode_responses=True)
        self.log = local_dir / "logs" / "postgres.log"
        self.samples: list[Sample] = []
        self._own = {self.database.info.backend_pid}

    @classmethod
    @contextmanager
    def of(cls, local_dir: Path, driver: int) -> Iterator[Self]:
        watch = cls(local_dir, driver)
        try:
            yield watch
        finally:
            watch.database.close()
            watch.redis.close()

    def sample(self) -> Sample:
        """Look once, and remember it."""
        streams = [key for key in self._keys() if key.startswith(("trade:", "market:", "system:", "opus:"))]
        sample = Sample(
            cycles=self._cycles(),
            memory=self._memory(),
            redis_memory=self._redis_memory(),
            stream_lengths={key: int(self.redis.xlen(key)) for key in sorted(streams)},
        )
        self.samples.append(sample)
        return sample

    @contextmanager
    def part(self) -> Iterator[Part]:
        """Count what is asked and read from here to the end of the block."""
        part, cycles, outcomes, rows = Part(), self._cycles(), self._outcomes(), self._rows_read()
        self._log_statements("all")
        try:
            yield part
            part.cycles = self._cycles() - cycles
            part.outcomes = self._outcomes() - outcomes
            part.rows_read = self._rows_read() - rows
            part.lasting_keys, part.remembered = self._keys_of_redis()
            part.redis_memory = self._redis_memory()
        finally:
            self._log_statements("none")
        part.statements = self._statements()

    # --- the database -------------------------------------------------------------------------------------------------

    def _one(self, query: str) -> Any:
        row = self.database.execute(query).fetchone()
        return row[0] if row else None

    def _cycles(self) -> int:
        """How many have begun; without a look at the rows, which are counted when they are read."""
        return int(self._one("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM decision_cycles_id_seq"))

    def _outcomes(self) -> Counter[str]:
        query = "SELECT outcome, count(*) FROM decision_cycles WHERE state = 'done' GROUP BY outcome"
        return Counter(dict(self.database.execute(query).fetchall()))

    def _rows_read(self) -> Counter[str]:
        query = "SELECT relname, seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables"
        return Counter({name: int(rows) for name, rows in self.database.execute(query).fetchall()})

    def _log_statements(self, which: str) -> None:
        """Have every statement logged, or none; begins with an empty log, which Postgres goes on appending to."""
        if which == "all":
            self.log.write_text("")
        settings = {"log_statement": which, "log_line_prefix": "%p ", "log_parameter_max_length": "0"}
        for name, value in settings.items():
            self.database.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        self.database.execute("SELECT pg_reload_conf()")

    def _statements(self) -> Counter[str]:
        """The statements of the log by their text, of everybody but the watcher and the driver."""
        by_backend: defaultdict[int, Counter[str]] = defaultdict(Counter)
        with self.log.open(errors="replace") as lines:
            for line in lines:
                if found := STATEMENT.match(line):
                    by_backend[int(found[1])][found[2]] += 1
        drivers = {pid for pid, texts in by_backend.items() if any(DRIVER in text for text in texts)}
        counted: Counter[str] = Counter()
        for pid, texts in by_backend.items():
            if pid not in drivers | self._own:
                counted.update(texts)
        return counted

    # --- Redis --------------------------------------------------------------------------------------------------------

    def _redis_memory(self) -> float:
        information: Any = self.redis.info("memory")
        return float(information["used_memory"]) / MEGABYTE

    def _keys(self) -> list[str]:
        return [key for key in self.redis.scan_iter(count=5000) if not key.startswith(REMEMBERED)]

    def _keys_of_redis(self) -> tuple[Mapping[str, int], tuple[int, float]]:
        """The keys that never expire with the bytes that each takes, and what is remembered for a while."""
        lasting, remembered = {}, []
        for key in self.redis.scan_iter(count=5000):
            if self.redis.ttl(key) == -1:
                lasting[key] = int(self.redis.memory_usage(key, samples=0) or 0)
            elif key.startswith(REMEMBERED):
                remembered.append(key)
        some = remembered[:: max(1, len(remembered) // 200)]
        sizes = [int(self.redis.memory_usage(key) or 0) for key in some]
        # What a key takes besides itself: its place in the tables of keys and of expiries.
        each = statistics.fmean(sizes) + 32 if sizes else 0.0
        return lasting, (len(remembered), len(remembered) * each / MEGABYTE)

    # --- the processes ------------------------------------------------------------------------------------------------

    def _memory(self) -> dict[str, float]:
        found: dict[int, tuple[int, str, float]] = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                status = dict(re.findall(r"^(\w+):\s+(\d+)", (process / "status").read_text(), re.MULTILINE))
                words = (process / "cmdline").read_text().replace("\0", " ")
            except OSError:  # It has ended.
                continue
            if "VmRSS" in status:
                resident = (int(status["VmRSS"]) - int(status["RssShmem"])) / 1024
                found[int(process.name)] = (int(status["PPid"]), words, resident)
        ours = {self.driver}
        for pid in sorted(found, key=lambda pid: _depth(pid, found)):
            if found[pid][0] in ours and pid not in self._own:
                ours.add(pid)
        return _named({pid: found[pid] for pid in ours if pid in found})


def _depth(pid: int, found: Mapping[int, tuple[int, str, float]]) -> int:
    depth = 0
    while pid in found:
        pid, depth = found[pid][0], depth + 1
    return depth


def _named(found: Mapping[int, tuple[int, str, float]]) -> dict[str, float]:
    """Megabytes by name; children of a worker are told apart by their age, Postgres's backends are added up."""
    memory: defaultdict[str, float] = defaultdict(float)
    seen: Counter[str] = Counter()
    for _, (parent, words, resident) in sorted(found.items()):
        name, above = _name(words), _name(found[parent][1]) if parent in found else None
        if above is not None and above.startswith("worker"):  # a child of the pool gives itself another title
            seen[above] += 1
            name = f"{above} child {seen[above]}"
        if name is not None:
            memory[name] += resident
    return dict(memory)


def _name(words: str) -> str | None:
    if hostname := QUEUE.search(words):
        return hostname[1]
    for name, mark in {
        "consumer": "manage.py consume", "venue": "manage.py venue", "driver": "runstack", "beat": " beat",
        "redis": "redis.sock", "postgres": "postgres",
    }.items():  # fmt: skip
        if mark in words:
            return name
    return None


# --- what is made of it -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trend:
    """The median of each third of a series: the first is warm-up."""

    first: float
    second: float
    last: float

    @classmethod
    def of(cls, series: Sequence[float]) -> Self:
        places = [round(len(series) * part / 3) for part in range(4)]
        return cls(*(statistics.median(series[begin:end]) for begin, end in pairwise(places)))

    def flat(self, *, ratio: float, slack: float) -> bool:
        """Whether the last third is at most so much above the second."""
        return self.last <= ratio * self.second + slack


def trends(samples: Sequence[Sample]) -> dict[str, Trend]:
    """By process, of the processes that were there throughout."""
    always = set(samples[0].memory).intersection(*(sample.memory for sample in samples))
    return {name: Trend.of([sample.memory[name] for sample in samples]) for name in sorted(always)}


def most_grown(earlier: Counter[str], later: Counter[str], cycles: tuple[int, int], count: int = 5) -> list[str]:
    """What is asked or read more often a cycle than before, the most first."""
    grown = {key: later[key] / max(cycles[1], 1) - earlier[key] / max(cycles[0], 1) for key in later | earlier}
    most = sorted(grown, key=lambda key: -grown[key])[:count]
    return [f"{grown[key]:+.2f} a cycle: {key[:160]}" for key in most if grown[key] > 0]
