"""What the doctor finds in what was read, each with its cure."""

import pytest

from orchestrator_project.doctor import findings
from orchestrator_project.doctor.findings import Finding, RedisFacts, SettingsFacts
from orchestrator_project.monitoring.readiness import Check

GOOD_REDIS = {"name": "Valkey", "version": "9.1.2", "append_only": True, "policy": "noeviction"}
GOOD_LIVE = {
    "live": True, "promotion": "manual", "log_json": True, "second_factor": True, "alert_channels": ["telegram"],
    "keys": dict.fromkeys(
        ("ANTHROPIC_API_KEY", "PERPLEXITY_API_KEY", "FRED_API_KEY", "FLOWER_BASIC_AUTH", "COMMAND_HMAC_KEY"), True
    ),
}  # fmt: skip


def grades(*found: Finding) -> dict[str, str]:
    return {each.subject: each.grade for each in found}


def wrong(*found: Finding) -> dict[str, str]:
    return {subject: grade for subject, grade in grades(*found).items() if grade != "OK"}


@pytest.mark.parametrize(("version", "grade"), [(140012, "FAIL"), (150000, "OK"), (180004, "OK")])
def test_postgres_is_new_enough(version: int, grade: str) -> None:
    assert findings.postgres(version).grade == grade


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, {}),
        ({"version": "6.2.14"}, {}),
        ({"version": "6.0.16"}, {"Redis": "FAIL"}),
        ({"append_only": False}, {"Redis append-only file": "FAIL"}),
        ({"policy": "allkeys-lru"}, {"Redis eviction": "FAIL"}),
    ],
    ids=["good", "oldest", "too old", "no file", "evicts"],
)
def test_redis_is_new_enough_and_loses_nothing(changed: dict[str, object], told: dict[str, str]) -> None:
    facts = RedisFacts(**{**GOOD_REDIS, **changed})  # type: ignore[arg-type]
    assert wrong(*findings.redis(facts)) == told


@pytest.mark.parametrize(
    ("ahead", "grade"), [(0.0, "OK"), (-1.9, "OK"), (2.0, "WARN"), (-59.9, "WARN"), (60.0, "FAIL"), (-3600.0, "FAIL")]
)
def test_a_clock_beside_ours(ahead: float, grade: str) -> None:
    found = findings.clock("OKX", ahead)
    assert found.grade == grade
    assert ("ahead of" if ahead > 0 else "behind") in found.told


@pytest.mark.parametrize(("free", "grade"), [(10**8, "FAIL"), (10**9, "WARN"), (10**10, "OK")])
def test_room_on_the_disk(free: int, grade: str) -> None:
    assert findings.disk(".local", free).grade == grade


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, {}),
        ({"promotion": "immediate"}, {"PLAYBOOK_PROMOTION": "WARN"}),
        ({"promotion": "auto"}, {"PLAYBOOK_PROMOTION": "WARN"}),
        ({"log_json": False}, {"LOG_JSON": "WARN"}),
        ({"second_factor": False}, {"REQUIRE_SECOND_FACTOR": "FAIL"}),
        ({"alert_channels": []}, {"alerts out": "WARN"}),
        (
            {"keys": {}},
            {
                "ANTHROPIC_API_KEY": "FAIL", "PERPLEXITY_API_KEY": "WARN", "FRED_API_KEY": "WARN",
                "FLOWER_BASIC_AUTH": "FAIL", "COMMAND_HMAC_KEY": "WARN",
            },
        ),
        ({"live": False, "keys": {}, "alert_channels": [], "promotion": "immediate", "log_json": False}, {}),
    ],
    ids=["good", "immediate", "auto", "text logs", "one factor", "no channel", "no keys", "sandbox"],
)  # fmt: skip
def test_what_is_advised_where_real_money_moves(changed: dict[str, object], told: dict[str, str]) -> None:
    facts = SettingsFacts(**{**GOOD_LIVE, **changed})  # type: ignore[arg-type]
    assert wrong(*findings.keys(facts), *findings.advice(facts)) == told


CHECKS = [Check("postgres", True, "answers"), Check("beat", False, "never seen"), Check("streams", True, "read up")]


def test_what_does_not_run_has_failed_once_it_ran_before() -> None:
    assert grades(*findings.at_work(CHECKS, ever_started=True)) == {"beat": "FAIL", "streams": "OK"}
    assert grades(*findings.at_work(CHECKS, ever_started=False)) == {"beat": "WARN", "streams": "OK"}


def test_whatever_is_not_well_has_a_cure() -> None:
    nothing = SettingsFacts(**{**GOOD_LIVE, "keys": {}, "promotion": "immediate", "alert_channels": []})  # type: ignore[arg-type]
    found = [
        *findings.keys(nothing),
        *findings.advice(nothing),
        *findings.redis(RedisFacts(name="Redis", version="5", append_only=False, policy="allkeys-lru")),
        findings.postgres(130000),
        findings.latency("Redis", 80.0),
        findings.clock("OKX", 99.0),
        findings.disk("x", 0),
        findings.drill(3, ["leverage", "leverage"]),
        findings.model("m: retired", gone=True, going=False, cure="Set OPUS_MODEL"),
        findings.calendar(["CPI"], 45),
        findings.migrations(["decisions.0006"]),
        findings.away("Redis", "REDIS_URL", "refused"),
        findings.channel("telegram", 2, "HTTP 401"),
        *findings.at_work(CHECKS, ever_started=True),
    ]
    assert [each.subject for each in found if (each.grade == "OK") == bool(each.cure)] == []
    assert findings.failed(found)
