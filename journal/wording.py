"""Numbers and stretches of time as people read them. Pure."""

from datetime import timedelta
from decimal import Decimal


def minus(text: str) -> str:
    """The text with the sign of typographers in place of the hyphen."""
    return text.replace("-", "−")


def plain(value: Decimal) -> str:
    """All digits of a decimal but the zeros at its end, thousands apart: `20,634.8`."""
    text = f"{value:,f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else minus(text)


def duration(time: timedelta) -> str:
    """A stretch of time in its two largest units: `2 h 05 min`. A negative one is none."""
    minutes, seconds = divmod(max(int(time.total_seconds()), 0), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours:02} h"
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"
