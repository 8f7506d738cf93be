"""What our commands have in common: a service's lines, and the name of what a command acted on."""

import io
import logging.config
from collections.abc import Iterator

import pytest
from django.core.management.base import OutputWrapper
from pytest_django import Settings

from decisions.management.commands import consume, market, venue
from orchestrator_project import logs
from orchestrator_project.command_line import CommandWithExamples, acted_on, named_database


@pytest.fixture
def logged(settings: Settings) -> Iterator[io.StringIO]:
    """What is logged, as JSON; the project's own configuration is put back afterwards."""
    stream = io.StringIO()
    configuration = logs.configuration(level="INFO", as_json=False, secrets=[])
    configuration["handlers"]["stderr"]["stream"] = stream
    logging.config.dictConfig(configuration)
    yield stream
    logging.config.dictConfig(settings.LOGGING)


@pytest.mark.parametrize("kind", [consume.Command, market.Command, venue.Command])
def test_the_lines_of_a_service_are_among_its_log_where_that_is_json(
    kind: type[CommandWithExamples], settings: Settings, logged: io.StringIO
) -> None:
    said = io.StringIO()
    command = kind()
    command.stdout = OutputWrapper(said)
    settings.LOG_JSON = False
    command.say("it runs")
    assert (said.getvalue(), logged.getvalue()) == ("it runs\n", "")
    settings.LOG_JSON = True
    command.say("it runs on")
    assert said.getvalue() == "it runs\n"
    assert "it runs on" in logged.getvalue()
    assert kind.__module__ in logged.getvalue()


def test_what_was_acted_on_is_named_without_a_secret(settings: Settings) -> None:
    assert acted_on().startswith("SANDBOX, database ")
    settings.SANDBOX = False
    assert acted_on().startswith("LIVE, database ")
    assert named_database("orchestrator", "") == "database orchestrator at this machine"
