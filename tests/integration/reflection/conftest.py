"""Fixtures of reflection's integration tests; the plain functions are in `scene.py`."""

from tests.integration.decisions.conftest import models, ready
from tests.integration.reflection.challenger_scene import on_trial

__all__ = ["models", "on_trial", "ready"]
