"""What a WSGI server runs: `gunicorn orchestrator_project.wsgi`, with `gunicorn.conf.py`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator_project.settings")

application = get_wsgi_application()
