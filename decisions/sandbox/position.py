"""How far the sandbox market has been published, kept over restarts."""

import os
from pathlib import Path
from uuid import uuid4

from pydantic import AwareDatetime, BaseModel, ValidationError


class MarketError(ValueError):
    """A market that cannot be opened as asked. The text says why and what to do."""


class MarketPosition(BaseModel):
    """A market that was begun: which it is, this run of it, and the close of the last bar that went out."""

    origin: str
    run: str
    closed_at: AwareDatetime | None = None


class PositionFile:
    """How far a market has been published, over restarts: replaced as a whole, never half written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, origin: str) -> MarketPosition:
        """Where the market was left, or the beginning of a new run. Raises `MarketError` for another market's file."""
        try:
            saved = MarketPosition.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            saved = MarketPosition(origin=origin, run=uuid4().hex)
            self.write(saved)
        except ValidationError:
            raise MarketError(f"{self.path} cannot be understood; remove it to let the market begin again") from None
        if saved.origin != origin:
            raise MarketError(
                f"{self.path.parent} holds the position of another market ({saved.origin}) than the one asked for "
                f"({origin}): ask for the former, or use another LOCAL_DIR"
            )
        return saved

    def write(self, position: MarketPosition) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".new")
        with fresh.open("w") as file:
            file.write(position.model_dump_json())
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)
