"""A simulated venue: one account that trades linear perpetual swaps, deterministic and pure.

Time, prices and orders come in as arguments, messages go out as return values; nothing here reads a clock, draws a
random number or does I/O. The same inputs in the same order give the same messages, identifiers included, also when
the state was written down and read back in between.
"""

from .account import VenueAccount
from .announcements import Announcement, Occasion, announcements
from .faults import NO_FAULTS, FaultPlan
from .market import Bar, Funding, Quote
from .terms import VenueTerms

__all__ = [
    "NO_FAULTS",
    "Announcement",
    "Bar",
    "FaultPlan",
    "Funding",
    "Occasion",
    "Quote",
    "VenueAccount",
    "VenueTerms",
    "announcements",
]
