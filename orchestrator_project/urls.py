"""Addresses of the web server."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from decisions.dashboard import pages as dashboard
from orchestrator_project.monitoring import pages

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/second-factor/", include("orchestrator_project.accounts.urls")),
    path("admin/dashboard/", admin.site.admin_view(dashboard.fragment), name="dashboard"),
    path("admin/", admin.site.urls),
    path("healthz", pages.healthz),
    path("readyz", pages.readyz),
    path("metrics", pages.metrics),
]
