"""What the tests of the project itself share."""

import pytest
from pytest_django import Settings

from tests.integration.journal.playbooks import seeded

__all__ = ["quick_passwords", "seeded"]


@pytest.fixture
def quick_passwords(settings: Settings) -> None:
    """The real hash is slow by design, and these tests sign in by the hundred."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
