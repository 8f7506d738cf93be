"""What the Agent API says: a response that may hold an answer, or an error.

HTTP 200 says little here: a search that failed comes with it too, and `status` tells. An answer is believed only with
pages that support it.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from decisions.clients import pages, prices
from decisions.clients.envelope import OrNone, Part, Word, only
from decisions.clients.reply import (
    LONGEST_ERROR,
    LONGEST_ID,
    LONGEST_REASON,
    ResearchReply,
    Tokens,
    quotes_a_secret,
    storable,
)
from decisions.messages import first_faults
from decisions.schemas import InvalidAnswer, ResearchAnswer, decode_answer

Trouble = Literal["moved", "key_refused"]
"""What a person has to mend: the address of the API, or the key."""

_MOVED = ("chat_completions_not_available", "agent_api_migration_required")
_KEY_REFUSED = (401, 403)
_REDIRECTS = range(300, 400)
_LONGEST_PAGE = 200


class _Fault(Part):
    message: Word = None
    type: Word = None
    code: Annotated[str | int | None, OrNone] = None


# --- a response -----------------------------------------------------------------------------------------------------


class _Result(Part):
    url: Word = None
    title: Word = None
    date: Word = None
    last_updated: Word = None


class _TextBlock(Part):
    text: str


class _Item(Part):
    type: str
    results: Annotated[list[Annotated[_Result | None, OrNone]] | None, OrNone] = None
    content: Annotated[list[_TextBlock], only("output_text")] = Field(default_factory=list)


class _Cost(Part):
    total_cost: Decimal | None = Field(default=None, ge=0, lt=100_000, allow_inf_nan=False)


class _Usage(Part):
    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    cost: _Cost | None = None


class _Incomplete(Part):
    reason: Word = None


class _Response(Part):
    id: Word = None
    created_at: Annotated[float | None, OrNone] = None
    status: str
    error: Annotated[_Fault | None, OrNone] = None
    incomplete_details: Annotated[_Incomplete | None, OrNone] = None
    output: Annotated[list[_Item], only("search_results", "message")] = Field(default_factory=list)
    usage: _Usage | None = None


def opened(reply: ResearchReply, content: str, now: datetime) -> ResearchReply:
    """The reply with the response in `content` read: what it says, the pages it rests on, what it cost, and whether it
    can hold an answer.

    Pages are as old as they are at wall time `now`; a recorded response is as old as it was when it was given.
    """
    try:
        body = _Response.model_validate_json(content)
    except ValidationError as error:
        return replace(reply, outcome="invalid_output", error=_told(f"not a response: {first_faults(error, 'body')}"))
    text = _text(body.output)
    reply = replace(
        reply,
        text=storable(text),
        request_id=storable(body.id or "", LONGEST_ID),
        stop_reason=storable(body.status, LONGEST_REASON),
        **_priced(reply.model, body.usage),
    )
    if body.status != "completed":
        return replace(reply, outcome="error", error=_told(_unfinished(body)))
    if quotes_a_secret(text):
        return replace(reply, outcome="invalid_output", error="the answer quotes a secret")
    given = _moment(body.created_at) if reply.source == "replay" else None
    try:
        return replace(reply, citations=pages.citations(_pages(body.output), given or now))
    except pages.NoSource as error:
        return replace(reply, outcome="invalid_output", error=_told(str(error)))


def judged(reply: ResearchReply) -> ResearchReply:
    """The reply that was opened, with the answer in its text, or what is wrong with it. What the answer names as a
    source beside the pages that support it is dropped."""
    try:
        answer = decode_answer(ResearchAnswer, reply.text or "")
    except InvalidAnswer as error:
        return replace(reply, outcome="invalid_output", error=_told(str(error)))
    known = {citation.url for citation in reply.citations}
    sources = tuple(source for source in answer.sources if source in known)
    return replace(reply, outcome="ok", parsed=answer.model_copy(update={"sources": sources}))


def _moment(seconds: float | None) -> datetime | None:
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _pages(output: Sequence[_Item]) -> list[pages.Page]:
    results = [result for item in output if item.type == "search_results" for result in item.results or () if result]
    return [
        pages.Page(
            storable((result.url or "").strip()),
            storable((result.title or "").strip()),
            storable((result.date or result.last_updated or "").strip()),
        )
        for result in results
    ]


def _text(output: Sequence[_Item]) -> str:
    return "".join(block.text for item in output if item.type == "message" for block in item.content)


def _unfinished(body: _Response) -> str:
    details = [
        body.error.message if body.error else "",
        body.incomplete_details.reason if body.incomplete_details else "",
    ]
    return ": ".join([f"the search ended {body.status}", *(each for each in details if each)])


def _priced(model: str, used: _Usage | None) -> dict[str, Any]:
    """Tokens and cost: the server's own figure where it gives one, else the table's."""
    usage = prices.Usage(input=used.input_tokens or 0, output=used.output_tokens or 0) if used else prices.Usage()
    charged = used.cost.total_cost if used and used.cost else None
    cost = prices.cost(model, usage, web_searches=1) if charged is None else charged.quantize(prices.CENT_FRACTION)
    return {
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cost_usd": cost,
        "priced": charged is not None or prices.is_priced(model),
    }


# --- an error -------------------------------------------------------------------------------------------------------


class _ErrorBody(Part):
    error: _Fault


def error_of(status: int, body: str) -> str:
    """An HTTP error in words that name the cure."""
    fault = _fault(body)
    if fault is None:
        page = " ".join(body.split())[:_LONGEST_PAGE]
        said = "a redirect, which is not followed" if status in _REDIRECTS else page or "an empty page"
    else:
        said = fault.message or str(fault.type or fault.code or "no reason is given")
    meaning = {
        "moved": "the API has moved, the key is not wrong",
        "key_refused": "the key in PERPLEXITY_API_KEY is refused",
        None: "",
    }[trouble(status, body)]
    return _told(": ".join(each for each in (f"HTTP {status}", meaning, said) if each))


def trouble(status: int | None, body: str) -> Trouble | None:
    """What an HTTP error has a person mend. It reads a stored call as well as a fresh one."""
    if status is None or status == 200:
        return None
    fault = _fault(body)
    if fault is not None and (str(fault.code) in _MOVED or fault.type in _MOVED):
        return "moved"
    return "key_refused" if status in _KEY_REFUSED else None


def _fault(body: str) -> _Fault | None:
    try:
        return _ErrorBody.model_validate_json(body).error
    except ValidationError:
        return None


def _told(error: str) -> str:
    return storable(error, LONGEST_ERROR)
