"""What every page tells the browser it may do: the content security policy and the permissions policy.

The theme's templates hold one inline style, its colours. The policy allows exactly that text, by its hash, and no other
inline style and no inline script.
"""

import base64
import hashlib
import re
from functools import lru_cache

from csp.middleware import CSPMiddleware, PolicyParts
from django.contrib import admin
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponseBase
from django.template.loader import render_to_string

PERMISSIONS = "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"
_INLINE_STYLE = re.compile(r"<style[^>]*>(.*?)</style>", re.DOTALL)


class PolicyHeaders(CSPMiddleware):
    """The policy of the settings with the theme's own style in it, and the permissions policy."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        response.headers.setdefault("Permissions-Policy", PERMISSIONS)
        return super().process_response(request, response)

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        if not report_only and response.headers.get("Content-Type", "").startswith("text/html"):
            parts.update = {**(parts.update or {}), "style-src": [*theme_styles()]}
        return parts


@lru_cache(maxsize=1)
def theme_styles() -> tuple[str, ...]:
    """The hashes of the inline styles of the sign-in page. Nobody's data is on it: what is inline there is the
    theme's."""
    request = HttpRequest()
    request.META["SCRIPT_NAME"] = ""
    request.user = AnonymousUser()
    page = render_to_string("admin/login.html", {**admin.site.each_context(request), "form": AuthenticationForm()})
    return tuple(_hash(style) for style in _INLINE_STYLE.findall(page))


def _hash(text: str) -> str:
    """As browsers compute it, of the text between the tags."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
