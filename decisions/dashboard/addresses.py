"""Where the rows behind a number are: addresses of the admin."""

from urllib.parse import urlencode

from django.urls import reverse


class AdminAddresses:
    """The lists and pages of the admin; see `parts.Addresses`."""

    def rows(self, table: str, **filters: str) -> str:
        address = reverse(f"admin:{_name(table)}_changelist")
        return f"{address}?{urlencode(filters)}" if filters else address

    def row(self, table: str, key: int) -> str:
        return reverse(f"admin:{_name(table)}_change", args=(key,))


ADDRESSES = AdminAddresses()


def _name(table: str) -> str:
    return table.replace(".", "_")
