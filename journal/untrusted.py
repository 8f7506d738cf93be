"""Texts and addresses that a model, a page or a message gave, as they may be shown to a person. Pure.

Templates escape markup; this takes care of what is no markup and misleads all the same: characters that turn the
direction of writing or cannot be seen, and links that are not links to a page.
"""

import re
from unicodedata import category
from urllib.parse import urlsplit

JOINERS = "\u200c\u200d"
"""Writing systems and emoji need them."""
LINES = "\n\t"
PAGE_SCHEMES = ("http", "https")


def visible(text: str) -> str:
    """The text with every character that steers or hides, such as U+202E, spelt out."""
    return text if text.isprintable() else "".join(map(_spelt, text.replace("\r\n", "\n")))


def _spelt(character: str) -> str:
    if character.isprintable() or character in LINES or character in JOINERS or category(character) == "Zs":
        return character
    return f"‹U+{ord(character):04X}›"


def page_host(address: str) -> str | None:
    """The host of a page's address, or None for what is no address of a page: another scheme, such as `javascript`, a
    password before the host, no host, or characters that no address has."""
    if not address.isprintable() or re.search(r"[\s\\\"<>]", address):
        return None
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        return None
    if parts.scheme not in PAGE_SCHEMES or parts.username is not None or not host:
        return None
    return host
