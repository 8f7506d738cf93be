"""Times and dates as everywhere in the admin: UTC, 24 hours, the year first."""

DATETIME_FORMAT = "Y-m-d H:i:s"
DATE_FORMAT = "Y-m-d"
TIME_FORMAT = "H:i:s"
