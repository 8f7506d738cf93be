"""Notes and tags that people keep with a trade: the rules, and their only writer."""

import re
from collections.abc import Iterable

from django.db import transaction
from django.utils import timezone

from journal.models import Trade, TradeNote, TradeTag

ANNOTATE = "journal.annotate_trade"
MOST_TAGS = 20
LONGEST_TAG = 30
WORD = re.compile(r"[a-z0-9][a-z0-9-]*")


class BadTags(ValueError):
    """Tags that are refused; the text says why."""


def read_tags(text: str) -> frozenset[str]:
    """The words of a text, in lower case, separated by spaces or commas. Raises `BadTags`."""
    tags = frozenset(re.split(r"[\s,]+", text.strip().lower())) - {""}
    if len(tags) > MOST_TAGS:
        raise BadTags(f"{len(tags)} tags: at most {MOST_TAGS} to a trade.")
    for tag in sorted(tags):
        if not WORD.fullmatch(tag) or len(tag) > LONGEST_TAG:
            raise BadTags(
                f"“{tag[:LONGEST_TAG]}” is no tag: a word of a to z, 0 to 9 and - between, at most {LONGEST_TAG} long."
            )
    return tags


def standing_tags(trade: Trade) -> list[str]:
    """The tags that nobody has taken off, in order."""
    return sorted(trade.tags.filter(removed_at__isnull=True).values_list("tag", flat=True))


@transaction.atomic
def annotate(trade: Trade, *, by: str, text: str = "", add: Iterable[str] = (), remove: Iterable[str] = ()) -> str:
    """Keep a note, unless it is empty, and change the tags. Says what was done, nothing for what was so already.

    Raises `BadTags` when the trade would have too many.
    """
    Trade.objects.select_for_update().only("pk").get(pk=trade.pk)  # of two who write at once each sees the other's
    known = set(standing_tags(trade))
    added, removed = sorted(set(add) - known), sorted(set(remove) & known)
    if len(known) + len(added) - len(removed) > MOST_TAGS:
        raise BadTags(f"The trade would have more than {MOST_TAGS} tags.")
    if text.strip():
        TradeNote.objects.create(trade=trade, author=by, text=text.strip())
    TradeTag.objects.bulk_create(TradeTag(trade=trade, tag=tag, added_by=by) for tag in added)
    standing = TradeTag.objects.filter(trade=trade, tag__in=removed, removed_at__isnull=True)
    standing.update(removed_by=by, removed_at=timezone.now())
    return _told(bool(text.strip()), added, removed)


def _told(noted: bool, added: list[str], removed: list[str]) -> str:
    done = [
        *(["The note is kept."] if noted else []),
        *([f"Tagged {', '.join(added)}."] if added else []),
        *([f"No longer tagged {', '.join(removed)}."] if removed else []),
    ]
    return " ".join(done)
