"""Rows of the record as CSV and JSON, piece by piece, so that a million of them take no more memory than one. Pure.

Decimals are texts with all their digits, times are UTC with a Z, what is not known is null and in CSV empty. CSV is RFC
4180, in UTF-8; documents in it are JSON. A text that a spreadsheet would take for a formula gets an apostrophe before
it, since models and messages write some of them (OWASP, "CSV Injection"); numbers stay numbers. JSON is one array.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

Format = Literal["csv", "json"]
FORMATS: Mapping[Format, str] = {"csv": "text/csv; charset=utf-8", "json": "application/json"}
"""Each with its content type."""
FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]|[\t\r\n]")
"""How a text begins that a spreadsheet may compute."""
Row = Mapping[str, Any]


def document(row: Row) -> dict[str, Any]:
    """A row's values as JSON has them."""
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    match value:
        case Decimal():
            return f"{value:f}"
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case UUID():
            return str(value)
        case Mapping():
            return {str(name): _plain(each) for name, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
    return value


def as_json(rows: Iterable[Row]) -> Iterator[str]:
    """One JSON array, a line a row."""
    separator = "[\n"
    for row in rows:
        yield separator + json.dumps(document(row), ensure_ascii=False, allow_nan=False)
        separator = ",\n"
    yield "[]\n" if separator == "[\n" else "\n]\n"


class _Line:
    """What `csv` writes a line to, to be taken up at once."""

    text = ""

    def write(self, text: str) -> None:
        self.text = text


def as_csv(names: Sequence[str], rows: Iterable[Row]) -> Iterator[str]:
    """A line with the names, then a line a row."""
    line = _Line()
    writer = csv.writer(line, lineterminator="\r\n")
    writer.writerow(names)
    yield line.text
    for row in rows:
        writer.writerow([_cell(row[name]) for name in names])
        yield line.text


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return defused(value)
    plain = _plain(value)
    match plain:
        case None:
            return ""
        case bool():
            return "true" if plain else "false"
        case dict() | list():
            return json.dumps(plain, ensure_ascii=False)
    return str(plain)


def defused(text: str) -> str:
    """The text as a spreadsheet shows it and does not compute it."""
    return f"'{text}" if FORMULA.match(text) else text
