"""What the doctor finds: rules over what was read, each with its cure. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator_project.monitoring.readiness import Check

Grade = Literal["OK", "WARN", "FAIL"]

OLDEST_POSTGRES = 15
OLDEST_REDIS = (6, 2)
SLOW_MILLISECONDS = 50.0
"""A round trip that takes longer costs a cycle with its six stages a second and more."""
CLOCK_DRIFT_SECONDS = 2.0
CLOCK_WRONG_SECONDS = 60.0
"""From there on messages count as from the future, or as old."""
GIGABYTE = 10**9
LITTLE_DISK = 5 * GIGABYTE
NO_DISK = GIGABYTE // 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, the grade, what was seen, and what to do unless it is well."""

    subject: str
    grade: Grade
    told: str
    cure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisFacts:
    """What a Redis or Valkey says of itself; `policy` is its `maxmemory-policy`."""

    name: str
    version: str
    append_only: bool
    policy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsFacts:
    """The settings that there is advice about. `keys` are names of secrets -> whether each is set."""

    live: bool
    promotion: str
    log_json: bool
    second_factor: bool
    alert_channels: Sequence[str]
    keys: Mapping[str, bool]


def failed(findings: Iterable[Finding]) -> bool:
    return any(each.grade == "FAIL" for each in findings)


# --- servers ----------------------------------------------------------------------------------------------------------


def away(subject: str, setting: str, why: str) -> Finding:
    """A server that cannot be asked."""
    return Finding(subject, "FAIL", f"cannot be reached: {why}", f"start it, or correct {setting}")


def postgres(version: int) -> Finding:
    """`version` as `server_version_num` gives it: 170004."""
    major, minor = divmod(version, 10_000)
    told = f"Postgres {major}.{minor}"
    if major < OLDEST_POSTGRES:
        return Finding("Postgres", "FAIL", told, f"Postgres {OLDEST_POSTGRES} or newer is needed")
    return Finding("Postgres", "OK", told)


def redis(facts: RedisFacts) -> Iterator[Finding]:
    """Its version, whether a restart loses anything, and whether it evicts."""
    told = f"{facts.name} {facts.version}"
    if _numbers(facts.version) < OLDEST_REDIS:
        yield Finding("Redis", "FAIL", told, "Redis 6.2 or newer, or Valkey, is needed")
    else:
        yield Finding("Redis", "OK", told)
    if facts.append_only:
        yield Finding("Redis append-only file", "OK", "on")
    else:
        cure = "set `appendonly yes` and `appendfsync always`: a restart loses orders and fills that nobody has read"
        yield Finding("Redis append-only file", "FAIL", "off", cure)
    if facts.policy == "noeviction":
        yield Finding("Redis eviction", "OK", facts.policy)
    else:
        cure = "set `maxmemory-policy noeviction`: entries of the streams vanish at will"
        yield Finding("Redis eviction", "FAIL", facts.policy, cure)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())


def latency(server: str, milliseconds: float) -> Finding:
    told = f"{milliseconds:.1f} ms a round trip"
    if milliseconds > SLOW_MILLISECONDS:
        return Finding(f"{server} latency", "WARN", told, "have the server nearer, or the machine less busy")
    return Finding(f"{server} latency", "OK", told)


def clock(of: str, seconds_ahead: float) -> Finding:
    """Another machine's clock beside ours; above 0 it is ahead."""
    way = "ahead of" if seconds_ahead > 0 else "behind"
    told = f"{abs(seconds_ahead):.1f} s {way} ours"
    if abs(seconds_ahead) >= CLOCK_WRONG_SECONDS:
        return Finding(
            f"clock of {of}", "FAIL", told, "set the clocks right (NTP): data counts as stale, or is refused"
        )
    if abs(seconds_ahead) >= CLOCK_DRIFT_SECONDS:
        return Finding(f"clock of {of}", "WARN", told, "have NTP keep both clocks")
    return Finding(f"clock of {of}", "OK", told)


def migrations(missing: Sequence[str]) -> Finding:
    if not missing:
        return Finding("migrations", "OK", "complete")
    return Finding("migrations", "FAIL", f"missing: {', '.join(missing)}", "run `manage.py migrate`")


def disk(folder: str, free_bytes: int) -> Finding:
    told = f"{free_bytes / GIGABYTE:.1f} GB free in {folder}"
    grade: Grade = "FAIL" if free_bytes < NO_DISK else "WARN" if free_bytes < LITTLE_DISK else "OK"
    return Finding("disk", grade, told, "" if grade == "OK" else "make room: a full disk stops every write")


# --- what we are ------------------------------------------------------------------------------------------------------


def drill(probes: int, wrong: Sequence[str]) -> Finding:
    """The limits drill: how many proposals, and the rules that judged one wrongly."""
    if wrong:
        told = f"judged wrongly: {', '.join(sorted(set(wrong)))}"
        return Finding("limits drill", "FAIL", told, "do not trade; see `manage.py risk drill`")
    return Finding("limits drill", "OK", f"{probes} proposals judged as they must be")


def model(told: str, *, gone: bool, going: bool, cure: str) -> Finding:
    """A model in use, by what is known of its lifecycle."""
    grade: Grade = "FAIL" if gone else "WARN" if going else "OK"
    return Finding("model", grade, told, cure if grade != "OK" else "")


def calendar(missing: Sequence[str], days: int) -> Finding:
    """The kinds of releases of which nothing is known within so many days."""
    if missing:
        cure = "`manage.py calendar --refresh`, or enter the date in the admin under Scheduled events"
        return Finding("news calendar", "WARN", f"nothing known of {', '.join(missing)}", cure)
    return Finding("news calendar", "OK", f"every watched release is known for {days} days")


_KEYS = {
    "ANTHROPIC_API_KEY": ("the offline model answers", "FAIL"),
    "PERPLEXITY_API_KEY": ("research is offline", "WARN"),
    "FRED_API_KEY": ("no second source of release dates", "WARN"),
}
_GRADES: Mapping[str, Grade] = {"FAIL": "FAIL", "WARN": "WARN"}


def keys(facts: SettingsFacts) -> Iterator[Finding]:
    """Which keys there are; in the sandbox none is needed."""
    for name, (without, grade) in _KEYS.items():
        if facts.keys.get(name):
            yield Finding(name, "OK", "set")
        elif facts.live:
            yield Finding(name, _GRADES[grade], f"not set: {without}", f"set {name}")
        else:
            yield Finding(name, "OK", f"not set: {without}, which will do for the sandbox")


def advice(facts: SettingsFacts) -> Iterator[Finding]:
    """What is worth setting otherwise where real money moves."""
    channels = ", ".join(facts.alert_channels)
    if not facts.live:
        yield Finding("settings", "OK", "a sandbox: no real money moves")
        return
    if facts.promotion != "manual":
        cure = "set it to manual, so that a person looks at each new playbook before it trades"
        yield Finding("PLAYBOOK_PROMOTION", "WARN", facts.promotion, cure)
    if not facts.log_json:
        yield Finding("LOG_JSON", "WARN", "false", "set it to true, so that logs can be searched by cycle and order")
    if not facts.second_factor:
        yield Finding("REQUIRE_SECOND_FACTOR", "FAIL", "false", "set it to true")
    if not facts.keys.get("FLOWER_BASIC_AUTH"):
        yield Finding("FLOWER_BASIC_AUTH", "FAIL", "not set", "set it to user:password")
    if not facts.keys.get("COMMAND_HMAC_KEY"):
        cure = "set it, so that only who has the key can halt and resume by the stream"
        yield Finding("COMMAND_HMAC_KEY", "WARN", "not set", cure)
    if channels:
        yield Finding("alerts out", "OK", channels)
    else:
        cure = "set TELEGRAM_BOT_TOKEN and TELEGRAM_CHAT_ID, or ALERT_WEBHOOK_URL: nobody is told away from the screen"
        yield Finding("alerts out", "WARN", "no channel", cure)


def channel(name: str, waiting: int, error: str) -> Finding:
    """A channel for alerts: how many it has refused that still wait, and the newest refusal."""
    if not waiting:
        return Finding(f"alerts by {name}", "OK", "nothing is refused")
    cure = "look at its settings (TELEGRAM_..., ALERT_WEBHOOK_...) and the network"
    return Finding(f"alerts by {name}", "WARN", f"{waiting} wait: {error}", cure)


# --- what runs --------------------------------------------------------------------------------------------------------

_CURES = {
    "beat": "start beat, or look at its log: one runs at a time",
    "schedule": "start the workers of these tasks' queues, or look at their logs",
    "consumer": "start `manage.py consume`, or look at its log",
    "streams": "look at the consumer's log: an entry that is tried again says why",
    "stages": "start more workers for the stage that waits",
    "outbox": "look at Redis: messages of ours wait to be published",
    "market_data": "look at the market data service, or run `manage.py market`",
    "positions": "look at the trade server, or run `manage.py venue`",
}


def at_work(checks: Iterable[Check], *, ever_started: bool) -> Iterator[Finding]:
    """The checks of `/readyz` beyond servers and migrations. What has never been started only has to be."""
    wrong: Grade = "FAIL" if ever_started else "WARN"
    for check in checks:
        if check.name not in _CURES:
            continue
        subject = check.name.replace("_", " ")
        if check.passes:
            yield Finding(subject, "OK", check.detail)
        elif ever_started:
            yield Finding(subject, wrong, check.detail, _CURES[check.name])
        else:
            yield Finding(subject, wrong, check.detail, "nothing has been started here yet: `make run` starts all")
