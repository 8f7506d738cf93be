"""Trades with what people said about them, as they are exported."""

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Func, OuterRef, QuerySet, TextField, Value
from django.db.models.functions import JSONObject

from journal.export import Format
from journal.models import Trade, TradeNote, TradeTag

ZULU = """to_char(%(expressions)s AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


def with_words_of_people(trades: QuerySet[Trade], wanted: Format) -> QuerySet[Trade]:
    """Each trade with its standing tags, and in JSON with its notes."""
    standing = TradeTag.objects.filter(trade=OuterRef("pk"), removed_at__isnull=True).order_by("tag")
    words = ArraySubquery(standing.values("tag"))
    if wanted == "csv":
        return trades.annotate(tag_words=Func(words, Value(" "), function="array_to_string", output_field=TextField()))
    notes = TradeNote.objects.filter(trade=OuterRef("pk")).order_by("id")
    noted = JSONObject(author="author", text="text", created_at=Func("created_at", template=ZULU))
    return trades.annotate(tag_words=words, person_notes=ArraySubquery(notes.annotate(noted=noted).values("noted")))
