"""What the doctor asks outside, with `--online`: whether the models are there, and what time it is at OKX."""

from collections.abc import Iterator
from contextlib import closing
from threading import Event
from time import time

from django.conf import settings

from decisions import model_status
from decisions.clients import claude
from decisions.clients.okx import OkxClient
from decisions.clock import wall_now
from decisions.okx.pace import Endpoint
from decisions.okx.rows import OkxError, server_time
from orchestrator_project.doctor import findings
from orchestrator_project.doctor.findings import Finding


def look() -> Iterator[Finding]:
    """The services outside; the models' answers are kept, as those of the daily look-up are."""
    yield from _models()
    yield _okx()


def _models() -> Iterator[Finding]:
    if claude.source() != "live":
        yield Finding("models online", "OK", "nobody to ask: the offline model or a recording answers")
        return
    for name in model_status.models_in_use():
        try:
            model_status.look_up(name, wall_now())
        except claude.LookupFailed as failure:
            yield Finding("models online", "FAIL", f"{name}: {failure}", "look at ANTHROPIC_API_KEY and the network")
        else:
            yield Finding("models online", "OK", f"{name} was looked up")


def _okx() -> Finding:
    """Its clock, by which the market data is dated."""
    with closing(OkxClient(settings.OKX_BASE_URL, Event())) as client:
        before = time()
        try:
            theirs = server_time(client.rows(Endpoint.TIME, {})).timestamp()
        except OkxError as error:
            return Finding("OKX", "WARN", f"not asked: {error}", "look at OKX_BASE_URL and the network")
    return findings.clock("OKX", theirs - (before + time()) / 2)
