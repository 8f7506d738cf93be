"""`manage.py models`: the models in use, whether they are still there, and what they charge."""

import json
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from decisions import model_status
from decisions.clients import claude, prices
from decisions.clients.catalogue import successor
from decisions.clock import wall_now
from orchestrator_project.command_line import CommandWithExamples

Row = dict[str, Any]
LABELS = {
    "lifecycle": "lifecycle",
    "retires_at": "retirement",
    "checked_at": "looked up",
    "successor": "successor",
    "price": "price",
    "price_source": "price as of",
}


EXAMPLES = """
examples:
  manage.py models
  manage.py models --check
  manage.py models --json

exit codes: 0 shown, 1 with --check one is gone or could not be looked up, 2 a mistake in what was typed or set
"""


class Command(CommandWithExamples):
    examples = EXAMPLES
    help = "Show the models in use: their lifecycle, retirement, successor and price. Fails when one is gone."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true", help="look them up now; exit code 1 when one is gone")
        parser.add_argument("--json", action="store_true", help="as JSON")

    def handle(self, *_: Any, **options: Any) -> None:
        if options["check"]:
            _check()
        standings = model_status.standings()
        rows = [_row(each) for each in standings] + [_research_row()]
        self.stdout.write(json.dumps(rows, indent=2) if options["json"] else "\n\n".join(map(_as_text, rows)))
        gone = [each for each in standings if each.is_gone]
        if options["check"] and gone:
            raise CommandError("\n".join(f"{each}. {each.cure}." for each in gone), returncode=1)


def _check() -> None:
    if claude.source() != "live":
        raise CommandError(
            "--check: the offline model or a recording answers; set ANTHROPIC_API_KEY to look models up", returncode=2
        )
    for model in model_status.models_in_use():
        try:
            model_status.look_up(model, wall_now())
        except claude.LookupFailed as failure:
            raise CommandError(f"{model} could not be looked up: {failure}", returncode=1) from failure


def _row(standing: model_status.Standing) -> Row:
    return {
        "setting": standing.setting,
        "model": standing.model,
        "lifecycle": standing.lifecycle or "never looked up",
        "retires_at": standing.retires_at and standing.retires_at.isoformat(),
        "checked_at": standing.checked_at and standing.checked_at.isoformat(timespec="seconds"),
        "successor": successor(standing.model),
        **_price(standing.model),
    }


def _research_row() -> Row:
    """The research model: its service tells no lifecycle."""
    model = settings.PERPLEXITY_MODEL
    return {"setting": "PERPLEXITY_MODEL", "model": model, **_price(model)}


def _price(model: str) -> Row:
    price = prices.price_of(model)
    search = f", {price.web_search} USD a search" if price.web_search else ""
    told = f"{price.input} in, {price.output} out, {price.cache_read} from the cache, USD per million tokens{search}"
    if not prices.is_priced(model):
        told += " (not in the price table: counted as the dearest)"
    return {"price": told, "price_as_of": price.as_of.isoformat(), "price_source": price.source}


def _as_text(row: Row) -> str:
    told = {**row, "price_source": f"{row['price_as_of']}, {row['price_source']}"}
    lines = [f"  {label:<12} {told[name]}" for name, label in LABELS.items() if told.get(name)]
    return "\n".join([f"{row['setting']}={row['model']}", *lines])
