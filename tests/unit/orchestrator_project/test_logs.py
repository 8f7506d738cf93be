import base64
import io
import json
import logging
import logging.config
import sys
import threading
from urllib.parse import quote, quote_plus

import pytest
import structlog

from orchestrator_project import logs

CANARY = "sk-canary-0123456789"
AWKWARD = 'p"w\\ /+é%d-0123'
"""A secret that looks different wherever it is written."""


@pytest.fixture
def lines():
    """Everything logged, with the project's own configuration put back afterwards."""
    from django.conf import settings

    stream = io.StringIO()
    hooks = sys.excepthook, threading.excepthook
    configuration = logs.configuration(level="INFO", as_json=True, secrets=[CANARY, AWKWARD, "ab"])
    configuration["handlers"]["stderr"]["stream"] = stream
    logging.config.dictConfig(configuration)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.config.dictConfig(settings.LOGGING)
    sys.excepthook, threading.excepthook = hooks
    structlog.contextvars.clear_contextvars()


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


class Holder:
    """An object whose text holds a secret."""

    def __repr__(self) -> str:
        return f"<Holder of {CANARY}>"


def test_an_object_is_hidden_as_it_is_written(lines):
    structlog.stdlib.get_logger("one").info("x", holder=Holder(), **{f"key {CANARY}": 1})
    logging.getLogger("two").info("of %r", Holder())
    assert CANARY not in json.dumps(lines())


@pytest.mark.parametrize("secret", [CANARY, AWKWARD])
@pytest.mark.parametrize(
    "spelt",
    [
        str,
        repr,
        json.dumps,
        lambda text: json.dumps(text, ensure_ascii=False),
        lambda text: f"https://host/?key={quote(text)}",
        lambda text: f"https://host/?key={quote(text, safe='')}",
        lambda text: f"https://host/?key={quote_plus(text).lower() if text == AWKWARD else quote_plus(text)}",
        lambda text: base64.b64encode(text.encode()).decode(),
        lambda text: base64.b64encode(f"a:{text}".encode()).decode(),
        lambda text: base64.b64encode(f"ab:{text}".encode()).decode(),
        lambda text: base64.urlsafe_b64encode(f"user:{text}:more".encode()).decode(),
    ],
)
def test_a_secret_is_hidden_in_every_spelling(lines, secret, spelt):
    text = spelt(secret)
    logging.getLogger("one").info("called %s", text)
    structlog.stdlib.get_logger("two").warning("called", told={"deep": [text]})
    try:
        raise ValueError(text)
    except ValueError:
        logging.getLogger("three").exception("failed")
    for line in lines():
        written = json.dumps(line)
        assert logs.HIDDEN in written
        assert text not in line["event"]
        assert secret not in written


def test_what_base64_hides_cannot_be_read_back():
    told = logs.without_secrets(base64.b64encode(f"user:{CANARY}".encode()).decode(), [CANARY])
    left = told.replace(logs.HIDDEN, "")
    assert len(left) < len(base64.b64encode(b"user:")) + 5


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("postgres://me:pass%2Fword@host/db", {"postgres://me:pass%2Fword@host/db", "pass%2Fword", "pass/word"}),
        ("redis://host:6379/0", {"redis://host:6379/0", ""}),
        ("flower:password", {"flower:password", "password"}),
        ("sk-ant-1", {"sk-ant-1"}),
    ],
)
def test_a_password_in_a_setting_is_a_secret_by_itself(value, parts):
    assert set(logs.secret_parts(value)) == parts


def test_what_a_line_is_about_is_named_and_forgotten(lines):
    log = logging.getLogger("one")
    with logs.about(cycle=7):
        log.info("in the stage")
        logs.also(order="abc", trade=None)
        with logs.about(cycle=8):
            log.info("in another")
        log.info("back")
    log.info("outside")
    named = [{key: line[key] for key in ("cycle", "order", "trade") if key in line} for line in lines()]
    assert named == [{"cycle": 7}, {"cycle": 8, "order": "abc"}, {"cycle": 7, "order": "abc"}, {}]


def test_what_a_line_is_about_is_forgotten_after_a_failure_too(lines):
    with pytest.raises(ValueError, match="x"), logs.about(cycle=7):
        raise ValueError("x")
    logging.getLogger("one").info("after")
    assert "cycle" not in lines()[0]


@pytest.mark.parametrize(
    "name", ["django", "django.request", "django.server", "gunicorn.error", "celery.task", "py.warnings"]
)
def test_every_library_writes_through_it_once(lines, name):
    logging.getLogger(name).error("of %s", CANARY)
    (line,) = lines()
    assert line["event"] == f"of {logs.HIDDEN}"


@pytest.mark.parametrize(
    ("name", "level", "traced"),
    [
        ("django.request", logging.WARNING, False),
        ("django.security.DisallowedHost", logging.ERROR, False),
        ("django.request", logging.ERROR, True),
        ("decisions.tasks", logging.WARNING, True),
    ],
)
def test_a_refused_request_is_a_line_without_a_traceback_and_a_fault_has_one(lines, name, level, traced):
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger(name).log(level, "Forbidden: /admin/", exc_info=True)
    (line,) = lines()
    assert ("exception" in line, line["event"]) == (traced, "Forbidden: /admin/")


def test_what_nobody_caught_is_a_line(lines):
    def fail() -> None:
        raise ValueError(f"bad {CANARY}")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    (line,) = lines()
    assert (line["level"], line["logger"]) == ("critical", "uncaught")
    assert "ValueError: bad [hidden]" in line["exception"]


def test_a_line_that_cannot_be_made_is_told_without_its_values(lines, capsys):
    (ours,) = [each for each in logging.getLogger().handlers if isinstance(each, logs.SafeHandler)]
    record = logging.getLogger("one").makeRecord("one", logging.INFO, "here.py", 7, "%d of", (CANARY,), None)
    ours.handle(record)
    told = json.loads(capsys.readouterr().err)
    assert "could not be written: TypeError" in told["event"]
    assert CANARY not in told["event"]


def test_a_task_is_named_in_its_lines_with_its_ids_and_forgotten(lines):
    from decisions.tasks import collect, sweep
    from orchestrator_project import celery

    log = logging.getLogger("one")
    celery._name_the_task_in_its_lines(task=collect, task_id="first", args=(7,), kwargs={})
    log.info("a stage")
    celery._name_the_task_in_its_lines(task=sweep, task_id="second", args=(), kwargs={})
    log.info("the sweeper")
    celery._forget_the_task()
    log.info("nothing")
    stage, sweeper, nothing = lines()
    assert (stage["task"], stage["task_id"], stage["cycle"]) == ("decisions.tasks.collect", "first", 7)
    assert (sweeper["task_id"], "cycle" in sweeper) == ("second", False)
    assert "task" not in nothing


def test_celery_sets_up_no_handlers_of_its_own(lines):
    from celery.app.log import Logging
    from django.conf import settings

    from orchestrator_project.celery import app

    Logging.already_setup = False
    try:
        assert app.log.setup_logging_subsystem()
    finally:
        Logging.already_setup = False
    assert {type(each) for each in logging.getLogger("celery.task").handlers} <= {logging.NullHandler}
    assert any(isinstance(each, logs.SafeHandler) for each in logging.getLogger().handlers)
    logging.config.dictConfig(settings.LOGGING)
