"""Text for a terminal."""

from collections.abc import Sequence


def columns(rows: Sequence[Sequence[str]], *, texts: int | None = None) -> list[str]:
    """Lines with every column as wide as its widest cell: the first `texts` columns flush left, the others flush
    right; all flush left when it is None."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if texts is None or place < texts else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
