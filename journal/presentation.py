"""Values and rows as the admin shows them: fractions as per cent, money without idle zeros, times in UTC to the second.

How a value is shown follows from its type and its field's name, so that a column, a field of a page and a figure out of
a JSON document look alike. Whatever a model or a message holds is escaped here; nothing is trusted.
"""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Model
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from journal.page_parts import Document, Facts, Form, Meter, Meters, Notice, Section, Tab, Table, Tabs, Tone, arranged
from journal.untrusted import page_host, visible
from journal.wording import duration, plain

__all__ = [
    "NOTHING",
    "TIMEFRAMES",
    "Document",
    "Facts",
    "Form",
    "Meter",
    "Meters",
    "Notice",
    "Section",
    "Tab",
    "Table",
    "Tabs",
    "Tone",
    "arranged",
    "facts_of",
    "indicators_table",
    "label",
    "link",
    "link_out",
    "moment",
    "number",
    "page_of",
    "page_sections",
    "pill",
    "pretty",
    "shown",
    "table_of",
    "tone_of",
]

NOTHING = format_html('<span class="nothing">{}</span>', "–")
LONGEST_CELL = 140
LONGEST_FACT = 200
SHORT_JSON = 600
PLACES = 4
"""Of a fraction as per cent: a thousandth of the least fee."""
LONGEST_NAME = 30
TIMEFRAMES = ("15m", "1H", "4H")
WORDS = {"pnl": "P&L", "pct": "%", "ids": "IDs", "ct": "contract", "val": "value"} | {
    word: word.upper()
    for word in ("adx", "atr", "bb", "ema", "id", "macd", "oi", "okx", "rr", "rsi", "sl", "ttl", "usd", "utc")
}
NAMES = {"equity_at": "equity as of"}
"""Fields whose name in words would be that of another one."""
FRACTION = re.compile(r"(_pct|^rate|_rate|_return|_drawdown|change_\d+h|confidence\w*)$")
SIGNED = re.compile(r"^(pnl_|gross_pnl|net_pnl|total_pnl|expectancy|unrealized_pnl|funding_usd|amount_usd)")
CODED = re.compile(
    r"^(outcome|status|state|direction|action|opus_action|severity|exit_reason|verdict|kind|purpose|snapshot_type"
    r"|openings_blocked|decision|impact|event|lifecycle|triggered_by|origin|reflection_type|side|pos_side|order_type|intent|market_regime|regime)$"
)
"""Fields that hold one word of a closed set."""

TONES: dict[Tone, tuple[str, ...]] = {
    "good": ("traded", "approved", "filled", "pass", "ok", "active"),
    "bad": (
        "order_rejected", "order_unknown", "model_error", "model_refusal", "invalid_output", "research_error",
        "abandoned", "rejected", "reject", "unknown", "halt", "error", "refusal", "liquidation", "critical",
    ),
    "warn": (
        "gate_rejected", "playbook_blocked", "halted", "cooldown", "stale_data", "no_data", "budget", "size_too_small",
        "order_expired", "order_cancelled", "instrument_blocked", "previous_still_running", "cancelled", "expired",
        "warn", "shrink", "high", "drawdown", "daily_loss", "manual",
    ),
    "info": ("open", "order_working", "accepted", "sent", "pending", "partially_filled", "challenger"),
}  # fmt: skip
"""What the words mean to a reader; the others are plain."""


# --- values -----------------------------------------------------------------------------------------------------------


def label(name: str) -> str:
    """A field's name in words: `pnl_usd` is `P&L USD`, `closed_at` is `Closed`, `rsi_14` is `RSI 14`."""
    words = NAMES.get(name) or re.sub(r"(_at|_json|_seconds)$", "", name).replace("_", " ")
    text = " ".join(WORDS.get(word, word) for word in words.split())
    return text[:1].upper() + text[1:]


def shown(name: str, value: Any, *, short: bool = False) -> str:
    """The value of the field `name` as escaped HTML; `short` cuts long texts, for the cell of a table."""
    if value is None or value in ("", [], {}):
        return NOTHING
    match value:
        case SafeString():
            return value
        case bool():
            return "yes" if value else "no"
        case Model():
            return link(value, f"#{value.pk}") if short else link(value)
        case datetime():
            return moment(value, short=short)
        case date():
            return value.isoformat()
        case int() if name.endswith("_tokens"):
            return f"{value:,}"
        case int() if name.endswith("_seconds"):
            return format_html('<span class="one-line">{}</span>', duration(timedelta(seconds=value)))
        case Decimal() | float():
            return number(name, value)
        case dict() | list():
            value = json.dumps(value, ensure_ascii=False)
    if CODED.match(name):
        return pill(str(value))
    return _cut(visible(str(value))) if short else visible(str(value))


def _cut(text: str) -> SafeString:
    """A name on one line, a sentence in a column wide enough to read; what is longer than a cell in its tooltip."""
    if len(text) <= LONGEST_CELL:
        if len(text) > LONGEST_NAME:
            return format_html('<span class="sentence">{}</span>', text)
        return format_html('<span class="one-line">{}</span>', _breakable(text))
    return format_html('<span class="sentence" title="{}">{}</span>', text[:1000], Truncator(text).chars(LONGEST_CELL))


def _breakable(name: str) -> SafeString:
    """A name that is broken between its words where the room is short."""
    first, *others = re.split("(?<=_)", name)
    return format_html("{}{}", first, format_html_join("", "<wbr>{}", ((part,) for part in others)))


def pretty(value: Any) -> str:
    """A JSON document, indented."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def moment(value: datetime, *, short: bool = False) -> SafeString:
    """A time in UTC, to the second; `short` leaves out seconds that are zero."""
    utc = f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    text = utc.removesuffix(":00") if short and value.second == 0 else utc
    return format_html('<time datetime="{}Z" title="{} UTC">{}</time>', utc.replace(" ", "T"), utc, text)


def number(name: str, value: Decimal | float) -> str:
    """A number without idle zeros: a fraction as per cent, a gain or loss with its sign and colour.

    Money is exact; floats, which only indicators are, show seven digits, and a fraction four decimals of a per cent.
    """
    exact = value if isinstance(value, Decimal) else Decimal(f"{value:.7g}")
    if not exact.is_finite():
        return str(exact)
    text = f"{plain(round(exact * 100, PLACES))} %" if FRACTION.search(name) else plain(exact)
    if not SIGNED.match(name):
        return format_html('<span class="number">{}</span>', text)
    tone = "gain" if exact > 0 else "loss" if exact < 0 else "number"
    return format_html('<span class="number {}">{}</span>', tone, f"+{text}" if exact > 0 else text)


def pill(word: str) -> SafeString:
    """One word of a closed set, coloured by what it means."""
    return format_html('<span class="pill pill-{}">{}</span>', tone_of(word), visible(word.replace("_", " ")))


def tone_of(word: str) -> Tone:
    return next((tone for tone, words in TONES.items() if word.lower() in words), "plain")


def page_of(row: Model) -> str:
    """The address of a row's page in the admin."""
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=(row.pk,))


def link(row: Model, text: str | None = None) -> SafeString:
    """A row's name, or another text, leading to its page where its table has pages."""
    try:
        page = page_of(row)
    except NoReverseMatch:
        return format_html("{}", visible(str(row)))
    name = visible(str(row))
    return format_html('<a href="{}" title="{}">{}</a>', page, name, text or name)


def link_out(address: str, text: str = "") -> str:
    """A page elsewhere, with its host; it is not told where the reader comes from. Bare text for what is no page."""
    host = page_host(address)
    if host is None:
        return visible(text or address)
    named = visible(text) if text and text != address else ""
    return format_html(
        '<a href="{}" rel="noreferrer noopener nofollow" target="_blank">{}</a> <span class="nothing">{}</span>',
        address,
        named or address,
        host if named else "",
    )


# --- parts of a page out of values -----------------------------------------------------------------------------------


def facts_of(title: str, values: Mapping[str, Any]) -> Facts:
    """Fields as names and values."""
    return Facts(title=title, facts=[(label(name), shown(name, value)) for name, value in values.items()])


def table_of(title: str, rows: Iterable[Model], *names: str) -> Table:
    """The fields `names` of rows, the first one leading to the row's page."""
    cells = []
    for row in rows:
        first, *others = (shown(name, getattr(row, name), short=True) for name in names)
        cells.append([format_html('<a href="{}">{}</a>', page_of(row), first), *others])
    return Table(title=title, headers=[label(name) for name in names], rows=cells)


def indicators_table(documents: Mapping[str, Mapping[str, Any] | None]) -> Table:
    """Indicators side by side: a row for each, a column for each timeframe of each document, which may be named."""
    columns = {
        f"{timeframe} {name}".strip(): values[timeframe]
        for name, values in documents.items()
        for timeframe in TIMEFRAMES
        if values and timeframe in values
    }
    keys = sorted({key for column in columns.values() for key in column})
    rows = [[label(key), *(shown(key, column.get(key)) for column in columns.values())] for key in keys]
    return Table(title="Indicators", headers=["Indicator", *columns], rows=rows, compares=True)


def page_sections(row: Model) -> tuple[Facts, list[Section]]:
    """Every column of a row: the short ones as facts, the long ones as documents."""
    facts: dict[str, Any] = {}
    texts: dict[str, str] = {}
    for field in row._meta.concrete_fields:
        value = getattr(row, field.name)
        if value and isinstance(value, dict | list):
            texts[field.name] = pretty(value)
        elif isinstance(value, str) and (len(value) > LONGEST_FACT or "\n" in value):
            texts[field.name] = value
        else:
            facts[field.name] = value
    documents: list[Section] = [
        Document(title=label(name), text=text, is_open=len(texts) == 1 or text[0] not in "{[" or len(text) < SHORT_JSON)
        for name, text in texts.items()
    ]
    return facts_of(str(row._meta.verbose_name).capitalize(), facts), documents
