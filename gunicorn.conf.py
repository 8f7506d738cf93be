"""How gunicorn serves the web; it reads this file by itself in the project's folder."""

from orchestrator_project import settings

preload_app = True
"""Loaded before forking, so that wrong settings end the server (exit code 2) instead of a worker again and again."""
threads = 4
control_socket_disable = True
"""Without it every server of a user would share one control socket in the home folder."""
logconfig_dict = settings.LOGGING
"""Its lines go the way of all others, past the processor that hides secrets."""
