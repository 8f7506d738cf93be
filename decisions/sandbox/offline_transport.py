"""Transports that let the offline model answer requests of the real clients, without a network.

A request that the offline model has no rules for is answered like a bad request, with the reason.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import httpx2
from django.conf import settings

from decisions.sandbox import offline_model, reckless_model
from decisions.sandbox.offline_model import UnknownQuestion

Answer = Callable[[Mapping[str, Any]], dict[str, Any]]

ANSWERS: Mapping[str, Answer] = {"disciplined": offline_model.answer, "reckless": reckless_model.answer}
"""The offline models by their names in `SANDBOX_MODEL`."""

CHARACTERS_A_TOKEN = 4
"""A usual estimate for English text and JSON; the offline figures serve the ledger, not a bill."""

NO_PAGE = {
    "url": "https://offline.invalid/no-page",
    "title": "Offline model: nothing was searched, and this is no page",
    "date": None,
}
"""What every offline answer rests on: an address that is reserved for never being one."""


class OfflineClaude(httpx2.BaseTransport):
    """Answers `POST /v1/messages`, and says of every model that it is there."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        folder, _, model = request.url.path.rpartition("/")
        if request.method == "GET" and folder == "/v1/models":
            told = {"id": model, "type": "model", "display_name": "the offline model", "lifecycle": "active"}
            return httpx2.Response(200, json=told, request=request)
        if request.url.path != "/v1/messages":
            return httpx2.Response(404, json=_claude_fault("not_found_error", request.url.path), request=request)
        content = request.read()
        try:
            text = _answered(content)
        except UnknownQuestion as error:
            return httpx2.Response(400, json=_claude_fault("invalid_request_error", str(error)), request=request)
        name = _name(content)
        message = _message(json.loads(content)["model"], name, text, len(content))
        return httpx2.Response(200, json=message, headers={"request-id": f"req_offline_{name}"}, request=request)


class OfflinePerplexity(httpx.BaseTransport):
    """Answers `POST /v1/responses`."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != "/v1/responses":
            return httpx.Response(404, json={"error": {"message": request.url.path, "code": 404}}, request=request)
        content = request.read()
        try:
            text = _answered(content)
        except UnknownQuestion as error:
            return httpx.Response(400, json={"error": {"message": str(error), "code": 400}}, request=request)
        return httpx.Response(200, json=_response(_name(content), text, len(content)), request=request)


def _answered(content: bytes) -> str:
    return json.dumps(ANSWERS[settings.SANDBOX_MODEL](json.loads(content)))


def _name(content: bytes) -> str:
    """An id that follows from the request, so that the same question gets the same one."""
    return hashlib.sha256(content).hexdigest()[:24]


def _claude_fault(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": f"offline model: {message}"}}


def _message(model: str, name: str, text: str, characters_in: int) -> dict[str, Any]:
    return {
        "id": f"msg_offline_{name}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": characters_in // CHARACTERS_A_TOKEN,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": len(text) // CHARACTERS_A_TOKEN,
        },
    }


def _response(name: str, text: str, characters_in: int) -> dict[str, Any]:
    """No cost in it: nothing was charged, and the price table says what the real service would have charged."""
    return {
        "id": f"resp_offline_{name}",
        "status": "completed",
        "output": [
            {"type": "search_results", "results": [NO_PAGE]},
            {"type": "message", "content": [{"type": "output_text", "text": text}]},
        ],
        "usage": {
            "input_tokens": characters_in // CHARACTERS_A_TOKEN,
            "output_tokens": len(text) // CHARACTERS_A_TOKEN,
        },
    }
