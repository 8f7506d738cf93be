"""How forms and lists of Django's own show times."""
