"""Addresses of the second factor's pages. They ask for a signed-in member of staff, as the admin does."""

from django.contrib import admin
from django.urls import path

from orchestrator_project.accounts import pages
from orchestrator_project.accounts.gate import CODES, ENROL, ENTER, FACTOR

urlpatterns = [
    path("", admin.site.admin_view(pages.factor), name=FACTOR),
    path("enter/", admin.site.admin_view(pages.enter), name=ENTER),
    path("enrol/", admin.site.admin_view(pages.enrol), name=ENROL),
    path("codes/", admin.site.admin_view(pages.codes), name=CODES),
]
