"""The deployment files name only what there is: figures and labels, commands, settings, files; and open nothing."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from celery.bin.celery import celery
from click.testing import CliRunner
from django.conf import settings
from django.core.management import get_commands

from orchestrator_project.celery import app
from orchestrator_project.monitoring.catalogue import FIGURES, PREFIX, exposed_names

PROJECT = Path(__file__).resolve().parents[3]
DEPLOY = PROJECT / "docs" / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
DASHBOARD = json.loads((DEPLOY / "grafana" / "orchestrator.json").read_text())
RULES = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"][0]["rules"]
PROMETHEUS_OWN = {"instance", "job", "le"}


def queries() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for annotation in DASHBOARD["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]
    for rule in RULES:
        yield rule["alert"], rule["expr"]


def labels_of(name: str) -> set[str]:
    """The labels of an exposed name."""
    bare = name.removeprefix(PREFIX)
    figure = FIGURES.get(bare) or FIGURES[re.sub("_(total|bucket|sum|count)$", "", bare)]
    return {*figure.labels} | PROMETHEUS_OWN


# --- Grafana and Prometheus -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("where", "query"), list(queries()))
def test_every_query_asks_for_figures_and_labels_that_there_are(where: str, query: str):
    names = set(re.findall(rf"\b{PREFIX}\w+", query))
    assert names <= exposed_names(), where
    assert names or query == 'up{job="orchestrator"} == 0'
    for name, selector in re.findall(rf"\b({PREFIX}\w+)\{{([^}}]*)\}}", query):
        assert set(re.findall(r"(\w+)(?==~|!=|!~|=)", selector)) <= labels_of(name), where
    grouped = {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", query) for label in group.split(",")}
    assert grouped <= set().union(*(labels_of(name) for name in names)), where
    for opening, closing in ("()", "{}", "[]"):
        assert query.count(opening) == query.count(closing), where


def test_a_counter_is_asked_for_its_growth_and_a_bucket_for_its_quantile():
    for where, query in queries():
        for name in re.findall(rf"{PREFIX}\w+_total\b", query):
            assert re.search(rf"(rate|increase)\({name}", query), where
        for name in re.findall(rf"{PREFIX}\w+_bucket\b", query):
            assert f"rate({name}" in query, where
            assert "le)" in query, where


def test_an_alert_about_a_counter_sees_its_first_message_too():
    """A series begins at 1, and `increase` of what was not there before is nothing."""
    for rule in RULES:
        for counter, window in re.findall(r"increase\((\S+)\[(\w+)\]\) > 0", rule["expr"]):
            begins = f"({counter} unless {counter} offset {window}) and on (instance) {PREFIX}info offset {window}"
            assert rule["expr"].endswith(f" or {begins}"), rule["alert"]


def test_every_figure_is_on_the_dashboard_or_in_an_alert():
    asked = " ".join(query for _, query in queries())
    shown = {name for name in FIGURES if re.search(rf"\b{PREFIX}{name}(_total|_bucket)?\b", asked)}
    listed_in_text_only = {
        "loss_streak", "oldest_open_cycle_seconds", "stream_length", "unacknowledged_tasks", "model_cost_usd", "fills",
        "gate_verdicts",
    }  # fmt: skip
    assert set(FIGURES) - shown == listed_in_text_only


def test_the_dashboard_is_one_that_grafana_takes():
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert panel["type"] in ("row", "timeseries", "stat"), panel["title"]
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${source}"}
            assert panel["description"]
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    for above, below in pairwise(sorted(panels, key=lambda panel: (panel["gridPos"]["y"], panel["gridPos"]["x"]))):
        one, other = above["gridPos"], below["gridPos"]
        assert other["y"] >= one["y"] + one["h"] or other["x"] >= one["x"] + one["w"], below["title"]
    assert {variable["name"] for variable in DASHBOARD["templating"]["list"]} == {"source", "instance"}


def test_every_alert_says_what_it_means_and_what_to_do():
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}, rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "action"}
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))
        named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        metric = re.search(rf"{PREFIX}\w+", rule["expr"])
        assert not named or metric is not None
        assert not named or named <= labels_of(metric[0]), rule["alert"]


def test_the_task_of_every_alert_is_one_of_the_schedule():
    scheduled = {entry["task"] for entry in app.conf.beat_schedule.values()}
    (rule,) = [rule for rule in RULES if rule["alert"] == "OrchestratorTaskMissing"]
    (names,) = re.findall(r"tasks\.\(([\w|]+)\)", rule["expr"])
    assert {f"decisions.tasks.{name}" for name in names.split("|")} <= scheduled


def test_prometheus_is_told_where_the_figures_and_the_rules_are():
    configuration = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    (job,) = configuration["scrape_configs"]
    assert (job["metrics_path"], job["authorization"]["type"]) == ("/metrics", "Bearer")
    assert "credentials" not in job["authorization"]
    for file in configuration["rule_files"]:
        assert (DEPLOY / "prometheus" / file).is_file()


# --- systemd ----------------------------------------------------------------------------------------------------------


def directives(unit: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_runs_a_command_that_there_is_with_settings_that_there_are(unit: Path):
    said = directives(unit)
    for line in said["ExecStart"]:
        if line.startswith("/bin/sh"):
            continue
        program, *words = line.removeprefix("/opt/orchestrator/.venv/bin/").split()
        if program == "celery":
            result = CliRunner().invoke(celery, [*words, "--help"])
            assert result.exit_code == 0, result.output
        elif program == "python":
            assert words[0] == "manage.py"
            assert words[1] in get_commands()
        else:
            assert (program, words[-1]) == ("gunicorn", "orchestrator_project.wsgi")
    names = {pair.partition("=")[0] for line in said["Environment"] for pair in line.split()}
    assert names - {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"} <= set(settings.PARAMETERS)


@pytest.mark.parametrize(
    ("given", "pool"),
    [
        ({}, "2"),
        ({"WORKER_CONCURRENCY": "3"}, "3"),
        ({"WORKER_CONCURRENCY": "3", "WORKER_CONCURRENCY_ANALYZE": "8"}, "8"),
        ({"WORKER_CONCURRENCY_SCREEN": "8"}, "2"),
    ],
)
def test_a_worker_has_the_pool_that_the_settings_give_its_queue(given: dict[str, str], pool: str):
    """What systemd makes of the line is run with `echo` for the program; what comes out is what the program takes."""
    (line,) = directives(DEPLOY / "systemd" / "orchestrator-worker@.service")["ExecStart"]
    spelt = line.replace("%%", "%").replace("%i", "analyze").replace("$$", "$")
    shell, option, script = shlex.split(spelt.replace("/opt/orchestrator/.venv/bin/celery", "echo"))
    environment = {"PATH": os.environ["PATH"], **given}
    told = subprocess.run([shell, option, script], env=environment, capture_output=True, text=True, check=True)
    words = told.stdout.split()
    assert (words[words.index("--queues") + 1], words[words.index("--concurrency") + 1]) == ("analyze", pool)
    assert CliRunner().invoke(celery, [*words, "--help"]).exit_code == 0
    assert "WORKER_CONCURRENCY_ANALYZE" in settings.PARAMETERS


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_stops_with_the_target(unit: Path):
    assert directives(unit)["PartOf"] == ["orchestrator.target"]


def test_every_market_of_the_compose_file_has_a_unit():
    services = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]
    for name, service in services.items():
        if "profiles" in service:
            (line,) = directives(DEPLOY / "systemd" / f"orchestrator-{name}.service")["ExecStart"]
            assert line.split()[1:] == service["command"][1:], name


def test_a_person_runs_commands_with_the_settings_of_the_services(tmp_path: Path):
    """The script with this machine's places and user in place of the installed ones."""
    (tmp_path / "orchestrator.env").write_text("ADMIN_USERNAME=of-the-services\n")
    text = (DEPLOY / "systemd" / "orchestrator").read_text()
    units = directives(DEPLOY / "systemd" / "orchestrator-consumer.service")
    assert f"SETTINGS_FILE={units['EnvironmentFile'][0]} LOCAL_DIR=/var/lib/orchestrator" in text
    for installed, here in (
        ("/etc/orchestrator", str(tmp_path)),
        ("/var/lib/orchestrator", str(tmp_path)),
        ("/opt/orchestrator/.venv/bin/python", sys.executable),
        ("/opt/orchestrator", str(PROJECT)),
        ("user=orchestrator", "user=$(id -un)"),
    ):
        assert installed in text
        text = text.replace(installed, here)
    script = tmp_path / "orchestrator"
    script.write_text(text)
    run = partial(subprocess.run, capture_output=True, text=True, check=False, cwd=tmp_path)
    bare = {"PATH": os.environ["PATH"]}
    told = run(["sh", str(script), "show_config", "--json"], env=bare)
    assert told.returncode == 0, told.stderr
    shown = json.loads(told.stdout)
    assert shown["ADMIN_USERNAME"] == {"value": "of-the-services", "source": "settings file", "group": "Web"}
    assert shown["LOCAL_DIR"]["value"] == str(tmp_path)
    (tmp_path / "orchestrator.env").unlink()
    told = run(["sh", str(script), "risk", "halt", "--reason", "x"], env=bare)
    assert (told.returncode, "cannot be read" in told.stderr) == (2, True)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_may_do_no_more_than_it_has_to(unit: Path):
    said = directives(unit)
    assert said["User"] == ["orchestrator"]
    assert said["CapabilityBoundingSet"] == [""]
    for name in ("NoNewPrivileges", "PrivateTmp", "PrivateDevices", "ProtectHome", "RestrictNamespaces"):
        assert said[name] == ["yes"], name
    assert said["ProtectSystem"] == ["strict"]
    assert not any("0.0.0.0" in line for line in said["ExecStart"])  # noqa: S104
    if unit.name == "orchestrator-worker@.service":
        assert int(said["TimeoutStopSec"][0]) > app.conf.task_time_limit + 10


def test_the_target_starts_a_worker_for_every_queue_and_everything_else():
    wanted = set(" ".join(directives(DEPLOY / "systemd" / "orchestrator.target")["Wants"]).split())
    assert wanted == {
        *(f"orchestrator-{name}.service" for name in ("web", "beat", "consumer", "flower")),
        *(f"orchestrator-worker@{queue}.service" for queue in settings.QUEUES),
    }
    for name in wanted:
        assert (DEPLOY / "systemd" / re.sub("@[a-z]+", "@", name)).is_file()


# --- the proxy --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nginx.conf", "Caddyfile"])
def test_a_proxy_gives_no_figures_away_and_lets_no_claim_of_an_address_through(name: str):
    text = (DEPLOY / "proxy" / name).read_text()
    assert "/metrics" in text
    assert "/readyz" in text
    assert re.search(r"X-Forwarded-For (\$remote_addr|\{remote_host\})", text)
    assert "proxy_add_x_forwarded_for" not in text
    assert "127.0.0.1:8000" in text
