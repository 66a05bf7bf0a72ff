"""The site as an app: its system checks, and the roles of staff."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class BillingSiteConfig(AppConfig):
    name = "billing_site"

    def ready(self) -> None:
        from billing_site import checks, plain_settings, roles, threads  # noqa: F401 (checks registers them)

        plain_settings.read_plainly()
        threads.keep_apart()
        threads.remember_texts()

        # Django makes the permissions with this signal, so that the roles that hold them are made with it, too.
        post_migrate.connect(roles.keep_in_step, sender=self, dispatch_uid="roles")
