"""Transports that let the offline model answer requests of the real clients, without a network.

A request that the offline model has no rules for is answered like a bad request, with the reason.
"""

import hashlib
import json
from typing import Any

import httpx
import httpx2

from decisions.sandbox.offline_model import UnknownQuestion, answer

CHARACTERS_A_TOKEN = 4
"""A usual estimate for English text and JSON; the offline figures serve the ledger, not a bill."""


class OfflineClaude(httpx2.BaseTransport):
    """Answers `POST /v1/messages`."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path != "/v1/messages":
            return httpx2.Response(404, json=_claude_fault("not_found_error", request.url.path), request=request)
        content = request.read()
        try:
            text = json.dumps(answer(json.loads(content)))
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
            text = json.dumps(answer(json.loads(content)))
        except UnknownQuestion as error:
            return httpx.Response(400, json={"error": {"message": str(error), "code": 400}}, request=request)
        return httpx.Response(200, json=_response(_name(content), text, len(content)), request=request)


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
            {"type": "search_results", "results": []},
            {"type": "message", "content": [{"type": "output_text", "text": text}]},
        ],
        "usage": {
            "input_tokens": characters_in // CHARACTERS_A_TOKEN,
            "output_tokens": len(text) // CHARACTERS_A_TOKEN,
        },
    }
