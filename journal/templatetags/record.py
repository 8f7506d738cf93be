"""What the templates of the record's pages need beside Django's own."""

from django import template

from journal import untrusted

register = template.Library()


@register.filter(is_safe=True)
def visible(text: object) -> str:
    """The text with characters spelt out that steer or hide; markup is escaped as always."""
    return untrusted.visible(str(text))
