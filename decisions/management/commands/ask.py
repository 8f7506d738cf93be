"""`manage.py ask`: one question to a model by hand, from one snapshot. Only a call that costs money is written down."""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from pydantic import BaseModel, ValidationError

from decisions import context
from decisions.clients import claude
from decisions.clients.reply import Keep, ModelReply, forget
from decisions.clock import now_for_record
from decisions.messages import AccountState, MarketSnapshot, Position, PositionUpdate, first_faults, refuse_constant
from decisions.prompts import Prompt, allowed_actions, analysis_prompt, screening_prompt
from decisions.question import Estimate, Question, estimate
from decisions.schemas import AnalysisAnswer, ScreenAnswer
from decisions.stages.calls import keeping
from journal.models import Promotion
from journal.services import active_playbook
from orchestrator_project.command_line import CommandWithExamples

MISTAKE = 2
LONGEST_SHOWN = 120
"""Characters of a text inside the request; the prompt itself is shown by --show-prompt."""
EFFORTS = ("low", "medium", "high", "xhigh", "max")
FLAT = AccountState(
    equity=Decimal(10_000),
    available=Decimal(10_000),
    margin_used=Decimal(0),
    unrealized_pnl=Decimal(0),
    net_transfers_usd=Decimal(0),
)
"""The account when none is given."""

Model = TypeVar("Model", bound=BaseModel)


EXAMPLES = """
examples:
  manage.py ask --snapshot docs/examples/snapshot.json
  manage.py ask --snapshot docs/examples/snapshot.json --screen --dry-run
  manage.py ask --snapshot docs/examples/snapshot.json --json

exit codes: 0 a cycle could use the answer, 1 it could not, 2 a mistake in what was typed
"""


class Command(CommandWithExamples):
    examples = EXAMPLES
    help = (
        "Ask a model about one market snapshot, as a cycle would: print the request, what it may cost, and the "
        "decision with its real cost and its faults. Nothing is traded. With a key the service is asked and paid: that "
        "call is recorded, without a cycle, and counts for the day's budget and in `costs`; what the offline model or "
        "a recording answers is not. The playbook, the limits, the calendar and the recent trades are those of the "
        "database."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--snapshot",
            required=True,
            metavar="FILE",
            help="a market_snapshot as JSON, bare, in its envelope or as the one field `data`; - reads standard input "
            "(docs/examples/snapshot.json is one)",
        )
        parser.add_argument(
            "--positions", metavar="FILE", help="a list of positions, or a position_update; without it a flat account"
        )
        parser.add_argument("--screen", action="store_true", help="ask the screener's question, not the analyst's")
        parser.add_argument("--show-prompt", action="store_true", help="print the whole prompt and the whole schema")
        parser.add_argument("--dry-run", action="store_true", help="ask nothing: print the request and the estimate")
        parser.add_argument("--model", metavar="NAME", help="another model than OPUS_MODEL or HAIKU_MODEL")
        parser.add_argument("--effort", choices=EFFORTS, help="another effort than OPUS_EFFORT")
        parser.add_argument("--json", action="store_true", help="everything as one JSON object")

    def handle(self, *_: Any, **options: Any) -> None:
        question = _question(options)
        costs, reply = estimate(question), None
        if not options["json"]:
            self.stdout.write("\n".join(_before(question, costs, whole=options["show_prompt"])))
        if not options["dry_run"]:
            reply = question.ask(_keep(question))
            if not options["json"]:
                self.stdout.write("\n".join(_after(question, reply)))
        if options["json"]:
            self.stdout.write(json.dumps(_as_object(question, costs, reply), indent=2, default=str))
        if reply is not None and question.why_invalid(reply):
            sys.exit(1)


def _keep(question: Question) -> Keep:
    """Where the reply is written down: among the calls, if money is spent on it."""
    is_paid = claude.source() == "live" and not claude.lacks_key()
    return keeping(None, question.prompt, now_for_record()) if is_paid else forget


# --- the question ---------------------------------------------------------------------------------------------------


def _question(options: Mapping[str, Any]) -> Question:
    snapshot = _read_as(MarketSnapshot, _document(options["snapshot"], "market snapshot"), "market snapshot")
    occasion = f"by hand {snapshot.symbol} {snapshot.timestamp:%Y-%m-%dT%H:%MZ}"
    if options["screen"]:
        return Question(
            purpose="screen",
            symbol=snapshot.symbol,
            prompt=screening_prompt(snapshot),
            answer_model=ScreenAnswer,
            model=options["model"] or settings.HAIKU_MODEL,
            max_tokens=settings.HAIKU_MAX_TOKENS,
            effort=options["effort"],
            temperature=None,
            occasion=occasion,
        )
    return Question(
        purpose="analyze",
        symbol=snapshot.symbol,
        prompt=_analysis_prompt(snapshot, *_positions(options["positions"])),
        answer_model=AnalysisAnswer,
        model=options["model"] or settings.OPUS_MODEL,
        max_tokens=settings.OPUS_MAX_TOKENS,
        effort=options["effort"] or settings.OPUS_EFFORT or None,
        temperature=settings.OPUS_TEMPERATURE,
        occasion=occasion,
    )


def _analysis_prompt(snapshot: MarketSnapshot, positions: tuple[Position, ...], account: AccountState) -> Prompt:
    try:
        playbook = active_playbook()
    except Promotion.DoesNotExist:
        raise CommandError("There is no playbook yet: run `manage.py seed` first.", returncode=MISTAKE) from None
    try:
        events = context.known_events(snapshot.timestamp)
    except OverflowError:
        raise CommandError("This is no market snapshot: timestamp: beyond any calendar", returncode=MISTAKE) from None
    has_position = context.position_in(snapshot.symbol, positions) is not None
    return analysis_prompt(
        snapshot=snapshot,
        positions=positions,
        account=account,
        research=None,
        playbook=playbook,
        recent_trades=context.recent_trades(),
        allowed=allowed_actions(has_position=has_position, blocked=None),
        limits=context.told_limits(),
        events=events,
    )


def _positions(file: str | None) -> tuple[tuple[Position, ...], AccountState]:
    if file is None:
        return (), FLAT
    document = _document(file, "position update")
    if isinstance(document, list):
        return tuple(_read_as(Position, each, "position") for each in document), FLAT
    update = _read_as(PositionUpdate, document, "position update")
    return update.positions, update.account


def _document(file: str, what: str) -> Any:
    """The JSON document in a file, out of its envelope where it has one. Raises `CommandError`."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
        document = _json(text)
        if isinstance(document, dict) and document.keys() == {"data"}:
            document = _unwrapped(document["data"])
        payload = document.get("payload") if isinstance(document, dict) else None
        return document if payload is None else _unwrapped(payload)
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}", returncode=MISTAKE) from None
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise CommandError(f"{file} holds no {what}: not JSON: {error}", returncode=MISTAKE) from None


def _unwrapped(value: Any) -> Any:
    """A member of the envelope, which is JSON text on the wire."""
    return _json(value) if isinstance(value, str) else value


def _json(text: str) -> Any:
    return json.loads(text, parse_float=Decimal, parse_constant=refuse_constant)


def _read_as(model: type[Model], document: Any, what: str) -> Model:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        faults = first_faults(error, "the document", most=3)
        raise CommandError(f"This is no {what}: {faults}", returncode=MISTAKE) from None


# --- telling it -----------------------------------------------------------------------------------------------------


def _before(question: Question, costs: Estimate, *, whole: bool) -> Iterator[str]:
    """The question, as lines."""
    if whole:
        prompt = question.prompt
        yield from ("=== system ===", prompt.system, "", "=== user ===", prompt.text, "")
    yield from ("=== request ===", json.dumps(_shortened(question.request(), whole), indent=2), "")
    tokens = ", ".join(f"{name} {count}" for name, count in costs.tokens.items())
    dearest = "" if costs.priced else " (no price is known for this model: the dearest known is taken)"
    yield "=== estimate ==="
    yield f"input tokens   {costs.input_tokens} ({tokens}), of these {costs.cached_tokens} in the prompt cache"
    yield f"output tokens  usually {costs.usual_output_tokens}, at most {costs.most_output_tokens}"
    yield f"cost           usually {costs.usual_cost_usd} USD, at most {costs.most_cost_usd} USD{dearest}"
    yield f"answered by    {_who_answers()}"


def _shortened(value: Any, whole: bool) -> Any:
    """A request with its long texts told by their length, and its schema too unless wanted `whole`."""
    if isinstance(value, dict):
        if value.get("type") == "json_schema" and not whole:
            return {**value, "schema": f"... {len(json.dumps(value['schema']))} characters"}
        return {name: _shortened(each, whole) for name, each in value.items()}
    if isinstance(value, list):
        return [_shortened(each, whole) for each in value]
    if isinstance(value, str) and len(value) > LONGEST_SHOWN:
        return f"{value[: LONGEST_SHOWN // 2]}... {len(value)} characters"
    return value


def _who_answers() -> str:
    return {
        "live": settings.ANTHROPIC_BASE_URL,
        "replay": f"the recording in {settings.MODEL_REPLAY}",
        "offline": "the offline model, which is rules: ANTHROPIC_API_KEY is not set",
    }[claude.source()]


def _after(question: Question, reply: ModelReply[Any]) -> Iterator[str]:
    """The reply, as lines."""
    answer = None if reply.parsed is None else reply.parsed.model_dump_json(indent=2)
    yield from ("", "=== reply ===", answer or reply.text or "(no text)", "")
    cached = f"{reply.cache_read_tokens} read from the cache, {reply.cache_write_tokens} written to it"
    yield f"tokens         {reply.input_tokens} in and {cached}; {reply.output_tokens} out"
    yield f"cost           {reply.cost_usd} USD{'' if reply.source == 'live' else ', not paid: nobody was asked'}"
    yield f"time           {reply.latency_ms} ms, attempts {reply.attempts}, request {reply.request_id or 'without id'}"
    yield f"cited facts    {'; '.join(question.faults(reply)) or 'nothing is wrong with them'}"
    invalid = question.why_invalid(reply)
    yield f"verdict        {'valid' if invalid is None else f'a cycle could not use it: {invalid}'}"


def _as_object(question: Question, costs: Estimate, reply: ModelReply[Any] | None) -> dict[str, Any]:
    told: dict[str, Any] = {
        "purpose": question.purpose,
        "answered_by": _who_answers(),
        "prompt": asdict(question.prompt),
        "request": question.request(),
        "estimate": {"input_tokens": costs.input_tokens, **asdict(costs)},
    }
    if reply is not None:
        parsed = None if reply.parsed is None else reply.parsed.model_dump(mode="json")
        told["reply"] = asdict(replace(reply, parsed=None)) | {"parsed": parsed}
        told["faults"] = question.faults(reply)
        told["invalid"] = question.why_invalid(reply)
    return told
