"""The fixtures of whole cycles serve the tests of the risk state too."""

from tests.integration.decisions.conftest import models, ready

__all__ = ["models", "ready"]
