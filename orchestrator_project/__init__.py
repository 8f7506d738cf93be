"""The project: settings, the Celery application, the Redis streams, and the local stack."""
