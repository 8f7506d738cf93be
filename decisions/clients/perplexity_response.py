"""What the Agent API says: a response that may hold an answer, or an error.

HTTP 200 says little here: a search that failed comes with it too, and `status` tells. An answer is believed only with
pages that support it.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from decisions.clients import pages, prices
from decisions.clients.reply import LONGEST_ERROR, LONGEST_ID, LONGEST_REASON, ResearchReply, Tokens, storable
from decisions.messages import first_faults
from decisions.schemas import InvalidAnswer, ResearchAnswer, decode_answer

Trouble = Literal["moved", "key_refused"]
"""What a person has to mend: the address of the API, or the key."""

_MOVED = ("chat_completions_not_available", "agent_api_migration_required")
_KEY_REFUSED = (401, 403)
_REDIRECTS = range(300, 400)
_LONGEST_PAGE = 200


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Fault(_Part):
    message: str = ""
    type: str | None = None
    code: str | int | None = None


# --- a response -----------------------------------------------------------------------------------------------------


class _Result(_Part):
    url: str = ""
    title: str | None = None
    date: str | None = None
    last_updated: str | None = None


class _Content(_Part):
    type: str
    text: str | None = None


class _Item(_Part):
    type: str
    results: list[_Result] | None = None
    content: list[_Content] | None = None


class _Cost(_Part):
    total_cost: Decimal | None = Field(default=None, ge=0, lt=100_000, allow_inf_nan=False)


class _Usage(_Part):
    input_tokens: Tokens = 0
    output_tokens: Tokens = 0
    cost: _Cost | None = None


class _Incomplete(_Part):
    reason: str = ""


class _Response(_Part):
    id: str = ""
    created_at: float | None = None
    status: str
    error: _Fault | None = None
    incomplete_details: _Incomplete | None = None
    output: list[_Item] = Field(default_factory=list)
    usage: _Usage | None = None


def judged(reply: ResearchReply, now: datetime) -> ResearchReply:
    """The reply with the response in its `raw` read: what was found, what it cost, and whether it is an answer.

    Pages are as old as they are at wall time `now`; a recorded response is as old as it was when it was given.
    """
    try:
        body = _Response.model_validate_json(reply.raw)
    except ValidationError as error:
        return replace(reply, outcome="invalid_output", error=_told(f"not a response: {first_faults(error, 'body')}"))
    text = _text(body.output)
    reply = replace(
        reply,
        text=storable(text),
        request_id=storable(body.id, LONGEST_ID),
        stop_reason=storable(body.status, LONGEST_REASON),
        **_priced(reply.model, body.usage),
    )
    if body.status != "completed":
        return replace(reply, error=_told(_unfinished(body)))
    try:
        return _supported(reply, decode_answer(ResearchAnswer, text), body, now)
    except (InvalidAnswer, pages.NoSource) as error:
        return replace(reply, outcome="invalid_output", error=_told(str(error)))


def _supported(reply: ResearchReply, answer: ResearchAnswer, body: _Response, now: datetime) -> ResearchReply:
    """The answer with the pages that support it; what it names as a source beside them is dropped."""
    given = _moment(body.created_at) if reply.source == "replay" else None
    citations = pages.citations(_pages(body.output), given or now)
    known = {citation.url for citation in citations}
    sources = tuple(source for source in answer.sources if source in known)
    return replace(reply, outcome="ok", parsed=answer.model_copy(update={"sources": sources}), citations=citations)


def _moment(seconds: float | None) -> datetime | None:
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _pages(output: Sequence[_Item]) -> list[pages.Page]:
    results = [result for item in output if item.type == "search_results" for result in item.results or ()]
    return [
        pages.Page(
            storable(result.url.strip()),
            storable((result.title or "").strip()),
            storable((result.date or result.last_updated or "").strip()),
        )
        for result in results
    ]


def _text(output: Sequence[_Item]) -> str:
    contents = [content for item in output if item.type == "message" for content in item.content or ()]
    return "".join(content.text or "" for content in contents if content.type == "output_text")


def _unfinished(body: _Response) -> str:
    details = [
        body.error.message if body.error else "",
        body.incomplete_details.reason if body.incomplete_details else "",
    ]
    return ": ".join([f"the search ended {body.status}", *(each for each in details if each)])


def _priced(model: str, used: _Usage | None) -> dict[str, Any]:
    """Tokens and cost: the server's own figure where it gives one, else the table's."""
    usage = prices.Usage(input=used.input_tokens, output=used.output_tokens) if used else prices.Usage()
    charged = used.cost.total_cost if used and used.cost else None
    cost = prices.cost(model, usage, web_searches=1) if charged is None else charged.quantize(prices.CENT_FRACTION)
    return {
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cost_usd": cost,
        "priced": charged is not None or prices.is_priced(model),
    }


# --- an error -------------------------------------------------------------------------------------------------------


class _ErrorBody(_Part):
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
