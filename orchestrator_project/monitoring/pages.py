"""The addresses that machines ask: `/healthz`, `/readyz` and `/metrics`.

The first two are open, and hold nothing that anybody may not know; the figures are for whoever has `METRICS_TOKEN`, or,
while there is none, for this machine alone.
"""

from ipaddress import ip_address
from secrets import compare_digest

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from orchestrator_project.monitoring.exposition import exposition
from orchestrator_project.monitoring.observation import observe
from orchestrator_project.monitoring.readiness import all_pass

FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP", "HTTP_VIA", "HTTP_X_FORWARDED_HOST")
"""What a proxy adds. Such a request came from elsewhere, however near the proxy is; what it says of whence is never
believed."""


@require_safe
@never_cache
def healthz(_: HttpRequest) -> HttpResponse:
    """Whether this process answers. It asks nobody else."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
@never_cache
def readyz(_: HttpRequest) -> HttpResponse:
    """Whether the system does its work: 200, or 503 with what is wrong."""
    checks = observe().checks
    ready = all_pass(checks)
    told = {check.name: {"passes": check.passes, "detail": check.detail} for check in checks}
    return JsonResponse({"ready": ready, "checks": told}, status=200 if ready else 503)


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """The figures, for those who may have them: else 401 where a token is asked for, 403 where there is none."""
    if settings.METRICS_TOKEN:
        if not _has_token(request):
            return HttpResponse(
                "A bearer token is needed: METRICS_TOKEN.\n",
                status=401,
                content_type="text/plain",
                headers={"WWW-Authenticate": 'Bearer realm="metrics"'},
            )
    elif not _is_from_here(request):
        return HttpResponse(
            "Only for this machine, unless METRICS_TOKEN is set.\n", status=403, content_type="text/plain"
        )
    page, content_type = exposition(request.headers.get("Accept", ""))
    return HttpResponse(page, content_type=content_type)


def _has_token(request: HttpRequest) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" and compare_digest(given.strip().encode(), settings.METRICS_TOKEN.encode())


def _is_from_here(request: HttpRequest) -> bool:
    """Whether the connection is from this machine and no proxy's."""
    if any(header in request.META for header in FORWARDED):
        return False
    try:
        return ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False
