"""The site as an app: its system checks."""

from django.apps import AppConfig


class BillingSiteConfig(AppConfig):
    name = "billing_site"

    def ready(self) -> None:
        from billing_site import checks  # noqa: F401 (registers them)
