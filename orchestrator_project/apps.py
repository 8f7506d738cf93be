"""Django's view of the project itself."""

from django.apps import AppConfig


class OrchestratorConfig(AppConfig):
    name = "orchestrator_project"
    label = "orchestrator_project"

    def ready(self) -> None:
        """Have the Celery application at hand, so that tasks can be sent from every process."""
        from orchestrator_project import celery  # noqa: F401
