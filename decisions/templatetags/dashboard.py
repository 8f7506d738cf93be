"""What the dashboard's templates need beside Django's own."""

import re

from django import template
from django.utils.safestring import SafeString

from journal import presentation

register = template.Library()

UNIT = re.compile(r"(?<=\d) (?=(?:%|USD|R|min|[dhs])(?!\w))")


@register.filter
def pill(word: str) -> SafeString:
    """One word of a closed set, coloured by what it means."""
    return presentation.pill(word)


@register.filter(is_safe=True)
def together(text: object) -> str:
    """The text with every number on one line with its unit."""
    return UNIT.sub("\u00a0", str(text))
