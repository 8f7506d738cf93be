"""One attempt at a question to the Messages API through the SDK, and what is told of the last one."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from decisions.clients import attempts, bounded, cassette
from decisions.clients.claude_message import error_of
from decisions.clients.exchange import Exchange, Response, missing
from decisions.clients.reply import LONGEST_ERROR, storable


def attempted(send: Callable[[float], Any], seconds: float, bounds: bounded.Bounds) -> Response:
    """What the raw response that `send` gives within so many seconds says, or what came in its place."""
    import anthropic

    try:
        response = send(seconds)
    except anthropic.APIStatusError as error:
        failed = error.response
        told, name = error_of(failed.status_code, failed.text)
        return Response(
            status=failed.status_code, headers=failed.headers, body=failed.text, error=told, error_type=name
        )
    except anthropic.APITimeoutError:
        return Response(error=f"no answer within {bounds.seconds:g} s", is_final=True)
    except anthropic.APIConnectionError as error:
        return _unanswered(error.__cause__, bounds)
    return Response(status=response.status_code, headers=response.headers, body=response.text())


def _unanswered(cause: BaseException | None, bounds: bounded.Bounds) -> Response:
    """The response in place of one that did not come, or not as a whole."""
    import httpx2

    if bounds.broken:
        return Response(error=bounds.broken, is_final=True)
    if isinstance(cause, cassette.Miss):
        return missing(cause)
    told = storable(f"{cause}" or type(cause).__name__, LONGEST_ERROR)
    if isinstance(cause, httpx2.DecodingError):
        return Response(error=told, is_final=True)
    return Response(error=f"the connection failed: {told}")


def why_no_other(exchange: Exchange, response: Response) -> Iterator[str]:
    """Why no attempt follows this one, and what came before if time ran out upon it."""
    if not response.is_final:
        yield from attempts.why_the_last(
            exchange.attempts,
            response.status,
            response.headers,
            remaining=exchange.bounds.remaining(),
            now=datetime.now(UTC),
        )
        return
    if exchange.attempts > 1:
        yield f"tried {exchange.attempts} times"
    if exchange.error_before:
        yield f"before that {exchange.error_before}"
