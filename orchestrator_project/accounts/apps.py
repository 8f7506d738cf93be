"""Django's view of the accounts."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class AccountsConfig(AppConfig):
    name = "orchestrator_project.accounts"
    label = "accounts"

    def ready(self) -> None:
        """Keep the record of sign-ins, and write the roles after every migration. This application is the last one
        installed, so that the permissions of all others are there by then."""
        from orchestrator_project.accounts import record, roles

        record.connect()
        post_migrate.connect(roles.write_roles, sender=self)
