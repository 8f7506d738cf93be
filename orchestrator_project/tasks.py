"""The tasks of the project itself."""

from celery import shared_task

from orchestrator_project.monitoring import totals


@shared_task
def fold_totals() -> None:
    """Once a minute fold what has settled into the sums that the counters begin with. Twice at once does it once."""
    totals.fold()
