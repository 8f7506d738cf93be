"""How long the pages of the admin take, and how many queries, with months of trading on record.

    python tests/bench/pages.py [--cycles 1000000] [--trades 100000]

Servers of its own, filled by Postgres itself: for every cycle three model calls and a screening, beside the trades
their orders, fills, funding and verdicts, and what was told and heard. Then every list of the admin is opened: its
first page, each of its filters, a search, a year and a day of its dates, and a page far down; then a page of a row of
each table, and the dashboard. Times are of the whole request, in this process, without the network.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin
    from django.db.models import Field, Model
    from django.test import Client

APPLICATIONS = ("journal", "decisions", "risk", "reflection")
ROUNDS = 5
PATIENCE_SECONDS = 4.0
"""What is slower than this for all its rounds is measured less often."""
FAR_DOWN = 1000
SLOW_MILLISECONDS = 500.0


@dataclass(frozen=True)
class Look:
    """A page to look at: which it is, and its address."""

    name: str
    address: str


@dataclass(frozen=True)
class Figure:
    """What a page took: the first time, the median of the rounds, and how many queries."""

    look: Look
    status: int
    queries: int
    first: float
    median: float

    def __str__(self) -> str:
        trouble = "" if self.status == 200 else f"  answered {self.status}"
        slow = "  SLOW" if self.median > SLOW_MILLISECONDS else ""
        return f"{self.look.name:<64} {self.queries:4} {self.first:9.1f} {self.median:9.1f}{slow}{trouble}"


# --- the pages --------------------------------------------------------------------------------------------------------


def looks() -> Iterator[Look]:
    """The dashboard, then every table: its list in every way, and the page of its newest row."""
    from django.contrib import admin
    from django.urls import reverse

    yield Look("dashboard", reverse("admin:index"))
    pages = admin.site._registry
    for model in sorted(pages, key=lambda each: each._meta.db_table):
        if model._meta.app_label in APPLICATIONS:
            newest = model._default_manager.order_by("-pk").first()
            yield from _of_table(model, pages[model], newest)


def _of_table(model: "type[Model]", pages: "ModelAdmin[Any]", newest: "Model | None") -> Iterator[Look]:
    from django.urls import reverse

    table, name = model._meta.db_table, f"admin:{model._meta.app_label}_{model._meta.model_name}"
    listed = reverse(f"{name}_changelist")
    yield Look(f"{table}: list", listed)
    if newest is None:
        return
    for word, value in _filters(pages, newest):
        yield Look(f"{table}: {word}={str(value)[:30]}", f"{listed}?{word}={value}")
    if pages.search_fields:
        yield Look(f"{table}: search for one", f"{listed}?q={_identifier(model, newest)}")
        yield Look(f"{table}: search for a word", f"{listed}?q=volume")
    if dates := pages.date_hierarchy:
        stamp = getattr(newest, dates)
        yield Look(f"{table}: a year", f"{listed}?{dates}__year={stamp.year}")
        day = f"{dates}__year={stamp.year}&{dates}__month={stamp.month}&{dates}__day={stamp.day}"
        yield Look(f"{table}: a day", f"{listed}?{day}")
    if model._default_manager.count() > FAR_DOWN * pages.list_per_page:
        yield Look(f"{table}: page {FAR_DOWN}", f"{listed}?p={FAR_DOWN}")
    yield Look(f"{table}: a row", reverse(f"{name}_change", args=(newest.pk,)))


def _filters(pages: "ModelAdmin[Any]", row: "Model") -> Iterator[tuple[str, object]]:
    """Each filter set to what the newest row has there, those of yes and no to either, and those of a closed set to
    what is probably seldom."""
    for listed in pages.list_filter:
        name = listed[0] if isinstance(listed, tuple) else listed
        if not isinstance(name, str) or "__" in name:
            continue
        value, field = getattr(row, name), cast("Field[Any, Any]", row._meta.get_field(name))
        choices = field.choices
        if isinstance(value, datetime):
            yield from ((f"{name}__isempty", answer) for answer in (0, 1))
        elif field.get_internal_type() == "BooleanField":
            yield from ((f"{name}__exact", answer) for answer in (0, 1))
        elif choices:
            words = [word for word, _ in choices if word]
            yield from (
                (f"{name}__exact", word) for word in (value, next(each for each in words[::-1] if each != value))
            )
        elif value not in (None, ""):
            yield name, value


def _identifier(model: "type[Model]", row: "Model") -> object:
    """What tells the row from all others: its own id where it has one that is not a number."""
    unique = [field for field in model._meta.concrete_fields if field.unique and not field.primary_key]
    return getattr(row, unique[0].attname) if unique else "BTC-USDT-SWAP"


# --- the measurement --------------------------------------------------------------------------------------------------


def measured(client: "Client", look: Look) -> Figure:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    took: list[float] = []
    status, began = 200, time.perf_counter()
    while len(took) <= ROUNDS and (len(took) < 2 or time.perf_counter() - began < PATIENCE_SECONDS):
        start = time.perf_counter()
        response = client.get(look.address)
        response.close()
        status = response.status_code
        took.append((time.perf_counter() - start) * 1000)
    with CaptureQueriesContext(connection) as queries:
        client.get(look.address).close()
    return Figure(look, status, len(queries), took[0], statistics.median(took[1:]))


def reader() -> "Client":
    """A member of staff who may see everything."""
    from django.contrib.auth.models import User
    from django.test import Client

    user, _ = User.objects.get_or_create(username="bench", defaults={"is_staff": True, "is_superuser": True})
    client = Client(SERVER_NAME="localhost")
    client.force_login(user, "django.contrib.auth.backends.ModelBackend")
    return client


def measure() -> None:
    print(f"{'page':<64} {'qu.':>4} {'first ms':>9} {'median ms':>9}")
    client = reader()
    client.get("/admin/")  # imports and templates
    figures = []
    for look in looks():
        figures.append(measured(client, look))
        print(figures[-1], flush=True)
    medians = sorted((figure.median for figure in figures), reverse=True)
    print(
        f"{len(figures)} pages: median {statistics.median(medians):.0f} ms, slowest {medians[0]:.0f} ms, "
        f"{sum(median > SLOW_MILLISECONDS for median in medians)} slower than {SLOW_MILLISECONDS:.0f} ms, "
        f"most queries {max(figure.queries for figure in figures)}"
    )


def fill_tables(cycles: int, trades: int) -> None:
    from django.db import connection

    from tests.bench.rows import Record, fill

    began, now = time.perf_counter(), datetime.now(UTC).replace(second=0, microsecond=0)
    rows = fill(Record(cycles, trades, market_time=now, wall_time=now), print)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE)")
        cursor.execute("SELECT pg_database_size(current_database())")
        (size,) = cursor.fetchone()
    print(f"{rows:,} rows, {size / 2**30:.1f} GiB, vacuumed, in {time.perf_counter() - began:.0f} s\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cycles", type=int, default=1_000_000)
    parser.add_argument("--trades", type=int, default=100_000)
    options = parser.parse_args()
    if not 0 < options.trades <= options.cycles:
        parser.error("a trade is opened by a cycle: there are at least as many cycles as trades, and one trade")
    with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as folder:
        os.environ.update(
            DJANGO_SETTINGS_MODULE="orchestrator_project.settings", LOCAL_DIR=folder, SETTINGS_FILE=os.devnull
        )
        import django

        django.setup()
        from orchestrator_project.local.ownership import Wanted, servers_for_command

        with servers_for_command(Path(folder), Wanted(postgres=True, redis=True)):
            from django.core.management import call_command

            call_command("migrate", verbosity=0)
            with open(os.devnull, "w") as nowhere:
                call_command("seed", stdout=nowhere)
            fill_tables(options.cycles, options.trades)
            measure()


if __name__ == "__main__":
    main()
