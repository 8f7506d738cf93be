import io
import json
import logging
import logging.config

import pytest
import structlog

from orchestrator_project import logs

CANARY = "sk-canary-0123456789"


@pytest.fixture
def lines():
    """Everything logged, with the project's own configuration put back afterwards."""
    from django.conf import settings

    stream = io.StringIO()
    configuration = logs.configuration(level="INFO", as_json=True, secrets=[CANARY, "ab"])
    configuration["handlers"]["stderr"]["stream"] = stream
    logging.config.dictConfig(configuration)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.config.dictConfig(settings.LOGGING)


def test_structlog_and_the_standard_library_write_the_same_form(lines):
    structlog.stdlib.get_logger("one").info("fill booked", cycle=7)
    logging.getLogger("two").warning("slow: %s ms", 12)
    first, second = lines()
    assert (first["event"], first["cycle"], first["level"]) == ("fill booked", 7, "info")
    assert (second["event"], second["level"], second["logger"]) == ("slow: 12 ms", "warning", "two")
    assert first["timestamp"].endswith("Z")


def test_a_secret_is_hidden_wherever_it_stands(lines):
    log = structlog.stdlib.get_logger("one")
    log.info(f"called with {CANARY}", inner={"list": [f"x{CANARY}x"]})
    logging.getLogger("two").info("key %s", CANARY)
    try:
        raise ValueError(f"bad header {CANARY}")
    except ValueError:
        log.exception("failed")
    text = json.dumps(lines())
    assert CANARY not in text
    assert text.count(logs.HIDDEN) >= 4
    assert "ValueError" in text


def test_values_under_secret_names_are_hidden_and_counts_are_not(lines):
    structlog.stdlib.get_logger("one").info("x", ANTHROPIC_API_KEY="q", user={"password": "w"}, output_tokens=34)
    (line,) = lines()
    assert line["ANTHROPIC_API_KEY"] == line["user"]["password"] == logs.HIDDEN
    assert line["output_tokens"] == 34


def test_a_secret_too_short_to_be_one_does_not_blot_out_words(lines):
    logging.getLogger("one").info("about")
    assert lines()[0]["event"] == "about"
